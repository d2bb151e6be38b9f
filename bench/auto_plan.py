#!/usr/bin/env python3
"""How far `auto` is behind the best algorithm that could have been asked for.

For every operation, type, row length and batch: `auto` and each algorithm whose plan differs from
its own, interleaved in one process, pinned to as many CPUs as threads. A line shows the ratio of
auto's time to the fastest other's, as the median over the rounds and its lower quartile; `behind`
marks medians beyond the limit whose quartile is beyond it too, so that noise alone does not.

    python bench/auto_plan.py --threads 1 --threads 2      float32 softmax
    python bench/auto_plan.py --op log_softmax --dtype bfloat16 --lengths 10:20
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax import _core
from fastsoftmax._cli._contestants import Contestant
from fastsoftmax._cli._measure import Case, Timing, aligned_zeros, measure, scores
from fastsoftmax._cli._npy import bfloat16
from fastsoftmax._cli.info import machine, machine_line

OPERATIONS = ("softmax", "log_softmax", "logsumexp")
IN_USE = _core._tuning()["constants"]
ALGORITHMS = ("three_pass_reload", "three_pass_recompute", "two_pass", "online", "online_reload")


def _shapes(lengths: list[int], most: int) -> Iterator[tuple[int, int]]:
    """One row, two rows, and batches of 2^15, 2^18, ... elements up to `most`."""
    totals = [1 << e for e in range(15, most.bit_length(), 3)]
    for length in lengths:
        batches = {1, 2, *(total // length for total in totals)}
        for rows in sorted(batches):
            if rows >= 1 and rows * length <= most:
                yield rows, length


def _calls(op: Any, x: Any, out: Any, against: list[str]) -> dict[str, Callable[[], Any]]:
    """Name what `auto` does, and algorithms that would do something else, with their calls."""

    def planned(algorithm: Any) -> str:
        return str(fs.explain(x, op=op, out=out, algorithm=algorithm).algorithm)

    if op == "logsumexp":
        return _logsumexp_calls(x, out, planned)
    operation: Any = getattr(fs, op)

    def call(algorithm: str) -> Callable[[], Any]:
        # `auto` is named, too, because the argument takes its time.
        return lambda: operation(x, out=out, algorithm=algorithm)

    calls = {planned("auto"): call("auto")}
    for name in against:
        if planned(name) not in calls:
            calls[name] = call(name)
    return calls


def _logsumexp_calls(
    x: Any, out: Any, planned: Callable[[str], str]
) -> dict[str, Callable[[], Any]]:
    """Do the same for `logsumexp`, which takes no algorithm, by the constant that chooses one."""
    calls: dict[str, Callable[[], Any]] = {}
    for recompute_bytes in (IN_USE["recompute_bytes"], 0, 1 << 40):
        constants: Any = {**IN_USE, "recompute_bytes": recompute_bytes}

        def call(constants: Any = constants) -> Any:
            _core._use_constants(**constants)
            return fs.logsumexp(x, out=out)

        call()
        calls.setdefault(planned("auto"), call)
    return calls


def _behind(auto: Timing, other: Timing) -> tuple[float, float]:
    """Median and lower quartile of auto's time over the other's, round by round."""
    ratios = [a / b for a, b in zip(auto.samples, other.samples, strict=True)]
    return statistics.median(ratios), statistics.quantiles(ratios, n=4)[0]


def _lengths(text: str) -> list[int]:
    first, _, last = text.partition(":")
    return [1 << e for e in range(int(first), int(last or first) + 1)]


def main() -> int:
    """Measure, print a line for each case, and return 1 where auto is behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", action="append", choices=OPERATIONS)
    parser.add_argument("--dtype", action="append")
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("--against", action="append", choices=ALGORITHMS, help="default: all")
    parser.add_argument("--lengths", type=_lengths, default="4:26", help="powers of two, as 4:26")
    parser.add_argument("--most", type=int, default=1 << 26, help="elements of a call")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each line")
    parser.add_argument("--limit", type=float, default=1.05)
    arguments = parser.parse_args()

    cpus = sorted(os.sched_getaffinity(0))
    print(machine_line(machine()), flush=True)
    failures = 0
    for threads in arguments.threads or [1]:
        os.sched_setaffinity(0, cpus[-threads:])
        fs.set_num_threads(threads)
        for op in arguments.op or ["softmax"]:
            for dtype in arguments.dtype or ["float32"]:
                kind = bfloat16() if dtype == "bfloat16" else np.dtype(dtype)
                for shape in _shapes(arguments.lengths, arguments.most):
                    x = scores(Case(dtype, shape), kind)
                    out = aligned_zeros(shape[: 1 if op == "logsumexp" else 2], kind)
                    _core._use_constants(**IN_USE)  # logsumexp changes them
                    calls = _calls(op, x, out, arguments.against or list(ALGORITHMS))
                    if len(calls) < 2:
                        continue
                    contestants = [Contestant(name, call, call) for name, call in calls.items()]
                    timings = measure(contestants, time.perf_counter() + arguments.seconds)
                    (chosen, auto), *others = timings.items()
                    best, timing = min(others, key=lambda item: item[1].median)
                    median, quartile = _behind(auto, timing)
                    behind = median > arguments.limit and quartile > arguments.limit
                    failures += behind
                    print(
                        f"{op} {dtype} {shape[0]}x{shape[1]} threads {threads}: "
                        f"{auto.median / (shape[0] * shape[1]):.3f} ns, {chosen} over {best} "
                        f"{median:.3f} ({quartile:.3f}){'  behind' if behind else ''}",
                        flush=True,
                    )
    print(f"{failures} behind by more than {arguments.limit - 1:.0%}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
