"""What trees are made of, as arrays of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._integers import integers, list_of_integers


def _flat_paths(paths: Any, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Concatenate the entries of all leaves, and count those of each."""
    if isinstance(paths, np.ndarray) and paths.dtype != object:
        array = integers(paths, name)
        if array.ndim != 2:
            raise ValueError(
                f"{name} must have 2 dimensions or come with offsets, not {array.ndim}"
            )
        return array.ravel(), np.full(array.shape[0], array.shape[1])
    rows = [list_of_integers(path, f"{name}[{leaf}]") for leaf, path in enumerate(paths)]
    lengths = np.array([row.size for row in rows], np.int64)
    return np.concatenate([*rows, np.empty(0, np.int64)]), lengths


def read_paths(
    nodes: Any, codes: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Flat nodes, codes and offsets, without what is behind the ends of paths."""
    flat_nodes, node_lengths = _flat_paths(nodes, "nodes")
    flat_codes, code_lengths = _flat_paths(codes, "codes")
    if node_lengths.size != code_lengths.size:
        raise ValueError(f"nodes of {node_lengths.size} leaves, but codes of {code_lengths.size}")
    if (node_lengths != code_lengths).any():
        leaf = int(np.argmax(node_lengths != code_lengths))
        raise ValueError(
            f"the path of leaf {leaf} has {node_lengths[leaf]} nodes, "
            f"but {code_lengths[leaf]} codes"
        )
    inside = flat_nodes != -1
    leaf_of = np.repeat(np.arange(node_lengths.size), node_lengths)
    resumed = inside[1:] & ~inside[:-1] & (leaf_of[1:] == leaf_of[:-1])
    if resumed.any():
        leaf = int(leaf_of[int(np.argmax(resumed))])
        raise ValueError(f"the path of leaf {leaf} has a -1 before its end")
    if (flat_codes[~inside] != -1).any():
        leaf = int(leaf_of[~inside][int(np.argmax(flat_codes[~inside] != -1))])
        raise ValueError(f"the path of leaf {leaf} has more codes than nodes")
    lengths = np.bincount(leaf_of[inside], minlength=node_lengths.size)
    return flat_nodes[inside], flat_codes[inside], np.concatenate([[0], np.cumsum(lengths)])
