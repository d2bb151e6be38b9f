"""``python -m fastsoftmax apply``: one operation on a .npy file that may exceed memory."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax._cli._common import CommandError, positive_int
from fastsoftmax._cli._npy import Array, bfloat16, open_input
from fastsoftmax._cli._selection import SELECTIONS, Selection
from fastsoftmax._cli._stream import Job, add_file_arguments, judged, stream

_ALGORITHMS = (
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
)

Operation = Callable[..., Array]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "apply",
        help="softmax and its kin, or the largest elements, of a .npy file",
        description="Apply an operation to the array in IN.npy and write the result to OUT.npy. "
        "Both files are memory-mapped and worked through in chunks, so they may be larger than "
        "memory. OUT.npy appears only when it is complete. For softmax_topk and topk it holds a "
        "structured array with the fields 'values' and 'indices'.",
    )
    add_file_arguments(parser)
    parser.add_argument(
        "--op",
        choices=("softmax", "log_softmax", "logsumexp", *SELECTIONS),
        default="softmax",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--k", type=positive_int, metavar="K", help="softmax_topk, topk: elements of each row"
    )
    parser.add_argument(
        "--axis",
        default="-1",
        metavar="AXES",
        help="one, several separated by commas (reduced together), or 'all'; default %(default)s",
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="divides the scores"
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32", "float64"),
        help="convert the elements to this type first; default: the file's, float64 for integers",
    )
    parser.add_argument(
        "--algorithm", choices=_ALGORITHMS, default="auto", help="default: %(default)s"
    )
    parser.add_argument(
        "--empty",
        choices=("nan", "zero"),
        default="nan",
        help="what a row that is all -inf becomes; default %(default)s",
    )
    parser.add_argument(
        "--keepdims", action="store_true", help="logsumexp: keep reduced axes with length 1"
    )
    parser.set_defaults(run=run)


def _parse_axes(text: str) -> int | tuple[int, ...] | None:
    if text.strip().lower() == "all":
        return None
    if not re.fullmatch(r"\s*[+-]?\d{1,9}\s*(,\s*[+-]?\d{1,9}\s*)*", text):
        raise CommandError(
            f"--axis {text!r} is neither a whole number, nor several separated by commas, nor 'all'"
        )
    axes = tuple(int(part) for part in text.split(","))
    return axes[0] if len(axes) == 1 else axes


def _operation(args: argparse.Namespace) -> Operation:
    axis = _parse_axes(args.axis)
    if args.op in SELECTIONS:
        return Selection(args, axis)
    if args.k is not None:
        raise CommandError(f"--k has no meaning for {args.op}")
    options: dict[str, Any] = {"axis": axis, "temperature": args.temperature}
    if args.dtype is not None:
        options["dtype"] = bfloat16() if args.dtype == "bfloat16" else np.dtype(args.dtype)
    if args.op == "logsumexp":
        if args.empty != "nan":
            raise CommandError("--empty has no meaning for logsumexp, which is -inf for such a row")
        if args.algorithm != "auto":
            raise CommandError("--algorithm has no meaning for logsumexp, which reads a row once")
        options["keepdims"] = True
    else:
        if args.keepdims:
            raise CommandError(f"--keepdims has no meaning for {args.op}")
        options.update(empty=args.empty, algorithm=args.algorithm)
    return partial(getattr(fastsoftmax, args.op), **options)


def _shapes(x: Array, args: argparse.Namespace) -> tuple[tuple[int, ...], ...]:
    """Find the reduced axes, the result's shape, and that shape with every axis of `x` kept."""
    asked = _parse_axes(args.axis)
    axes = tuple(range(x.ndim)) if asked is None else (asked,) if isinstance(asked, int) else asked
    axes = tuple(axis % x.ndim for axis in axes)
    if args.op in SELECTIONS:
        chosen = tuple(args.k if axis in axes else n for axis, n in enumerate(x.shape))
        return axes, chosen, chosen
    if args.op != "logsumexp":
        return axes, x.shape, x.shape
    kept = tuple(1 if axis in axes else length for axis, length in enumerate(x.shape))
    if args.keepdims:
        return axes, kept, kept
    return axes, tuple(length for axis, length in enumerate(x.shape) if axis not in axes), kept


def run(args: argparse.Namespace) -> int:
    operation = _operation(args)
    x = open_input(args.input, args.input_dtype)
    dtype = judged(lambda: operation(np.empty((0,) * x.ndim, x.dtype)).dtype)
    if isinstance(operation, Selection):
        operation.check(x)
    axes, shape, kept_shape = _shapes(x, args)

    def work(part: Array, _index: tuple[slice, ...], out: Array) -> object:
        return operation(part, out=out)

    return stream(args, x, Job(args.op, axes, dtype, shape, kept_shape, work))
