"""``python -m fastsoftmax apply``: one operation on a .npy file that may exceed memory."""

from __future__ import annotations

import argparse
import importlib
import math
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax import _core
from fastsoftmax._cli._chunks import Chunks, cut
from fastsoftmax._cli._common import (
    CommandError,
    byte_count,
    one_line,
    os_reason,
    positive_int,
    readable,
)
from fastsoftmax._cli._npy import Array, bfloat16, check_destination, new_output, open_input
from fastsoftmax._cli._selection import SELECTIONS, Selection
from fastsoftmax._cli._signals import StopError, stop_between_chunks

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
    parser.add_argument("input", metavar="IN.npy", type=Path)
    parser.add_argument("output", metavar="OUT.npy", type=Path)
    parser.add_argument(
        "--op",
        choices=("softmax", "log_softmax", "logsumexp", *SELECTIONS),
        default="softmax",
        help="%(default)s",
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
        "--input-dtype",
        choices=("bfloat16",),
        help="what 2-byte elements without a type (V2, or uint16) are",
    )
    parser.add_argument("--algorithm", choices=_ALGORITHMS, default="auto", help="%(default)s")
    parser.add_argument(
        "--empty",
        choices=("nan", "zero"),
        default="nan",
        help="what a row that is all -inf becomes; default %(default)s",
    )
    parser.add_argument(
        "--keepdims", action="store_true", help="logsumexp: keep reduced axes with length 1"
    )
    parser.add_argument("--threads", type=positive_int, metavar="N")
    parser.add_argument(
        "--chunk-bytes",
        type=byte_count,
        default=64 << 20,
        metavar="SIZE",
        help="input worked on at a time, such as 64M (the default); at least one row",
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT.npy if it exists")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
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


def _result_dtype(operation: Operation, x: Array) -> np.dtype[Any]:
    """Let the library judge axes, types and options on an array without elements."""
    try:
        _core.isa_in_use()  # FASTSOFTMAX_ISA may ask for what is not there
        return operation(np.empty((0,) * x.ndim, x.dtype)).dtype
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise CommandError(one_line(error)) from None


def _progress(total: int, quiet: bool) -> Any:
    """Open a progress bar over bytes where tqdm is installed and somebody is looking."""
    if quiet or not sys.stderr.isatty():
        return None
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError:
        return None
    return tqdm.tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024, leave=False)


def _work_through(
    operation: Operation, x: Array, out: Array, chunks: Chunks, check: Callable[[], None], bar: Any
) -> None:
    for index in chunks.indices():
        check()
        # Along a reduced axis of logsumexp the result has length 1 and is never cut; with the dots
        # an array without axes stays an array.
        source: tuple[Any, ...] = (*index, ...)
        target: tuple[Any, ...] = (
            *(
                part if have == full else slice(None)
                for part, have, full in zip(index, out.shape, x.shape, strict=True)
            ),
            ...,
        )
        operation(x[source], out=out[target])
        if bar is not None:
            bar.update(x[source].nbytes)
    check()


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


def _remark(x: Array, axes: tuple[int, ...], chunks: Chunks, limit: int) -> str | None:
    if chunks.nbytes <= limit:
        return None
    row = math.prod(x.shape[axis] for axis in axes) * x.itemsize
    if row > limit:
        why = f"a row takes {readable(row)}, more than --chunk-bytes"
    else:
        why = "rows are interleaved in this file"
    return (
        f"fastsoftmax apply: note: {why}: works on {readable(chunks.nbytes)} at a time, "
        "straight from the mapped file"
    )


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    operation = _operation(args)
    x = open_input(args.input, args.input_dtype)
    target = check_destination(args.output, args.input, args.force)
    dtype = _result_dtype(operation, x)
    if isinstance(operation, Selection):
        operation.check(x)
    axes, shape, kept_shape = _shapes(x, args)
    chunks = cut(x.shape, x.strides, x.itemsize, axes, args.chunk_bytes)
    remark = None if args.quiet else _remark(x, axes, chunks, args.chunk_bytes)
    if remark is not None:
        print(remark, file=sys.stderr)
    if args.threads is not None:
        fastsoftmax.set_num_threads(args.threads)

    fortran_order = x.flags.f_contiguous and not x.flags.c_contiguous
    bar = _progress(x.nbytes, args.quiet)
    try:
        with (
            stop_between_chunks() as check,
            new_output(target, dtype, shape, fortran_order) as out,
        ):
            rows = out.reshape(kept_shape, order="F" if fortran_order else "C")
            _work_through(operation, x, rows, chunks, check, bar)
    except StopError as stop:
        name = signal.Signals(stop.args[0]).name
        print(f"fastsoftmax apply: stopped by {name}, nothing written", file=sys.stderr)
        return 128 + int(stop.args[0])
    except OSError as error:
        raise CommandError(f"cannot write {args.output}: {os_reason(error)}") from None
    except (ValueError, TypeError, MemoryError) as error:
        raise CommandError(one_line(error)) from None
    finally:
        if bar is not None:
            bar.close()
    if not args.quiet:
        seconds = time.perf_counter() - started
        print(
            f"{args.output}: {args.op} of {x.dtype} {x.shape}, now {dtype} {shape}, {seconds:.2f} s"
        )
    return 0
