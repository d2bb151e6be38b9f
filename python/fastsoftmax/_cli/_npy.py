""".npy files as memory maps: a checked input, and an output that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from fastsoftmax._cli._common import CommandError, one_line, os_reason, readable
from fastsoftmax._files import new_file

Array = np.ndarray[Any, np.dtype[Any]]

_FOREIGN = (
    (b"", "is empty"),
    (b"PK", "is a zip archive (.npz); save the one array it is about as .npy"),
    (b"\x80", "is a Python pickle, which is never loaded"),
)


def bfloat16() -> np.dtype[Any]:
    """NumPy's dtype for bfloat16, which the package `ml_dtypes` provides."""
    try:
        from ml_dtypes import bfloat16 as scalar_type
    except ImportError:
        raise CommandError("bfloat16 needs the package ml_dtypes (pip install ml_dtypes)") from None
    dtype: np.dtype[Any] = np.dtype(scalar_type)
    return dtype


def _regular_size(path: Path) -> int:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise CommandError(f"{path} is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise CommandError(f"{path} is not a regular file")
    return status.st_size


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    magic = file.read(len(npy.MAGIC_PREFIX))
    if magic != npy.MAGIC_PREFIX:
        for start, what in _FOREIGN:
            if magic == start or (start and magic.startswith(start)):
                raise CommandError(f"{path} {what}")
        raise CommandError(f"{path} is not a .npy file")
    file.seek(0)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a remark on headers from Python 2 is no error
            version = npy.read_magic(file)
            if version not in readers:
                raise ValueError(f"format version {version[0]}.{version[1]} is not supported")
            shape, fortran_order, dtype = readers[version](file)
    except Exception as error:  # the header is untrusted text; parsing it can raise nearly anything
        raise CommandError(f"{path} has a damaged header: {one_line(error)[:200]}") from None
    if any(length < 0 for length in shape):
        raise CommandError(f"{path} has a damaged header: shape {shape}")
    return shape, fortran_order, dtype


def _element_type(path: Path, dtype: np.dtype[Any], asked: str | None) -> np.dtype[Any]:
    if asked is not None:
        if dtype != np.dtype("V2") and dtype != np.dtype(np.uint16):
            raise CommandError(
                f"--input-dtype {asked} reads 2-byte elements stored as V2 or uint16, "
                f"but {path} holds {dtype}"
            )
        return bfloat16()
    if dtype == np.dtype("V2"):
        raise CommandError(
            f"{path} holds 2-byte elements without a type, which is how NumPy stores bfloat16; "
            "if it is that, add --input-dtype bfloat16"
        )
    if dtype.hasobject:
        raise CommandError(f"{path} holds pickled Python objects, which are never loaded")
    if dtype.kind not in "biuf":
        raise CommandError(f"{path} holds elements of type {dtype}, which are not real numbers")
    return dtype


def open_input(path: Path, input_dtype: str | None) -> Array:
    """Map the array in `path` for reading, without reading its elements.

    Parameters
    ----------
    path
        A .npy file of format 1.0 or 2.0, of any shape, element order and byte order.
    input_dtype
        ``"bfloat16"`` to take 2-byte elements (``V2`` or ``uint16``) as bfloat16.

    Raises
    ------
    CommandError
        When the file is missing, foreign, damaged, truncated, followed by further data, or does
        not hold real numbers.
    """
    try:
        size = _regular_size(path)
        with open(path, "rb") as file:
            shape, fortran_order, dtype = _read_header(path, file)
            offset = file.tell()
        dtype = _element_type(path, dtype, input_dtype)
        expected = dtype.itemsize
        for length in shape:
            expected *= length
        if size - offset != expected:
            raise CommandError(
                f"{path} is damaged: its header announces {expected} bytes of elements, "
                f"but {size - offset} follow"
            )
        order = "F" if fortran_order else "C"
        return np.asarray(np.memmap(path, dtype, "r", offset, shape, order))  # type: ignore[call-overload]
    except OSError as error:
        raise CommandError(f"cannot read {path}: {os_reason(error)}") from None
    except (ValueError, OverflowError, MemoryError) as error:
        raise CommandError(f"cannot map {path}: {one_line(error)}") from None


def check_destination(path: Path, source: Path, force: bool) -> Path:
    """Return the file to create for `path`, links followed; refuse what must not be lost."""
    target = Path(os.path.realpath(path))
    try:
        if not os.path.isdir(target.parent):
            raise CommandError(f"cannot write {path}: no directory {target.parent}")
        if not os.path.lexists(target):
            return target
        _regular_size(target)
        if os.path.samefile(target, source):
            raise CommandError(f"{path} is the input file itself")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {os_reason(error)}") from None
    if not force:
        raise CommandError(f"{path} exists; --force overwrites it")
    return target


def _reserve(file: BinaryIO, total: int) -> None:
    """Give `file` `total` bytes of real disk space.

    Writing to a map of a sparse file on a full disk would end the process with SIGBUS instead of
    an error.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, total)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    zeros = bytes(1 << 20)
    file.seek(0, os.SEEK_END)
    while (missing := total - file.tell()) > 0:
        file.write(zeros[:missing])
    file.flush()


@contextlib.contextmanager
def new_output(
    target: Path, dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool
) -> Iterator[Array]:
    """Map a `new_file` to be filled. Space for the whole of it is reserved first.

    Raises
    ------
    OSError
        When the file cannot be created, there is too little space, or writing fails.
    """
    count = dtype.itemsize
    for length in shape:
        count *= length
    disk = shutil.disk_usage(target.parent)
    if disk.total > 0 and count > disk.free:
        raise OSError(
            errno.ENOSPC, f"no space left: needs {readable(count)}, {readable(disk.free)} free"
        )
    with new_file(target) as file:
        header = {
            "descr": npy.dtype_to_descr(dtype),
            "fortran_order": fortran_order,
            "shape": shape,
        }
        npy.write_array_header_1_0(file, header)
        file.flush()
        offset = file.tell()
        _reserve(file, offset + count)
        order = "F" if fortran_order else "C"
        array = np.memmap(file, dtype, "r+", offset, shape, order)  # type: ignore[call-overload]
        yield np.asarray(array)
        array.flush()
