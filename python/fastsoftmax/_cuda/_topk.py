"""topk and softmax_topk of arrays on a GPU."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._results import SoftmaxTopK, SoftmaxTopKLogsumexp, TopK
from ._arguments import as_int, single_axis
from ._arrays import Submission, with_axes


class _Selection(Submission):
    """The k first along one axis of an array: where they go."""

    def __init__(self, x: Any, k: Any, axis: Any) -> None:
        super().__init__(x, "x")
        self.k = as_int(k, "k")
        self.axis = single_axis(axis, len(self.x.shape))
        length = self.x.shape[self.axis]
        if self.k < 0:
            raise ValueError(f"k must not be negative, got {self.k}")
        if self.k > length:
            raise ValueError(f"k is {self.k}, but rows have only {length} elements")
        before, behind = self.x.shape[: self.axis], self.x.shape[self.axis + 1 :]
        self.shape = (*before, self.k, *behind)
        self.reduced = (*before, *behind)


def softmax_topk(
    x: Any,
    k: Any,
    axis: Any = -1,
    *,
    temperature: Any = 1.0,
    where: Any = None,
    normalize: str = "full",
    log: Any = False,
    empty: str = "nan",
    return_logsumexp: Any = False,
    zero_is_one: bool = False,
) -> SoftmaxTopK | SoftmaxTopKLogsumexp:
    """Return what ``fastsoftmax.softmax_topk`` makes of an array on a GPU.

    Parameters are the same; the results are arrays of the library of `x`, on the same device. An
    array of temperatures is there too; one that is not positive and finite makes its row's values
    NaN, and its indices those of a row of NaN. With `zero_is_one` a temperature of 0 stands for 1.

    Raises
    ------
    TypeError
        Where `where` or an array of temperatures is not on a GPU, for a dtype that is not floating,
        and for libraries whose arrays cannot be allocated here.
    ValueError
        Where an argument is on another device than `x`, and for shapes and options as elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    if normalize not in ("full", "topk"):
        raise ValueError(f"normalize must be 'full' or 'topk', not {normalize!r}")
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty must be 'nan' or 'zero', not {empty!r}")
    call = _Selection(x, k, axis)
    call.require_floating()
    dtype = call.x.dtype
    divisor = call.number_or_input(temperature, "temperature")
    mask = None if where is None else call.input(where, "where")
    values, to_values = call.new(dtype, call.shape)
    indices, to_indices = call.new("int64", call.shape)
    sums, to_sums = None, None
    if return_logsumexp:
        sums, reduced = call.new(dtype, call.reduced)
        to_sums = with_axes(reduced, (call.axis,))
    _core._cuda_softmax_topk(
        call.x,
        call.k,
        call.axis,
        to_values,
        to_indices,
        to_sums,
        mask,
        divisor,
        normalize == "topk",
        bool(log),
        empty == "zero",
        zero_is_one,
        call.device,
        call.stream,
    )
    if return_logsumexp:
        return SoftmaxTopKLogsumexp(*call.finish(values, indices, sums))
    return SoftmaxTopK(*call.finish(values, indices))


def topk(x: Any, k: Any, axis: Any = -1, *, largest: Any = True) -> TopK:
    """Return what ``fastsoftmax.topk`` makes of an array on a GPU, of any dtype.

    Parameters are the same; the results are arrays of the library of `x`, on the same device.
    Raises what `softmax_topk` raises.
    """
    call = _Selection(x, k, axis)
    values, to_values = call.new(call.x.dtype, call.shape)
    indices, to_indices = call.new("int64", call.shape)
    _core._cuda_topk(
        call.x, call.k, call.axis, bool(largest), to_values, to_indices, call.device, call.stream
    )
    return TopK(*call.finish(values, indices))
