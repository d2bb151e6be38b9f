"""Arguments that are arrays, of integers above all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unmasked(values: Any, name: str) -> NDArray[Any]:
    """`values` as an array; TypeError where it has a mask."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a MaskedArray, whose mask would be ignored; pass {name}.data")
    return np.asarray(values)


def integers(values: Any, name: str) -> NDArray[np.int64]:
    """`values` as int64, of any shape. An empty list is one of integers."""
    if values is None:
        raise TypeError(f"{name} must be integers, not None")
    array = unmasked(values, name)
    if array.size > 0 and array.dtype.kind not in "iu":
        # NumPy makes floats or objects of lists of integers that no integer type holds.
        elements = np.asarray(values, object).flat if array.dtype.kind in "Of" else ()
        if elements and all(isinstance(value, int) for value in elements):
            raise ValueError(f"{name} must fit in 64 bits")
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size > 0 and array.max() >= 2**63:
        raise ValueError(f"{name} must be below 2**63, got {array.max()}")
    return array.astype(np.int64, order="C", copy=False)


def list_of_integers(values: Any, name: str) -> NDArray[np.int64]:
    """Return the same of one dimension."""
    array = integers(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension, not shape {array.shape}")
    return array
