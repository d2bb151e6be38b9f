"""The product of matrices that linear layers call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def matmul(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``a @ b`` to `out`; `numpy.errstate` has no say about infinities and NaNs."""
    with np.errstate(all="ignore"):
        np.matmul(a, b, out=out)
