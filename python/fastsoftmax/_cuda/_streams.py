"""Streams as DLPack and __cuda_array_interface__ number them, and who waits for them."""

from __future__ import annotations

from typing import Any

from .. import _core

DEFAULT_STREAM = 1  # the legacy one


def same_stream(a: int, b: int) -> bool:
    """Return whether two numbers, of which 0 too is the legacy default stream, are of one."""
    return a == b or {a, b} <= {0, DEFAULT_STREAM}


class Written:
    """For from_dlpack: `array` as it is after what has been submitted to `stream`."""

    def __init__(self, array: Any, stream: int) -> None:
        self._array = array
        self._stream = stream

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, device = self._array.__dlpack_device__()
        return kind, device

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        capsule = self._array.__dlpack__(stream=stream, **options)
        consumer = DEFAULT_STREAM if stream is None else stream
        if consumer != -1 and not same_stream(consumer, self._stream):  # -1: it waits by itself
            _core._cuda_order(self.__dlpack_device__()[1], self._stream, consumer)
        return capsule
