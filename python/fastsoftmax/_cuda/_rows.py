"""softmax, log_softmax and logsumexp of arrays on a GPU."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import _core
from ._arguments import dtype_name, normalized_axes
from ._arrays import Submission, with_axes


def _compute(
    op: str,
    /,
    x: Any,
    axis: Any = -1,
    *,
    temperature: Any = 1.0,
    where: Any = None,
    empty: str = "nan",
    keepdims: bool = False,
    out: Any = None,
    dtype: Any = None,
    algorithm: str = "auto",
) -> Any:
    """Return what `op`, one of softmax, log_softmax and logsumexp, makes of an array on a GPU.

    Parameters are those of ``fastsoftmax.softmax``; the result is an array of the library of `x`,
    on the same device.

    Raises
    ------
    TypeError
        Where `where`, `out` or an array of temperatures is not on a GPU, for a dtype that is not
        floating or not that of `x`, and for libraries whose arrays cannot be allocated here, unless
        `out` is passed.
    ValueError
        Where an argument is on another device than `x`, and for shapes and options as elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty must be 'nan' or 'zero', not {empty!r}")
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    call = Submission(x, "x")
    call.require_floating()
    scores = call.x
    if dtype is not None and dtype_name(dtype) != scores.dtype:
        raise TypeError(
            f"dtype must be that of x, {scores.dtype}, where x is on a GPU, not {dtype_name(dtype)}"
        )
    axes = normalized_axes(axis, len(scores.shape))
    kept = tuple(1 if op == "logsumexp" and i in axes else n for i, n in enumerate(scores.shape))
    drops = op == "logsumexp" and not keepdims
    remaining = [i for i in range(len(kept)) if not (drops and i in axes)]
    shape = tuple(kept[i] for i in remaining)

    divisor = call.number_or_input(temperature, "temperature")
    mask = None if where is None else call.input(where, "where")
    if out is None:
        result, target = call.new(scores.dtype, shape, remaining)
    else:
        result, target = out, call.output(out, "out", scores.dtype, shape)
    if drops:
        target = with_axes(target, axes)
    _core._cuda_run(
        op,
        scores,
        target,
        mask,
        axes,
        divisor,
        empty == "zero",
        algorithm,
        call.device,
        call.stream,
    )
    return call.finish(result)


softmax = partial(_compute, "softmax")
log_softmax = partial(_compute, "log_softmax")
logsumexp = partial(_compute, "logsumexp")
