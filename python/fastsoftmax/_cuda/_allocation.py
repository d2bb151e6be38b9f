"""Results on a GPU: new arrays of an argument's own library, which allocates them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._interop import is_instance, is_jax
from . import _jax
from ._streams import Written

_NUMBA = "numba.cuda.cudadrv.devicearray"


def empty(
    like: Any,
    device: int,
    dtype: str,
    shape: tuple[int, ...],
    order: Sequence[int],
) -> Any:
    """Return a new array of the library of `like`.

    Parameters
    ----------
    like : array on a GPU
    device : int
        The one that it is on.
    dtype : str
    shape : tuple of int
    order : sequence of int
        The axes as they lie in memory, the one that varies fastest last; in C order where the
        library has no other.

    Raises
    ------
    TypeError
        For libraries whose arrays cannot be allocated here.
    """
    in_memory = tuple(shape[axis] for axis in order)
    back = [order.index(axis) for axis in range(len(shape))]
    if is_instance(like, "torch", "Tensor"):
        torch = sys.modules["torch"]
        return torch.empty(in_memory, dtype=getattr(torch, dtype), device=like.device).permute(back)
    if is_instance(like, "cupy", "ndarray"):
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(device):
            return cupy.empty(in_memory, dtype=dtype).transpose(back)
    if is_jax(like):
        return _jax.empty(like, dtype, shape)
    if is_instance(like, _NUMBA, "DeviceNDArrayBase"):
        cuda = sys.modules["numba.cuda"]
        with cuda.gpus[device]:
            return cuda.device_array(shape, np.dtype(dtype), stream=like.stream)
    library: Any = like.__array_namespace__() if hasattr(like, "__array_namespace__") else None
    if hasattr(library, "empty") and hasattr(library, dtype):
        where = {"device": like.device} if hasattr(like, "device") else {}
        return library.empty(shape, dtype=getattr(library, dtype), **where)
    raise TypeError(
        f"a result of type {type(like).__name__} and dtype {dtype} cannot be allocated here; pass "
        "out= where there is one, or an array of PyTorch, CuPy, JAX, Numba or a library of the "
        "array API standard"
    )


def handed_over(result: Any, stream: int) -> Any:
    """Return `result`, which was written on a stream, for use on those of its own library.

    What has a ``__cuda_array_interface__`` is of a library that works on the stream that it was
    written on, or on one that waits for that; all others are told by being imported.
    """
    if is_jax(result):
        return _jax.imported(result, stream)
    if hasattr(result, "__cuda_array_interface__"):
        return result
    return result.__array_namespace__().from_dlpack(Written(result, stream))
