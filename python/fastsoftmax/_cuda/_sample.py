"""sample of arrays on a GPU."""

from __future__ import annotations

import secrets
from numbers import Number
from typing import Any

import numpy as np

from .. import _core
from .._results import SampleResult
from ._arguments import as_int, single_axis
from ._arrays import Submission, with_axes
from ._topk import softmax_topk


def sample(
    logits: Any,
    axis: Any = -1,
    *,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = None,
    min_p: Any = None,
    typical_p: Any = None,
    top_n_sigma: Any = None,
    where: Any = None,
    seed: Any = None,
    position: Any = 0,
    row_ids: Any = None,
    return_logprobs: bool = False,
    top_logprobs: Any = 0,
) -> Any:
    """Return what ``fastsoftmax.sample`` draws, as arrays of the library of `logits`.

    Parameters are those of ``fastsoftmax.sample``. An array with one value for each row is on the
    device of `logits`; a row with a value outside its range gets the index -1 and a
    log-probability of NaN, and where that is its temperature, top log-probabilities of NaN too.

    Raises
    ------
    TypeError
        Where an argument is an array that is not on a GPU, or of a dtype that it cannot have, for a
        dtype of `logits` that is not floating, and for libraries whose arrays cannot be allocated
        here.
    ValueError
        Where an argument is on another device than `logits`, and for shapes and numbers as
        elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    call = Submission(logits, "logits")
    call.require_floating()
    x = call.x
    at = single_axis(axis, len(x.shape))
    most_likely = _most_likely(top_logprobs, x.shape[at])

    def real(value: Any, name: str, off: float) -> Any:
        return off if value is None else call.number_or_input(value, name)

    options = {
        "temperature": call.number_or_input(temperature, "temperature"),
        "top_k": _integer(0 if top_k is None else top_k, "top_k", call, 1 << 63),
        "top_p": real(top_p, "top_p", 1.0),
        "min_p": real(min_p, "min_p", 0.0),
        "typical_p": real(typical_p, "typical_p", 1.0),
        "top_n_sigma": real(top_n_sigma, "top_n_sigma", 0.0),
        "position": _integer(position, "position", call),
        "row_ids": None if row_ids is None else _integer(row_ids, "row_ids", call),
    }
    mask = None if where is None else call.input(where, "where")
    remaining = [i for i in range(len(x.shape)) if i != at]
    shape = tuple(x.shape[i] for i in remaining)
    indices, drawn = call.new("int64", shape, remaining)
    logprobs = logs = None
    if return_logprobs:
        logprobs, logs = call.new(x.dtype, shape, remaining)
    options["seed"] = _seed(seed, call)
    _core._cuda_sample(
        x,
        at,
        with_axes(drawn, (at,)),
        None if logs is None else with_axes(logs, (at,)),
        mask,
        options,
        call.device,
        call.stream,
    )
    indices, logprobs = call.finish(indices, logprobs)
    if not return_logprobs and most_likely == 0:
        return indices
    if most_likely == 0:
        return SampleResult(indices, logprobs, None, None)
    top = softmax_topk(
        logits, most_likely, at, temperature=temperature, where=where, log=True, zero_is_one=True
    )
    return SampleResult(indices, logprobs, top.values, top.indices)


def _most_likely(number: Any, length: int) -> int:
    count = as_int(number, "top_logprobs")
    if count < 0:
        raise ValueError(f"top_logprobs must not be negative, got {count}")
    if count > length:
        raise ValueError(f"top_logprobs is {count}, but rows have only {length} elements")
    return count


def _integer(value: Any, name: str, call: Submission, limit: int = 1 << 64) -> Any:
    if not isinstance(value, (Number, str, bytes, np.bool_, type(None))):
        return call.input(value, name)
    seeds = "an int, an array of ints or a numpy.random.Generator"
    number = as_int(value, name, seeds if name == "seed" else "an int or an array of ints")
    if not 0 <= number < limit:
        expected = "not be negative" if number < 0 else f"be below 2**{limit.bit_length() - 1}"
        raise ValueError(f"{name} must {expected}, got {number}")
    return number


def _seed(seed: Any, call: Submission) -> Any:
    if seed is None:
        return secrets.randbits(64)
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(0, 1 << 64, dtype=np.uint64))
    return _integer(seed, "seed", call)
