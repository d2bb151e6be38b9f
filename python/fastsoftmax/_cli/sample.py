"""``python -m fastsoftmax sample``: an index for each row of a .npy file larger than memory."""

from __future__ import annotations

import argparse
import math
import secrets
from functools import partial
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax._cli._npy import Array, open_input
from fastsoftmax._cli._stream import Job, add_file_arguments, judged, stream

_FILTERS: tuple[tuple[str, type, str], ...] = (
    ("top-n-sigma", float, "keep scores within X standard deviations of the maximum"),
    ("top-k", int, "keep the X largest"),
    ("top-p", float, "keep the fewest of the largest whose probabilities reach X"),
    ("min-p", float, "keep probabilities of at least X times the largest"),
    ("typical-p", float, "keep the fewest of the most typical whose probabilities reach X"),
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "sample",
        help="draw one index for each row of a .npy file of logits",
        description="Draw one index for each row of the logits in IN.npy from the softmax of the "
        "row, after the filters given, in the order of this list, and write the indices, int64, "
        "to OUT.npy. Files are worked through as by 'apply'. The result depends on the logits, "
        "the options and the seed alone, not on chunks and threads.",
    )
    add_file_arguments(parser)
    parser.add_argument("--axis", type=int, default=-1, metavar="AXIS", help="default %(default)s")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="divides the scores; 0: the largest",
    )
    for name, kind, words in _FILTERS:
        parser.add_argument(f"--{name}", type=kind, metavar="X", help=words)
    parser.add_argument("--seed", type=int, metavar="N", help="default: a fresh one, printed")
    parser.add_argument(
        "--position",
        type=int,
        default=0,
        metavar="N",
        help="another one gives independent random numbers; default %(default)s",
    )
    parser.set_defaults(run=run)


def _row_ids(index: tuple[slice, ...], shape: tuple[int, ...]) -> Array:
    """Count rows over the whole array, whose shape with length 1 along the axis is `shape`."""
    ids = np.zeros((1,) * len(shape), np.uint64)
    for axis, (part, length) in enumerate(zip(index, shape, strict=True)):
        if length != 1:
            along = [1] * len(shape)
            along[axis] = -1
            step = math.prod(shape[axis + 1 :])
            ids = ids + np.arange(part.start, part.stop, dtype=np.uint64).reshape(along) * step
    return ids


def run(args: argparse.Namespace) -> int:
    seed = secrets.randbits(64) if args.seed is None else args.seed
    options: dict[str, Any] = {
        "temperature": args.temperature,
        "seed": seed,
        "position": args.position,
    }
    for name, _, _ in _FILTERS:
        options[name.replace("-", "_")] = getattr(args, name.replace("-", "_"))
    draw = partial(fastsoftmax.sample, axis=args.axis, **options)
    x = open_input(args.input, args.input_dtype)
    judged(lambda: draw(np.zeros((1,) * x.ndim, x.dtype)))
    axis = args.axis % x.ndim
    shape = tuple(length for at, length in enumerate(x.shape) if at != axis)
    kept_shape = tuple(1 if at == axis else length for at, length in enumerate(x.shape))

    def work(part: Array, index: tuple[slice, ...], out: Array) -> None:
        indices = draw(part, row_ids=_row_ids(index, kept_shape))
        out[...] = np.expand_dims(indices, axis)

    job = Job("sample", (axis,), np.dtype(np.int64), shape, kept_shape, work)
    status = stream(args, x, job)
    if status == 0 and args.seed is None and not args.quiet:
        print(f"seed {seed}")
    return status
