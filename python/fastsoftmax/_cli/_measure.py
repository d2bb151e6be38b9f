"""How `bench` measures: one process, interleaved rounds, medians with their spread."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsoftmax._cli._contestants import Contestant
from fastsoftmax._cli._npy import Array

SAMPLE_NS = 1_000_000  # a sample repeats a short call until it lasts about this long
MIN_ROUNDS = 3
MAX_ROUNDS = 400

# The smallest normal number of each type, below which an output may as well be zero.
_TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    dtype: str
    shape: tuple[int, ...]
    axis: int = -1

    @property
    def label(self) -> str:
        text = "x".join(str(length) for length in self.shape)
        return f"{self.dtype} {text}" + ("" if self.axis == -1 else f" axis {self.axis}")

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Timing:
    """Samples of one contestant on one case, in ns per call, in the order of the rounds."""

    samples: tuple[float, ...]
    calls_per_sample: int

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median."""
        low, high = self.quartiles
        return (high - low) / 2 / self.median


def ratio(numerator: Timing, denominator: Timing) -> float:
    """Median over the rounds of one time over the other; drift of the clock cancels out."""
    pairs = zip(numerator.samples, denominator.samples, strict=True)
    return statistics.median(above / below for above, below in pairs)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Make an array that starts on a cache line and whose pages have been touched."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    raw.fill(0)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)


def scores(case: Case, dtype: np.dtype[Any]) -> Array:
    """Draw normal scores of standard deviation 4, as a classifier's; the same on every run."""
    x = aligned_zeros(case.shape, dtype)
    normal = np.random.default_rng(case.size).standard_normal(case.shape, np.float32)
    np.multiply(normal, 4, out=normal)
    np.copyto(x, normal, casting="same_kind")
    return x


def reference(x: Array, axis: int) -> Array:
    z = x.astype(np.float64)
    z -= z.max(axis=axis, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=axis, keepdims=True)
    return z


def relative_error(result: Array, expected: Array, dtype: str) -> float:
    """Find the worst relative error of `result`.

    It is infinite where `result` is no softmax of this type: another type or shape, a NaN, a value
    off by more than itself, or one that should have underflowed.
    """
    if result.dtype.name != dtype or result.shape != expected.shape:
        return math.inf
    normal = expected >= _TINY[dtype]
    error = np.abs(result.astype(np.float64) - expected)
    if not bool(np.all(error <= np.maximum(expected, 2 * _TINY[dtype]))):
        return math.inf
    np.divide(error, expected, out=error, where=normal)
    return float(np.max(error, where=normal, initial=0.0))


def _sample(call: Callable[[], object], calls: int) -> float:
    call()
    clock = time.perf_counter_ns
    repeat = range(calls)
    start = clock()
    for _ in repeat:
        call()
    return (clock() - start) / calls


def measure(contestants: Sequence[Contestant], deadline: float) -> dict[str, Timing]:
    """Time each contestant in rounds until `deadline` (of `time.perf_counter`).

    Every round takes one sample of each, in an order drawn anew; a sample starts with an untimed
    call, so that the contestant before leaves nothing in the caches or the branch predictor that
    counts.
    """
    calls: dict[str, int] = {}
    for contestant in contestants:
        contestant.call()
        once = _sample(contestant.call, 1)
        calls[contestant.name] = max(1, min(100_000, int(SAMPLE_NS / max(once, 1.0))))
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    order, shuffle = list(contestants), random.Random(1)
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for done in range(MAX_ROUNDS):
            if done >= MIN_ROUNDS and time.perf_counter() >= deadline:
                break
            shuffle.shuffle(order)
            for contestant in order:
                samples[contestant.name].append(_sample(contestant.call, calls[contestant.name]))
    finally:
        if enabled:
            gc.enable()
    return {name: Timing(tuple(taken), calls[name]) for name, taken in samples.items()}
