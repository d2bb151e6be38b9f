"""Commands that turn one .npy file into another, chunk by chunk."""

from __future__ import annotations

import argparse
import importlib
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
from fastsoftmax._cli._npy import Array, check_destination, new_output
from fastsoftmax._cli._signals import StopError, stop_between_chunks

_Result = TypeVar("_Result")


class Job(NamedTuple):
    """What is done with an array, and what comes out."""

    name: str  # of the operation
    axes: tuple[int, ...]  # reduced, each in [0, ndim)
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    kept_shape: tuple[int, ...]  # with every axis of the input
    # Called with a part of the input, the slices that cut it out, and the part of the output.
    work: Callable[[Array, tuple[slice, ...], Array], object]


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `stream` and `open_input` look at."""
    parser.add_argument("input", metavar="IN.npy", type=Path, help="what is read")
    parser.add_argument("output", metavar="OUT.npy", type=Path, help="what is written")
    parser.add_argument(
        "--input-dtype",
        choices=("bfloat16",),
        help="what 2-byte elements without a type (V2, or uint16) are",
    )
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="default: all CPUs of the process"
    )
    parser.add_argument(
        "--chunk-bytes",
        type=byte_count,
        default=64 << 20,
        metavar="SIZE",
        help="input worked on at a time, such as 64M (the default); at least one row",
    )
    parser.add_argument("--force", action="store_true", help="overwrite OUT.npy if it exists")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def judged(call: Callable[[], _Result]) -> _Result:
    """Make a small call that lets the library judge axes, types and options."""
    try:
        _core.isa_in_use()  # FASTSOFTMAX_ISA may ask for what is not there
        return call()
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
    job: Job, x: Array, out: Array, chunks: Chunks, check: Callable[[], None], bar: Any
) -> None:
    for index in chunks.indices():
        check()
        # Along a reduced axis the result may have another length, and is never cut; with the dots
        # an array without axes stays an array.
        source: tuple[Any, ...] = (*index, ...)
        target: tuple[Any, ...] = (
            *(
                part if have == full else slice(None)
                for part, have, full in zip(index, out.shape, x.shape, strict=True)
            ),
            ...,
        )
        job.work(x[source], index, out[target])
        if bar is not None:
            bar.update(x[source].nbytes)
    check()


def _remark(command: str, x: Array, job: Job, chunks: Chunks, limit: int) -> str | None:
    if chunks.nbytes <= limit:
        return None
    row = math.prod(x.shape[axis] for axis in job.axes) * x.itemsize
    if row > limit:
        why = f"a row takes {readable(row)}, more than --chunk-bytes"
    else:
        why = "rows are interleaved in this file"
    return (
        f"fastsoftmax {command}: note: {why}: works on {readable(chunks.nbytes)} at a time, "
        "straight from the mapped file"
    )


def stream(args: argparse.Namespace, x: Array, job: Job) -> int:
    """Carry `job` out on `x`, write the output file, and return the exit status.

    Raises
    ------
    CommandError
        When the output file cannot be written or the library refuses the work.
    """
    started = time.perf_counter()
    target = check_destination(args.output, args.input, args.force)
    chunks = cut(x.shape, x.strides, x.itemsize, job.axes, args.chunk_bytes)
    remark = None if args.quiet else _remark(args.command, x, job, chunks, args.chunk_bytes)
    if remark is not None:
        print(remark, file=sys.stderr)
    if args.threads is not None:
        fastsoftmax.set_num_threads(args.threads)

    fortran_order = x.flags.f_contiguous and not x.flags.c_contiguous
    bar = _progress(x.nbytes, args.quiet)
    try:
        with (
            stop_between_chunks() as check,
            new_output(target, job.dtype, job.shape, fortran_order) as out,
        ):
            rows = out.reshape(job.kept_shape, order="F" if fortran_order else "C")
            _work_through(job, x, rows, chunks, check, bar)
    except StopError as stop:
        name = signal.Signals(stop.args[0]).name
        print(f"fastsoftmax {args.command}: stopped by {name}, nothing written", file=sys.stderr)
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
            f"{args.output}: {job.name} of {x.dtype} {x.shape}, "
            f"now {job.dtype} {job.shape}, {seconds:.2f} s"
        )
    return 0
