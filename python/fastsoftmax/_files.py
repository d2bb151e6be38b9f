"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file to be written; it takes the name `target` when the block ends well.

    Until then it has a temporary name in the same directory, and whatever makes the block fail
    removes it. The permissions of a file of that name that it replaces stay.

    Raises
    ------
    OSError
        When the file cannot be created or written, or `target` is no regular file.
    """
    mode = None
    if target.exists():
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        if not target.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(target))
        mode = stat.S_IMODE(os.stat(target).st_mode)
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
