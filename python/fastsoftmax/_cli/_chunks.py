"""How an array too large for memory is cut along the axes that are not reduced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Where rows are interleaved, so many neighbouring bytes are taken together: a narrower cut would
# read every page of the file again for each chunk.
MIN_RUN = 64 << 10


class Chunks(NamedTuple):
    """A cut of an array: index it with each of `indices()` in turn."""

    steps: tuple[int, ...]  # length of a chunk along each axis; the last one may be shorter
    shape: tuple[int, ...]
    nbytes: int  # of the largest chunk

    @property
    def number(self) -> int:
        return math.prod(
            -(-max(length, 1) // step) for length, step in zip(self.shape, self.steps, strict=True)
        )

    def indices(self) -> Iterator[tuple[slice, ...]]:
        """Yield one slice per axis for each chunk, in the order of the first axis."""
        ranges = (
            [slice(start, min(start + step, length)) for start in range(0, max(length, 1), step)]
            for length, step in zip(self.shape, self.steps, strict=True)
        )
        return itertools.product(*ranges)


def cut(
    shape: Sequence[int], strides: Sequence[int], itemsize: int, axes: Sequence[int], limit: int
) -> Chunks:
    """Cut a contiguous array into pieces of about `limit` bytes that hold whole rows.

    Parameters
    ----------
    shape, strides, itemsize
        Of the array; strides in bytes.
    axes
        The reduced axes, each in ``[0, ndim)``; they are never cut.
    limit
        Bytes a chunk may hold. A chunk is larger only where a single row is, or where rows are
        interleaved and fewer than `MIN_RUN` neighbouring bytes would be taken.
    """
    steps = [max(length, 1) for length in shape]
    nbytes = math.prod(shape) * itemsize
    outermost = max((strides[axis] for axis in axes if shape[axis] > 1), default=0)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    for axis in sorted(kept, key=lambda axis: -strides[axis]):
        if nbytes <= limit:
            break
        slab = nbytes // shape[axis]
        step = max(1, limit // slab)
        if strides[axis] < outermost:
            step = max(step, -(-MIN_RUN // strides[axis]))
        steps[axis] = min(step, shape[axis])
        nbytes = slab * steps[axis]
    return Chunks(tuple(steps), tuple(shape), nbytes)
