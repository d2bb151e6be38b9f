#!/usr/bin/env python3
"""Whether any kind of input costs more time than normal logits do: it should not.

One process, one pinned thread; every round times each kind of input once, in an order drawn anew.
Figures are medians over the rounds of the time over that of normal logits (sigma 3), f32.

    python bench/inputs.py
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import fastsoftmax as fs
import numpy as np
from accuracy_inputs import HOSTILE, REALISTIC, Maker, Rows
from fastsoftmax._cli._contestants import Contestant
from fastsoftmax._cli._measure import aligned_zeros, measure, ratio

NORMAL = "normal, sigma 3"
SHAPES = ((16, 1000), (8192, 64), (4096, 1024), (64, 131072), (1024, 4096))


def _subnormal(rng: np.random.Generator, rows: int, n: int) -> Rows:
    # Scores that are subnormal themselves, and terms that would be.
    x = rng.normal(0.0, 1e-39, (rows, n))
    x[:, ::2] -= rng.uniform(87.0, 104.0, x[:, ::2].shape)
    return x


def _mostly_masked(rng: np.random.Generator, rows: int, n: int) -> Rows:
    x = np.full((rows, n), -1e9)
    x[:, : n // 8] = rng.normal(0.0, 3.0, (rows, n // 8))
    return x


KINDS: dict[str, Maker] = {
    **REALISTIC,
    **{name: HOSTILE[name] for name in ("offset +1e4", "offset -1e4", "spread 1e5")},
    "subnormal": _subnormal,
    "seven eighths at -1e9": _mostly_masked,
}


def _call(operation: Callable[..., object], x: object, out: object) -> None:
    operation(x, -1, out=out)


def main() -> None:
    """Measure and print a table for each operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=("softmax", "log_softmax"), default="softmax")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each shape")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    fs.set_num_threads(1)
    operation = getattr(fs, arguments.op)
    print(f"| {arguments.op} | " + " | ".join(f"{r} x {n}" for r, n in SHAPES) + " |")
    print("|---|" + "---:|" * len(SHAPES))
    cells: dict[str, list[str]] = {name: [] for name in KINDS}
    for rows, n in SHAPES:
        out = aligned_zeros((rows, n), np.dtype(np.float32))
        contestants = []
        for name, make in KINDS.items():
            x = aligned_zeros((rows, n), np.dtype(np.float32))
            x[...] = make(np.random.default_rng(0), rows, n)
            contestants.append(
                Contestant(name, partial(_call, operation, x, out), partial(np.asarray, out))
            )
        timings = measure(contestants, time.perf_counter() + arguments.seconds)
        for name, column in cells.items():
            column.append(f"{ratio(timings[name], timings[NORMAL]):.2f}")
    for name, column in cells.items():
        print(f"| {name} | " + " | ".join(column) + " |")


if __name__ == "__main__":
    main()
