"""The implementations that `bench` compares, each as a call without arguments.

Every contestant reads the same input. Those that can write into a given array share one output,
so that none is favoured by its pages or its place in the cache.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax._cli._npy import Array

NEW_ARRAY = "fastsoftmax, new array"


@dataclass(frozen=True)
class Contestant:
    """One implementation on one case."""

    name: str
    call: Callable[[], object]
    result: Callable[[], Array]  # what the last call computed
    allocates: bool = False  # a new result each time, since it takes no output array


@dataclass(frozen=True)
class Task:
    """Softmax of `x` along `axis` on `threads` threads, into `out` where that is possible."""

    x: Array
    out: Array
    axis: int
    threads: int


Builder = Callable[[Task], Contestant]


class NotOfferedError(Exception):
    """The peer cannot do this case; the message says why."""


def memcpy(task: Task) -> Contestant:
    x, out = task.x, task.out
    return Contestant("memcpy", lambda: np.copyto(out, x), lambda: out)


def fastsoftmax_into(task: Task) -> Contestant:
    x, out, axis = task.x, task.out, task.axis
    softmax = fastsoftmax.softmax
    return Contestant("fastsoftmax", lambda: softmax(x, axis, out=out), lambda: out)


def fastsoftmax_new(task: Task) -> Contestant:
    x, out, axis = task.x, task.out, task.axis
    softmax, last = fastsoftmax.softmax, [out]

    def call() -> None:
        last[0] = softmax(x, axis)

    return Contestant(NEW_ARRAY, call, lambda: last[0], allocates=True)


def numpy_into(task: Task) -> Contestant:
    """Build the three lines that a careful user writes; 16-bit types by way of float32."""
    x, out, axis = task.x, task.out, task.axis
    work = out if x.itemsize > 2 else np.zeros(x.shape, np.float32)

    def call() -> None:
        source = x
        if work is not out:
            np.copyto(work, x)
            source = work
        np.subtract(source, np.max(source, axis=axis, keepdims=True), out=work)
        np.exp(work, out=work)
        np.divide(work, np.sum(work, axis=axis, keepdims=True), out=work)
        if work is not out:
            np.copyto(out, work, casting="same_kind")

    return Contestant("NumPy", call, lambda: out)


def scipy(task: Task) -> Contestant:
    x, out, axis = task.x, task.out, task.axis
    softmax = importlib.import_module("scipy.special").softmax
    last = [out]

    def call() -> None:
        last[0] = softmax(x, axis=axis)

    return Contestant("SciPy", call, lambda: last[0], allocates=True)


def torch(task: Task) -> Contestant:
    x, out, axis = task.x, task.out, task.axis
    module = importlib.import_module("torch")
    module.set_num_threads(task.threads)

    def tensor(array: Array) -> Any:
        if array.dtype.name == "bfloat16":
            return module.from_numpy(array.view(np.int16)).view(module.bfloat16)
        return module.from_numpy(array)

    source, target, softmax = tensor(x), tensor(out), module.softmax

    def call() -> None:
        softmax(source, axis, out=target)

    return Contestant("PyTorch", call, lambda: out)


def onnxruntime(task: Task) -> Contestant:
    x, out, axis = task.x, task.out, task.axis
    from fastsoftmax._cli._onnx import softmax_model

    try:
        model = softmax_model(x.dtype.name, x.shape, axis % x.ndim)
    except KeyError:
        raise NotOfferedError(f"no {x.dtype} softmax on the CPU") from None
    module = importlib.import_module("onnxruntime")
    options = module.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = module.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)

    def call() -> None:
        session.run_with_iobinding(binding)

    return Contestant("ONNX Runtime", call, lambda: out)


def jax(task: Task) -> Contestant:
    x, axis = task.x, task.axis
    module = importlib.import_module("jax")
    module.config.update("jax_platforms", "cpu")
    module.config.update("jax_enable_x64", True)
    compiled = module.jit(lambda scores: module.nn.softmax(scores, axis=axis))
    source = module.device_put(x)
    last: list[Any] = [source]

    def call() -> None:
        last[0] = compiled(source).block_until_ready()

    return Contestant("JAX", call, lambda: np.asarray(last[0]), allocates=True)


# Import name -> the contestant's name and builder, in the order of the table's columns.
PEERS: dict[str, tuple[str, Builder]] = {
    "scipy": ("SciPy", scipy),
    "torch": ("PyTorch", torch),
    "onnxruntime": ("ONNX Runtime", onnxruntime),
    "jax": ("JAX", jax),
}


def installed(wanted: Collection[str]) -> list[tuple[str, Builder]]:
    """Name and builder of every contestant besides memcpy; of the peers, those in `wanted`."""
    return [
        ("fastsoftmax", fastsoftmax_into),
        (NEW_ARRAY, fastsoftmax_new),
        ("NumPy", numpy_into),
        *(peer for module, peer in PEERS.items() if module in wanted),
    ]
