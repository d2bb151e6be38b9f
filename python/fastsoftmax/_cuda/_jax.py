"""JAX's arrays on a GPU, which JAX works with on a stream of its own that it does not tell of.

Both ways it is DLPack that makes one stream wait for the other. What JAX imports it waits for, with
the work that uses it and, since that is one stream for each device, with all that comes after: so
memory of JAX's may be given to other arrays as soon as the call has returned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from ._streams import Written


@contextmanager
def _plainly() -> Iterator[Any]:
    """Let JAX do what it is told, on the device that it is told, whatever surrounds the call.

    Results that are still to be written are not checked for NaN either.
    """
    jax = sys.modules["jax"]
    with (
        jax.ensure_compile_time_eval(),
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.transfer_guard("allow"),
    ):
        yield jax


@lru_cache(maxsize=512)
def _allocator(device: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    jax = sys.modules["jax"]
    # Of this type whatever jax_enable_x64 says, which from_dlpack takes care of.
    return jax.jit(
        lambda: jax.lax.empty(shape, jax.numpy.dtype(dtype)),
        out_shardings=jax.sharding.SingleDeviceSharding(device),
    )


def empty(like: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    """Return a new array on the device of `like`.

    Raises
    ------
    TypeError
        Before JAX 0.7.2.
    """
    (device,) = like.devices()
    with _plainly() as jax:
        if not hasattr(jax.lax, "empty"):
            raise TypeError("a result on a GPU can be allocated by JAX 0.7.2 or newer")
        return _allocator(device, dtype, shape)()


def imported(array: Any, stream: int) -> Any:
    """Return `array` as it is after what has been submitted to the stream."""
    with _plainly() as jax:
        return jax.dlpack.from_dlpack(Written(array, stream))


@lru_cache(maxsize=64)
def _flag(device: Any) -> Any:
    with _plainly() as jax:
        flag = jax.device_put(np.zeros(1, np.float32), device)
        jax.numpy.negative(flag)
        return flag


def prepare(like: Any) -> None:
    """Do ahead of a call what `catch_up` does the first time on a device, which could fail."""
    (device,) = like.devices()
    _flag(device)


def catch_up(like: Any, stream: int) -> None:
    """Let all that JAX does on the device of `like` from here on wait for the stream."""
    (device,) = like.devices()
    with _plainly() as jax:
        jax.numpy.negative(imported(_flag(device), stream))
