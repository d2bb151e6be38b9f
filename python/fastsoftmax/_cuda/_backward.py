"""softmax_backward and log_softmax_backward of arrays on a GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import _core
from ._arguments import normalized_axes
from ._arrays import Submission


def _compute(
    op: str,
    /,
    grad: Any,
    y: Any,
    axis: Any = -1,
    *,
    temperature: Any = 1.0,
    out: Any = None,
) -> Any:
    """Return the gradient of the scores from that of what `op`, softmax or log_softmax, gave.

    Parameters are those of ``fastsoftmax.softmax_backward``; the result is an array of the library
    of `grad`, on the same device.

    Raises
    ------
    TypeError
        Where `y`, `out` or an array of temperatures is not on a GPU, for dtypes that are not
        floating or differ, and for libraries whose arrays cannot be allocated here, unless `out` is
        passed.
    ValueError
        Where an argument is on another device than `grad`, for shapes that do not fit, and for
        `out` that overlaps an input without being it.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    call = Submission(grad, "grad")
    call.require_floating()
    gradient = call.x
    axes = normalized_axes(axis, len(gradient.shape))
    output = call.input(y, "y")
    divisor = call.number_or_input(temperature, "temperature")
    if out is None:
        result, target = call.new(gradient.dtype, gradient.shape, list(range(len(gradient.shape))))
    else:
        result, target = out, call.output(out, "out", gradient.dtype, gradient.shape)
    _core._cuda_backward(op, gradient, output, target, axes, divisor, call.device, call.stream)
    return call.finish(result)


softmax_backward = partial(_compute, "softmax")
log_softmax_backward = partial(_compute, "log_softmax")
