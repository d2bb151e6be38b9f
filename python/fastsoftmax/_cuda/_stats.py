"""softmax_stats of arrays on a GPU."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._results import SoftmaxStats
from ._arguments import single_axis
from ._arrays import Submission, with_axes


def softmax_stats(x: Any, axis: Any = -1, *, temperature: Any = 1.0, where: Any = None) -> Any:
    """Return statistics of the softmax of an array on a GPU.

    Parameters and results are those of ``fastsoftmax.softmax_stats``. An array of temperatures may
    have any real type, and values that are not positive and finite make their rows' results NaN.

    Raises
    ------
    TypeError
        Where `where` or an array of temperatures is not on a GPU, for dtypes that are not floating,
        and for libraries whose arrays cannot be allocated here.
    ValueError
        Where an argument is on another device than `x`, and for shapes and options as elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    call = Submission(x, "x")
    call.require_floating()
    scores = call.x
    at = single_axis(axis, len(scores.shape))
    rest = tuple(n for d, n in enumerate(scores.shape) if d != at)
    divisor = call.number_or_input(temperature, "temperature")
    mask = None if where is None else call.input(where, "where")
    results = [call.new(scores.dtype, rest) for _ in SoftmaxStats._fields]
    _core._cuda_softmax_stats(
        scores,
        at,
        divisor,
        mask,
        [with_axes(array, (at,)) for _, array in results],
        call.device,
        call.stream,
    )
    return SoftmaxStats(*call.finish(*(result for result, _ in results)))
