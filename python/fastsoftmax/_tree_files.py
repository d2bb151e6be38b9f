"""Files of trees and their vectors: ``.npz`` archives and text."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._files import new_file
from ._integers import unmasked

_FORMAT = "fastsoftmax-tree"
_VERSION = 1
_KINDS = {"binary": True, "softmax": False}
# Digits that tell all numbers of a type apart.
_NUMBER_FORMATS = {"float16": "%.5g", "float32": "%.9g", "float64": "%.17g"}

AnyPath: TypeAlias = str | os.PathLike[str]
Weights: TypeAlias = NDArray[np.floating[Any]]


class _Header(NamedTuple):
    """The first line of a text file."""

    kind: str
    num_leaves: int
    num_nodes: int
    columns: int  # of node weights; 0 without
    dtype: str

    @property
    def num_ids(self) -> int:
        return self.num_leaves + self.num_nodes

    @property
    def num_weights(self) -> int:
        return self.num_nodes if _KINDS[self.kind] else self.num_ids

    def text(self) -> str:
        words = [_FORMAT, _VERSION, self.kind, self.num_leaves, self.num_nodes]
        return " ".join(map(str, words + [self.columns, self.dtype] * (self.columns > 0)))


def _checked_weights(tree: _core._Tree, node_weights: Any) -> Weights:
    weights = unmasked(node_weights, "node_weights")
    if weights.dtype.name not in _NUMBER_FORMATS:
        raise TypeError(
            f"node_weights must be float16, float32 or float64 in a file, not {weights.dtype}"
        )
    rows = tree.num_weights()
    if weights.ndim != 2 or weights.shape[0] != rows or weights.shape[1] == 0:
        raise ValueError(f"node_weights have shape {weights.shape}, but the tree needs ({rows}, D)")
    return weights


def save(path: AnyPath, tree: _core._Tree, node_weights: Any) -> None:
    """Write `tree`, and `node_weights` if they are not None: an archive or text by the suffix."""
    weights = None if node_weights is None else _checked_weights(tree, node_weights)
    write = _write_archive if _is_archive(path) else _write_text
    with new_file(Path(os.path.realpath(path))) as file:
        write(file, tree, weights)


def load(path: AnyPath, with_weights: bool) -> tuple[_core._Tree, Weights | None]:
    """Read what `save` has written; None for weights that are not there or not asked for."""
    read = _read_archive if _is_archive(path) else _read_text
    try:
        return read(path, with_weights)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _is_archive(path: AnyPath) -> bool:
    return os.fspath(path).endswith(".npz")


def _kind(tree: _core._Tree) -> str:
    return "binary" if tree.is_binary() else "softmax"


def _build(
    kind: str, num_leaves: int, parents: NDArray[np.int64], codes: NDArray[np.int64]
) -> _core._Tree:
    tree = _core._Tree.from_parents(parents, codes, _KINDS[kind])
    if tree.num_leaves() != num_leaves:
        raise ValueError(
            f"announces {num_leaves} leaves, but {tree.num_leaves()} ids are nobody's parent"
        )
    return tree


def _write_archive(file: BinaryIO, tree: _core._Tree, weights: Weights | None) -> None:
    arrays: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": _kind(tree),
        "num_leaves": tree.num_leaves(),
        "parents": tree.parents().astype(np.int32),
        "codes": tree.codes().astype(np.int32),
    }
    if weights is not None:
        arrays["node_weights"] = weights
    np.savez(file, **arrays)


def _entry(archive: Any, name: str, kinds: str, ndim: int) -> NDArray[Any]:
    if name not in archive:
        raise ValueError(f"has no entry {name!r}")
    array: NDArray[Any] = archive[name]
    if array.ndim != ndim or array.dtype.kind not in kinds:
        raise ValueError(f"entry {name!r} has shape {array.shape} and type {array.dtype}")
    return array


@contextlib.contextmanager
def _opened_archive(path: AnyPath) -> Iterator[Any]:
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("is one array")
            with archive:
                yield archive
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # damaged archives raise nearly anything
            raise ValueError(f"is no readable .npz file: {error}") from None


def _read_archive(path: AnyPath, with_weights: bool) -> tuple[_core._Tree, Weights | None]:
    with _opened_archive(path) as archive:
        form = f"{_entry(archive, 'format', 'U', 0)} {_entry(archive, 'version', 'iu', 0)}"
        if form != f"{_FORMAT} {_VERSION}":
            raise ValueError(f"is {form!r}, expected '{_FORMAT} {_VERSION}'")
        kind = str(_entry(archive, "kind", "U", 0))
        if kind not in _KINDS:
            raise ValueError(f"kind is {kind!r}, expected 'binary' or 'softmax'")
        num_leaves = int(_entry(archive, "num_leaves", "iu", 0))
        parents, codes = (
            _entry(archive, name, "i", 1).astype(np.int64) for name in ("parents", "codes")
        )
        tree = _build(kind, num_leaves, parents, codes)
        if not with_weights or "node_weights" not in archive:
            return tree, None
        return tree, _checked_weights(tree, _entry(archive, "node_weights", "f", 2))


def _write_text(file: BinaryIO, tree: _core._Tree, weights: Weights | None) -> None:
    columns, dtype = (0, "") if weights is None else (weights.shape[1], weights.dtype.name)
    header = _Header(_kind(tree), tree.num_leaves(), tree.num_nodes(), columns, dtype)
    file.write(f"{header.text()}\n".encode())
    np.savetxt(file, np.column_stack([tree.parents(), tree.codes()]), fmt="%d")
    if weights is not None:
        np.savetxt(file, weights, fmt=_NUMBER_FORMATS[dtype])


def _parse_header(line: str) -> _Header:
    words = line.split()
    numbers = [int(word) for word in words[3:6] if word.isdecimal() and len(word) < 19]
    dtype = words[6] if len(words) == 7 else "float64"
    if (
        words[:1] != [_FORMAT]
        or len(words) not in (5, 6, 7)
        or words[2] not in _KINDS
        or len(numbers) != min(len(words), 6) - 3
        or (len(numbers) == 3 and numbers[2] == 0)
        or dtype not in _NUMBER_FORMATS
    ):
        raise ValueError(
            f"begins with {line[:80].rstrip()!r}, expected '{_FORMAT} {_VERSION} binary|softmax "
            "<leaves> <nodes>', perhaps followed by <columns> and the dtype of node weights"
        )
    if words[1] != str(_VERSION):
        raise ValueError(f"has version {words[1]} of the format, expected {_VERSION}")
    leaves, nodes, columns = [*numbers, 0][:3]
    return _Header(words[2], leaves, nodes, columns, dtype)


def _lines(file: TextIO, first: int, count: int, what: str) -> Iterator[str]:
    """`count` lines, the first of which has number `first` in the file."""
    for number in range(first, first + count):
        line = file.readline()
        if not line:
            raise ValueError(f"ends at line {number}; {count} lines with {what} were announced")
        if line.isspace():
            raise ValueError(f"line {number} is empty, expected {what}")
        yield line


def _table(file: TextIO, first: int, shape: tuple[int, int], dtype: str, what: str) -> NDArray[Any]:
    if shape[0] == 0:
        return np.empty(shape, dtype)
    lines = _lines(file, first, shape[0], what)
    try:
        table = np.loadtxt(lines, dtype=dtype, comments=None, ndmin=2)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if table.shape[1] != shape[1]:
        raise ValueError(f"lines with {what} have {table.shape[1]} columns, expected {shape[1]}")
    return table


def _read_text(path: AnyPath, with_weights: bool) -> tuple[_core._Tree, Weights | None]:
    with open(path, encoding="utf-8", errors="replace") as file:
        header = _parse_header(file.readline(1000))
        what = "the parent and the code of an id"
        links = _table(file, 2, (header.num_ids, 2), "int64", what)
        tree = _build(header.kind, header.num_leaves, *np.ascontiguousarray(links.T))
        del links
        first, what = 2 + header.num_ids, "the vector of a node"
        rows = header.num_weights if header.columns > 0 else 0
        weights = None
        if with_weights and header.columns > 0:
            weights = _table(file, first, (rows, header.columns), header.dtype, what)
        else:
            for _ in _lines(file, first, rows, what):
                pass
        for number, line in enumerate(file, first + rows):
            if not line.isspace():
                raise ValueError(f"line {number} is more than was announced")
        return tree, weights
