"""The rows on which accuracy.py measures: what people feed a softmax, and what might break one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.float64]
Maker: TypeAlias = Callable[[np.random.Generator, int, int], Rows]


def _normal(sigma: float) -> Maker:
    return lambda rng, rows, n: rng.normal(0.0, sigma, (rows, n))


def _language_model(rng: np.random.Generator, rows: int, n: int) -> Rows:
    # Probabilities near those of words: log p = -1.1 log(rank) and noise, in random order.
    logits = 15.0 - 1.1 * np.log(np.arange(1.0, n + 1.0))
    return rng.permuted(logits + rng.normal(0.0, 0.5, (rows, n)), axis=1)


def _sorted(rng: np.random.Generator, rows: int, n: int) -> Rows:
    return np.sort(rng.normal(0.0, 3.0, (rows, n)), axis=1)


def _constant(rng: np.random.Generator, rows: int, n: int) -> Rows:
    return np.repeat(rng.uniform(-80.0, 80.0, (rows, 1)), n, axis=1)


def _one_hot(rng: np.random.Generator, rows: int, n: int) -> Rows:
    x = np.zeros((rows, n))
    x[np.arange(rows), rng.integers(0, n, rows)] = 1.0
    return x


def _masked(rng: np.random.Generator, rows: int, n: int) -> Rows:
    x = rng.normal(0.0, 3.0, (rows, n))
    x[rng.random((rows, n)) < 0.5] = -np.inf
    x[:, 0] = 0.0
    return x


def _offset(offset: float) -> Maker:
    return lambda rng, rows, n: offset + rng.normal(0.0, 3.0, (rows, n))


def _spread(rng: np.random.Generator, rows: int, n: int) -> Rows:
    return rng.uniform(-5e4, 5e4, (rows, n))


def _dominated(by: float) -> Maker:
    def make(rng: np.random.Generator, rows: int, n: int) -> Rows:
        x = rng.normal(0.0, 1.0, (rows, n))
        x[np.arange(rows), rng.integers(0, n, rows)] = by
        return x

    return make


def _absorbed(bits: int) -> Maker:
    # All but one element weigh just less than half the last place of the largest: a sum in the
    # row's own precision that meets them one by one loses them all.
    def make(rng: np.random.Generator, rows: int, n: int) -> Rows:
        x: Rows = np.log(rng.uniform(0.5, 1.0, (rows, n))) - bits * np.log(2.0)
        x[:, 0] = 0.0
        return x

    return make


def _near_ties(rng: np.random.Generator, rows: int, n: int) -> Rows:
    # Neighbours in float32 of one number in each row.
    return rng.uniform(1.0, 2.0, (rows, 1)) + rng.integers(0, 8, (rows, n)) * 2.0**-23


REALISTIC: dict[str, Maker] = {
    "normal, sigma 1": _normal(1.0),
    "normal, sigma 3": _normal(3.0),
    "normal, sigma 5": _normal(5.0),
    "language model": _language_model,
    "sorted": _sorted,
    "constant": _constant,
    "one-hot": _one_hot,
    "half masked by -inf": _masked,
}

HOSTILE: dict[str, Maker] = {
    "offset +1e4": _offset(1e4),
    "offset -1e4": _offset(-1e4),
    "spread 1e5": _spread,
    "one element at +15": _dominated(15.0),
    "one element at +20": _dominated(20.0),
    "one element at +40": _dominated(40.0),
    "one element at +80": _dominated(80.0),
    "near ties": _near_ties,
    "terms near 2^-24": _absorbed(24),
    "terms near 2^-53": _absorbed(53),
}
