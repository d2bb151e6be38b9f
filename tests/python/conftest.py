"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


def _reference(
    op: str,
    x: Any,
    axis: Any = -1,
    temperature: Any = 1.0,
    where: Any = True,
    keepdims: bool = False,
) -> NDArray[np.float64]:
    """Compute `op` by its formula in float64, for finite values and rows that admit something."""
    z = np.asarray(x, np.float64) / np.asarray(temperature, np.float64)
    z = np.where(where, z, -np.inf)
    top = z.max(axis=axis, keepdims=True, initial=-np.inf)
    shifted = z - np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        log_sum = np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    if op == "logsumexp":
        result = top + log_sum
        return result if keepdims else np.squeeze(result, axis=axis)
    return shifted - log_sum if op == "log_softmax" else np.exp(shifted - log_sum)


@pytest.fixture(scope="session")
def reference() -> Callable[..., NDArray[np.float64]]:
    return _reference
