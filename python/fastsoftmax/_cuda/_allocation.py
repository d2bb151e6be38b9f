"""Results on a GPU: new arrays of an argument's own library, which allocates them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from .._interop import is_instance

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
    if is_instance(like, "jax", "Array"):
        return _empty_jax(sys.modules["jax"], like, dtype, shape)
    if is_instance(like, _NUMBA, "DeviceNDArrayBase"):
        cuda = sys.modules["numba.cuda"]
        with cuda.gpus[device]:
            return cuda.device_array(shape, np.dtype(dtype))
    library: Any = like.__array_namespace__() if hasattr(like, "__array_namespace__") else None
    if hasattr(library, dtype):
        return library.empty(shape, dtype=getattr(library, dtype), device=like.device)
    raise TypeError(
        f"a result of type {type(like).__name__} and dtype {dtype} cannot be allocated here; pass "
        "out= where there is one, or an array of PyTorch, CuPy, JAX, Numba or a library of the "
        "array API standard"
    )


def _empty_jax(jax: Any, like: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    if not hasattr(jax.lax, "empty"):
        raise TypeError("a result of JAX's can be allocated by JAX 0.7.2 or newer; pass out=")
    (device,) = like.devices()
    with jax.default_device(device):
        # As wide as it is written, whatever jax_enable_x64 says: from_dlpack cares for that.
        return jax.lax.empty(shape, jax.numpy.dtype(dtype))


def handed_over(result: Any, stream: int) -> Any:
    """Return `result`, which was written on a stream, to its library's users.

    Only JAX needs to be told. It takes arrays for values that are there once they have been made;
    what it imports it waits for.
    """
    if not is_instance(result, "jax", "Array"):
        return result
    return sys.modules["jax"].dlpack.from_dlpack(_Written(result, stream))


class _Written:
    """An array as it is after what has been submitted to a stream."""

    def __init__(self, array: Any, stream: int) -> None:
        self._array = array
        self._stream = stream

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, device = self._array.__dlpack_device__()
        return kind, device

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        capsule = self._array.__dlpack__(stream=stream, **options)
        # -1: the consumer waits by itself.
        if stream != -1 and (stream or 1) != (self._stream or 1):
            _core._cuda_order(self.__dlpack_device__()[1], self._stream, stream or 1)
        return capsule
