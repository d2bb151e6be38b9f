"""Ctrl-C and its kin, heeded at places where nothing can be left half done."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StopError(Exception):
    """A signal asked the process to stop; `args[0]` is its number."""


@contextlib.contextmanager
def stop_between_chunks() -> Iterator[Callable[[], None]]:
    """Turn signals into a request that the yielded function raises as `StopError`.

    A signal that is ignored, as under nohup, stays ignored.

    An exception thrown from a signal handler could land between any two instructions, also
    between creating a file and noting its name; a request is met only where it is asked for.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    def check() -> None:
        if received:
            raise StopError(received[0])

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
