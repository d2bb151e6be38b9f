"""Memory that a device still works with, of libraries that would use it anew.

A library that works on streams of its own, which it does not tell of, such as JAX, may give memory
to other arrays as soon as nobody holds it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from .. import _core

_lock = threading.Lock()
_kept: deque[tuple[int, list[Any]]] = deque()  # behind which mark they may go, oldest first


def keep(owners: list[Any], device: int, stream: int) -> None:
    """Hold what keeps memory alive until a call after the stream has come past this point."""
    if not owners:
        return
    mark = _core._cuda_mark(device, stream)
    done = []
    with _lock:
        _kept.append((mark, owners))
        while _kept:
            oldest = _kept.popleft()
            if not _core._cuda_passed(oldest[0]):
                _kept.appendleft(oldest)
                break
            done.append(oldest)
    del done  # without the lock: owners may call anything
