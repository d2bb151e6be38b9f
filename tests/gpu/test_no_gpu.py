"""The CUDA library where there is no GPU, or no driver: a reason, and an error that gives it."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from fastsoftmax import _core

STATUS = _core._cuda_status()


class OnGpu:
    """What says that it is on a GPU."""

    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (2, 3),
        "typestr": "<f4",
        "data": (4096, False),
        "version": 3,
    }


@pytest.mark.skipif(not STATUS["library"], reason=f"no CUDA library: {STATUS['reason']}")
@pytest.mark.skipif(STATUS["available"], reason="there is a GPU")
def test_the_reason_is_given():
    assert "CUDA error 35" in STATUS["reason"] or "CUDA error 100" in STATUS["reason"]
    with pytest.raises(RuntimeError, match=r"CUDA error (35|100|3), "):
        fs.softmax(OnGpu())
    np.testing.assert_array_equal(fs.softmax(np.zeros(4)), np.full(4, 0.25))
