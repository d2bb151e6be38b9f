"""Arrays in the memory of an NVIDIA GPU: what the compiled part calls where `x` is one.

An array is read in its library's own words (PyTorch), through ``__cuda_array_interface__``
(version 3) or through DLPack. Work goes to the stream that the library of `x` works on at the
moment, and nothing waits for it: PyTorch and CuPy have a current stream,
``__cuda_array_interface__`` may name one, and all others get the legacy default stream.
"""

from __future__ import annotations

import operator
import sys
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._interop import is_instance, written

DEFAULT_STREAM = 1  # the legacy one, as both protocols number it


class DeviceArray(NamedTuple):
    """Where an array lies: an address, NumPy's name of the dtype, strides in bytes."""

    address: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: int
    stream: int | None  # that its values are written on; None where they are there already
    owner: Any  # keeps the memory alive


def compute(
    op: str,
    *,
    x: Any,
    axis: Any = -1,
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
        Where `where` or `out` is not on a GPU, for a temperature that is not a number, a dtype that
        is not floating or not that of `x`, and for libraries whose arrays cannot be allocated here,
        unless `out` is passed.
    ValueError
        Where an argument is on another device than `x`, and for shapes and options as elsewhere.
    RuntimeError
        Where there is no CUDA library, no driver or no device, and for errors of the device.
    """
    if empty not in ("nan", "zero"):
        raise ValueError(f"empty must be 'nan' or 'zero', not {empty!r}")
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, not {type(algorithm).__name__}")
    if not isinstance(temperature, Real):
        raise TypeError(
            f"temperature must be a number where x is on a GPU, not {type(temperature).__name__}"
        )
    scores = describe(x, "x", writable=False)
    if dtype is not None and _dtype_name(dtype) != scores.dtype:
        raise TypeError(
            f"dtype must be that of x, {scores.dtype}, where x is on a GPU, "
            f"not {_dtype_name(dtype)}"
        )
    stream = DEFAULT_STREAM if scores.stream is None else scores.stream
    axes = _axes(axis, len(scores.shape))
    kept = tuple(1 if op == "logsumexp" and i in axes else n for i, n in enumerate(scores.shape))
    drops = op == "logsumexp" and not keepdims
    remaining = [i for i in range(len(kept)) if not (drops and i in axes)]
    shape = tuple(kept[i] for i in remaining)

    mask = None
    if where is not None:
        mask = _beside(describe(where, "where", writable=False), "where", scores, stream)
    result = _empty(x, scores, shape, remaining) if out is None else out
    target = describe(result, "out", writable=True)
    if target.dtype != scores.dtype:
        raise TypeError(f"out must have dtype {scores.dtype}, not {target.dtype}")
    if target.shape != shape:
        raise ValueError(f"out must have shape {shape}, not {target.shape}")
    if out is not None:
        target = _beside(target, "out", scores, stream)
    if drops:
        target = _with_axes(target, axes)
    _core._cuda_run(
        op,
        scores,
        target,
        mask,
        axes,
        float(temperature),
        empty == "zero",
        algorithm,
        scores.device,
        stream,
    )
    if out is not None:
        if target.stream is not None and not _same(target.stream, stream):
            _core._cuda_order(scores.device, stream, target.stream)
        written(out)
    return result


def describe(array: Any, name: str, *, writable: bool) -> DeviceArray:
    """Return where `array`, the parameter `name`, lies.

    Raises
    ------
    TypeError
        Where it is not on a GPU, and for a JAX array to be written.
    RuntimeError
        For a PyTorch tensor that requires gradients while PyTorch records them.
    ValueError
        For an array to be written that is read-only or stores its values negated, and for masked
        arrays.
    """
    if is_instance(array, "torch", "Tensor"):
        return _describe_torch(sys.modules["torch"], array, name, writable)
    if writable and is_instance(array, "jax", "Array"):
        raise TypeError(f"{name} is a JAX array, which is immutable; use the result instead")
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return _describe_interface(array, interface, name, writable)
    if hasattr(type(array), "__dlpack__") and array.__dlpack_device__()[0] in (2, 13):
        tensor = _core._DeviceTensor(array, name, writable, DEFAULT_STREAM)
        return DeviceArray(
            tensor.address,
            tensor.dtype,
            tuple(tensor.shape),
            tuple(tensor.strides),
            tensor.device,
            None,
            tensor,
        )
    raise TypeError(f"{name} is not on a GPU, but x is")


def _describe_torch(torch: Any, tensor: Any, name: str, writable: bool) -> DeviceArray:
    if tensor.device.type != "cuda":
        raise TypeError(f"{name} is on device {tensor.device}, but x is on a GPU")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            f"{name} requires gradients, which fastsoftmax does not record; pass "
            f"{name}.detach() or call under torch.no_grad()"
        )
    if tensor.is_neg():
        if writable:
            raise ValueError(
                f"{name} stores its values negated (is_neg()); pass {name}.resolve_neg()"
            )
        tensor = tensor.resolve_neg()
    return DeviceArray(
        tensor.data_ptr(),
        str(tensor.dtype).removeprefix("torch."),
        tuple(tensor.shape),
        tuple(step * tensor.element_size() for step in tensor.stride()),
        tensor.device.index,
        torch.cuda.current_stream(tensor.device).cuda_stream,
        tensor,
    )


def _describe_interface(
    array: Any, interface: dict[str, Any], name: str, writable: bool
) -> DeviceArray:
    if interface.get("mask") is not None:
        raise ValueError(f"{name} has a mask in its __cuda_array_interface__, which is not read")
    address, read_only = interface["data"]
    if writable and read_only:
        raise ValueError(f"{name} is read-only")
    dtype = np.dtype(interface["typestr"])
    if not dtype.isnative:
        raise ValueError(f"{name} is not in native byte order")
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    if strides is None:
        steps, step = [], dtype.itemsize
        for n in reversed(shape):
            steps.append(step)
            step *= n
        strides = tuple(reversed(steps))
    device = 0 if address == 0 else _core._cuda_device_of(address)
    stream = interface.get("stream")
    if stream == 0:
        raise ValueError(f"{name} has stream 0 in its __cuda_array_interface__, which is ambiguous")
    return DeviceArray(address, dtype.name, shape, tuple(strides), device, stream, array)


def _same(a: int, b: int) -> bool:
    return a == b or {a, b} <= {0, DEFAULT_STREAM}


def _beside(array: DeviceArray, name: str, x: DeviceArray, stream: int) -> DeviceArray:
    # Values written on another stream are waited for there, not here.
    if array.device != x.device:
        raise ValueError(f"{name} is on device {array.device}, but x is on device {x.device}")
    if array.stream is not None and not _same(array.stream, stream):
        _core._cuda_order(x.device, array.stream, stream)
    return array


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = []
    for given in axis if isinstance(axis, tuple) else (axis,):
        at = operator.index(given)
        if not -ndim <= at < ndim:
            raise np.exceptions.AxisError(at, ndim)
        axes.append(at % ndim)
    if len(set(axes)) < len(axes):
        raise ValueError("duplicate value in 'axis'")
    return tuple(axes)


def _dtype_name(dtype: Any) -> str:
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype).rpartition(".")[2]


def _empty(like: Any, x: DeviceArray, shape: tuple[int, ...], axes: list[int]) -> Any:
    """Return a new array of the library of `like` whose axes, `axes` of x, lie in memory as x's."""
    order = sorted(range(len(shape)), key=lambda i: -abs(x.strides[axes[i]]))
    back = [order.index(i) for i in range(len(shape))]
    in_memory = tuple(shape[i] for i in order)
    if is_instance(like, "torch", "Tensor"):
        torch = sys.modules["torch"]
        return torch.empty(in_memory, dtype=like.dtype, device=like.device).permute(back)
    if is_instance(like, "cupy", "ndarray"):
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(x.device):
            return cupy.empty(in_memory, dtype=like.dtype).transpose(back)
    raise TypeError(
        f"a result of type {type(like).__name__} cannot be allocated here; pass out=, or an array "
        "of PyTorch or CuPy"
    )


def _with_axes(array: DeviceArray, axes: tuple[int, ...]) -> DeviceArray:
    """Return `array` with axes of length 1 put in."""
    shape, strides = list(array.shape), list(array.strides)
    for axis in sorted(axes):
        shape.insert(axis, 1)
        strides.insert(axis, 0)
    return array._replace(shape=tuple(shape), strides=tuple(strides))
