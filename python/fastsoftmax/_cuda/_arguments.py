"""Arguments that are no arrays: axes, integers, dtypes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def normalized_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that `axis` names, counted from the first; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    axes = []
    for given in axis if isinstance(axis, tuple) else (axis,):
        at = as_int(given, "axis", "an int, a tuple of ints or None")
        if not -ndim <= at < ndim:
            raise np.exceptions.AxisError(at, ndim)
        axes.append(at % ndim)
    if len(set(axes)) < len(axes):
        raise ValueError("duplicate value in 'axis'")
    return tuple(axes)


def single_axis(axis: Any, ndim: int) -> int:
    """Return the axis that an int names, counted from the first."""
    return normalized_axes(as_int(axis, "axis"), ndim)[0]


def as_int(value: Any, name: str, expected: str = "an int") -> int:
    """Return an integer of any type as an int; TypeError for all else, bool included."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def dtype_name(dtype: Any) -> str:
    """Return NumPy's name of a dtype of NumPy's or of another library."""
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype).rpartition(".")[2]
