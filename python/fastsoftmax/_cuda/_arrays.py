"""Arrays in the memory of an NVIDIA GPU: where they lie, and the stream that a call is for.

An array is read in its library's own words (PyTorch), through ``__cuda_array_interface__`` or, as
all of JAX's, through DLPack. Work goes to the stream that the library of the first argument works
on at the moment, and nothing waits for it: PyTorch and CuPy have a current stream,
``__cuda_array_interface__`` may name one, and all others get the legacy default stream.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._interop import is_instance, is_jax, refuse_traced, written
from . import _jax
from ._allocation import empty, handed_over
from ._streams import DEFAULT_STREAM, same_stream

FLOATING = ("float16", "bfloat16", "float32", "float64")


class DeviceArray(NamedTuple):
    """Where an array lies: an address, NumPy's name of the dtype, strides in bytes."""

    address: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: int
    stream: int | None  # that its values are written on; None where they are there already
    owner: Any  # keeps the memory alive


class Submission:
    """A call on the device and the stream of its first argument, `x`: all other arrays of it.

    Parameters
    ----------
    x : array on a GPU
    name : str
        Of the parameter, for messages.

    Attributes
    ----------
    x : DeviceArray
    device : int
    stream : int
    """

    def __init__(self, x: Any, name: str) -> None:
        self.x = describe(x, name, writable=False)
        self.device = self.x.device
        self.stream = DEFAULT_STREAM if self.x.stream is None else self.x.stream
        self._like = x
        self._name = name
        self._outputs: list[Any] = []
        self._results: list[Any] = []  # new arrays
        self._of_jax: Any = None  # the first argument that is
        self._note_jax(x)
        self._streams: list[int] = []  # others, that arguments are written and read on

    def require_floating(self) -> None:
        """Raise TypeError where `x` is not floating."""
        if self.x.dtype not in FLOATING:
            raise TypeError(
                f"{self._name} has dtype {self.x.dtype}, expected a floating type where "
                f"{self._name} is on a GPU"
            )

    def input(self, array: Any, name: str) -> DeviceArray:
        """Return where `array` lies; its values are waited for on the device.

        Raises
        ------
        TypeError
            Where it is not on a GPU.
        ValueError
            Where it is on another device than `x`.
        """
        found = describe(array, name, writable=False)
        self._note_jax(array)
        return self._beside(found, name)

    def number_or_input(self, value: Any, name: str) -> float | DeviceArray:
        """Return a number as a float, or else where an array lies, as `input` does."""
        if value is None:
            raise TypeError(f"{name} must be a number or array, not None")
        return float(value) if isinstance(value, Real) else self.input(value, name)

    def output(self, array: Any, name: str, dtype: str, shape: tuple[int, ...]) -> DeviceArray:
        """Return where the caller's `array`, which will be written, lies.

        Raises
        ------
        TypeError
            Where it is not on a GPU or of another dtype.
        ValueError
            Where it is read-only, of another shape or on another device than `x`.
        """
        found = describe(array, name, writable=True)
        if found.dtype != dtype:
            raise TypeError(f"{name} must have dtype {dtype}, not {found.dtype}")
        if found.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, not {found.shape}")
        self._outputs.append(array)
        return self._beside(found, name)

    def new(
        self, dtype: str, shape: tuple[int, ...], axes: Sequence[int] | None = None
    ) -> tuple[Any, DeviceArray]:
        """Return a new array of the library of `x`, whose axes lie in memory as `axes` of x do.

        Without `axes` it is dense in C order.

        Raises
        ------
        TypeError
            For libraries whose arrays cannot be allocated here.
        """
        order = list(range(len(shape)))
        if axes is not None:
            order.sort(key=lambda i: -abs(self.x.strides[axes[i]]))
        result = empty(self._like, self.device, dtype, shape, order)
        self._results.append(result)
        return result, self._beside(describe(result, "the result", writable=False), "the result")

    def finish(self, *results: Any) -> Any:
        """Let whoever uses the arguments and results next wait for what was submitted.

        Returns
        -------
        The results, one or a tuple, as the caller is to have them.
        """
        if self._of_jax is not None:
            _jax.catch_up(self._of_jax, self.stream)
        for stream in self._streams:
            _core._cuda_order(self.device, self.stream, stream)
        for array in self._outputs:
            written(array)
        own = tuple(self._own(result) for result in results)
        return own[0] if len(own) == 1 else own

    def _note_jax(self, array: Any) -> None:
        if self._of_jax is None and is_jax(array):
            _jax.prepare(array)
            self._of_jax = array

    def _own(self, result: Any) -> Any:
        is_new = any(result is new for new in self._results)
        return handed_over(result, self.stream) if is_new else result

    def _beside(self, array: DeviceArray, name: str) -> DeviceArray:
        if array.device != self.device and 0 not in array.shape:
            raise ValueError(
                f"{name} is on device {array.device}, but {self._name} is on device {self.device}"
            )
        if array.stream is not None and not same_stream(array.stream, self.stream):
            _core._cuda_order(self.device, array.stream, self.stream)
            if array.stream not in self._streams:
                self._streams.append(array.stream)
        return array


def describe(array: Any, name: str, *, writable: bool) -> DeviceArray:
    """Return where `array`, the parameter `name`, lies.

    Raises
    ------
    TypeError
        Where it is not on a GPU, for a JAX array to be written and for one that is traced.
    RuntimeError
        For a PyTorch tensor that requires gradients while PyTorch records them.
    ValueError
        For an array to be written that is read-only or stores its values negated, and for masked
        arrays.
    """
    refuse_traced(array, name)
    if is_instance(array, "torch", "Tensor"):
        return _describe_torch(sys.modules["torch"], array, name, writable)
    if writable and is_jax(array):
        raise TypeError(f"{name} is a JAX array, which is immutable; use the result instead")
    if not is_jax(array):  # whose interface would wait on the host
        interface = getattr(array, "__cuda_array_interface__", None)
        if interface is not None:
            return _describe_interface(array, interface, name, writable)
    if hasattr(type(array), "__dlpack__"):
        if array.__dlpack_device__()[0] in (2, 13):
            return _describe_tensor(_core._DeviceTensor(array, name, writable, DEFAULT_STREAM))
    else:
        dtype = np.asarray(array).dtype
        if dtype.kind in "OSUc":
            expected = f"{', '.join(FLOATING)}, an integer type or bool"
            raise TypeError(f"{name} has dtype {dtype}; expected {expected}")
    raise TypeError(f"{name} is not on a GPU, but other arguments are")


def _describe_tensor(tensor: _core._DeviceTensor) -> DeviceArray:
    return DeviceArray(
        tensor.address,
        tensor.dtype,
        tuple(tensor.shape),
        tuple(tensor.strides),
        tensor.device,
        DEFAULT_STREAM,
        tensor,
    )


def _describe_torch(torch: Any, tensor: Any, name: str, writable: bool) -> DeviceArray:
    if tensor.device.type != "cuda":
        raise TypeError(f"{name} is on device {tensor.device}, but other arguments are on a GPU")
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
    device = 0 if address == 0 or 0 in shape else _core._cuda_device_of(address)
    stream = interface.get("stream")
    if stream == 0:
        raise ValueError(f"{name} has stream 0 in its __cuda_array_interface__, which is ambiguous")
    return DeviceArray(address, dtype.name, shape, tuple(strides), device, stream, array)


def with_axes(array: DeviceArray, axes: tuple[int, ...]) -> DeviceArray:
    """Return `array` with axes of length 1 put in."""
    shape, strides = list(array.shape), list(array.strides)
    for axis in sorted(axes):
        shape.insert(axis, 1)
        strides.insert(axis, 0)
    return array._replace(shape=tuple(shape), strides=tuple(strides))
