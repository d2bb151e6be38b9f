"""cross_entropy of arrays on a GPU."""

from __future__ import annotations

from numbers import Real
from typing import Any

from .. import _core
from .._results import CrossEntropy
from ._arguments import as_int, single_axis
from ._arrays import DeviceArray, Submission, with_axes

_INT64 = 2**63


def _number(value: Any, name: str) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return float(value)


def cross_entropy(
    logits: Any,
    targets: Any,
    axis: Any = -1,
    *,
    weight: Any = None,
    ignore_index: Any = -100,
    label_smoothing: Any = 0.0,
    z_loss: Any = 0.0,
    softcap: Any = None,
    reduction: str = "mean",
    grad_out: Any = None,
    need_grad: bool = False,
    inplace_grad: bool = False,
) -> Any:
    """Return the cross-entropy of an array on a GPU, and its gradient where it is wanted.

    Parameters and results are those of ``fastsoftmax.cross_entropy``; `targets`, `weight` and,
    unless it is a number, `grad_out` are on the same device. A target that is no class cannot be
    refused: it makes the loss and the gradient of its row NaN.

    Raises
    ------
    TypeError
        Where an array is not on a GPU, for `logits`, `weight` and `grad_out` of other dtypes than
        floating ones, and for libraries whose arrays cannot be allocated here.
    ValueError
        Where an argument is on another device than `logits`, and for shapes and options as
        elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    if not isinstance(reduction, str):
        raise TypeError(f"reduction must be a string, not {type(reduction).__name__}")
    wants_gradient = bool(need_grad) or bool(inplace_grad)
    if grad_out is not None and not wants_gradient:
        raise ValueError("grad_out is of use with need_grad or inplace_grad only")
    cap = 0.0 if softcap is None else _number(softcap, "softcap")
    if softcap is not None and cap == 0.0:
        raise ValueError("softcap must be positive, got 0")
    smoothing = _number(label_smoothing, "label_smoothing")
    z = _number(z_loss, "z_loss")
    ignored = max(-_INT64, min(as_int(ignore_index, "ignore_index"), _INT64 - 1))
    call = Submission(logits, "logits")
    call.require_floating()
    scores = call.x
    at = single_axis(axis, len(scores.shape))
    rest = tuple(n for d, n in enumerate(scores.shape) if d != at)
    classes = call.input(targets, "targets")
    weights = None if weight is None else call.input(weight, "weight")
    upstream: float | DeviceArray = 1.0
    if isinstance(grad_out, Real):
        upstream = float(grad_out)
    elif grad_out is not None:
        upstream = call.input(grad_out, "grad_out")

    dtype = "float64" if scores.dtype == "float64" else "float32"
    loss, losses = call.new(dtype, rest if reduction == "none" else ())
    gradient = gradients = logsumexp = sums = None
    if wants_gradient:
        logsumexp, sums = call.new(dtype, rest)
        if inplace_grad:
            gradient = logits
            gradients = call.output(logits, "logits", scores.dtype, scores.shape)
        else:
            gradient, gradients = call.new(scores.dtype, scores.shape, range(len(scores.shape)))
    _core._cuda_cross_entropy(
        scores,
        classes,
        at,
        weights,
        ignored,
        smoothing,
        z,
        cap,
        reduction,
        upstream,
        with_axes(losses, (at,)) if reduction == "none" else losses,
        gradients,
        None if sums is None else with_axes(sums, (at,)),
        call.device,
        call.stream,
    )
    if wants_gradient:
        return CrossEntropy(*call.finish(loss, gradient, logsumexp))
    return call.finish(loss)
