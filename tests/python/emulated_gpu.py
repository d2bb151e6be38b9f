"""A GPU for tests on any machine: a library that runs kernels on this CPU, and arrays for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastsoftmax as fs
import numpy as np

ROOT = Path(__file__).parents[2]


class Interface:
    """The least that speaks __cuda_array_interface__: a NumPy array that says it is on a GPU."""

    def __init__(self, array, *, stream=None, read_only=False, **extra):
        self.array = array
        self.extra = {"stream": stream, **extra}
        self.read_only = read_only or not array.flags.writeable

    @property
    def __cuda_array_interface__(self):
        return {
            **self.array.__array_interface__,
            "data": (self.array.ctypes.data, self.read_only),
            "version": 3,
            **self.extra,
        }


class Tensor:
    """The least that speaks DLPack, on a GPU."""

    def __init__(self, array, device=(2, 0)):
        self.array = array
        self.device_pair = device
        self.streams = []

    def __dlpack_device__(self):
        return self.device_pair

    def __dlpack__(self, *, stream=None, **kwargs):
        self.streams.append(stream)
        return self.array.__dlpack__(**kwargs)


class CupyArray(Interface):
    """An array of the stand-in for CuPy, which can be allocated."""

    def transpose(self, axes):
        return CupyArray(self.array.transpose(axes))


def install_cupy():
    """Put a stand-in for CuPy where imports find it."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray = CupyArray
    cupy.empty = lambda shape, dtype: CupyArray(np.full(shape, 77).astype(dtype))
    cupy.cuda = types.SimpleNamespace(Device=lambda _device: contextlib.nullcontext())
    sys.modules["cupy"] = cupy


class Numba(Interface):
    """An array of the stand-in for Numba."""

    @property
    def stream(self):
        return self.extra["stream"]


def install_numba():
    """Put a stand-in for Numba where imports find it."""
    cuda = types.ModuleType("numba.cuda")
    cuda.gpus = [contextlib.nullcontext()]
    cuda.device_array = lambda shape, dtype, stream: Numba(
        np.full(shape, 77).astype(dtype), stream=stream
    )
    arrays = types.ModuleType("numba.cuda.cudadrv.devicearray")
    arrays.DeviceNDArrayBase = Numba
    sys.modules.update({module.__name__: module for module in (cuda, arrays)})


class Dlpack(Tensor):
    """An array of a library that speaks DLPack alone and imports on a stream of its own."""

    STREAM = 5

    def __array_namespace__(self):
        return types.SimpleNamespace(
            from_dlpack=type(self).from_dlpack,
            empty=lambda shape, dtype: type(self)(np.full(shape, 77).astype(dtype)),
            float32=np.float32,
            float16=np.float16,
            int64=np.int64,
        )

    @classmethod
    def from_dlpack(cls, exported):
        assert exported.__dlpack_device__() == (2, 0)
        return cls(np.from_dlpack(OnCpu(exported.__dlpack__(stream=cls.STREAM))))


class Jax(Dlpack):
    """An array of the stand-in for JAX."""

    def devices(self):
        return {"gpu"}

    @property
    def __cuda_array_interface__(self):
        raise AssertionError("JAX would wait for its work")


class OnCpu:
    """A capsule for NumPy."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **kwargs):
        return self.capsule


def install_jax():
    """Put a stand-in for JAX where imports find it."""
    jax = types.ModuleType("jax")
    jax.Array = Jax
    jax.used = []  # what JAX has worked with
    for context in ("ensure_compile_time_eval", "disable_jit", "debug_nans", "debug_infs"):
        setattr(jax, context, contextlib.nullcontext)
    jax.transfer_guard = contextlib.nullcontext
    jax.jit = lambda function, **_: function
    jax.sharding = types.SimpleNamespace(SingleDeviceSharding=str)
    jax.device_put = lambda array, _device: Jax(array)
    jax.numpy = types.SimpleNamespace(
        dtype=np.dtype,
        negative=jax.used.append,
    )
    jax.lax = types.SimpleNamespace(empty=lambda shape, dtype: Jax(np.full(shape, 7).astype(dtype)))
    jax.dlpack = types.SimpleNamespace(from_dlpack=Jax.from_dlpack)
    sys.modules["jax"] = jax


def allocate():
    """Let `Interface` be of a library of the array API standard, which allocates results."""
    library = types.SimpleNamespace(
        empty=lambda shape, *, dtype, **_: Interface(np.full(shape, 0xA5, dtype)),
        **{name: np.dtype(name) for name in ("float16", "float32", "float64", "int64", "int8")},
    )
    Interface.device = "gpu"
    Interface.__array_namespace__ = lambda _self: library


def on_gpu(options):
    """Arrays among the options as arrays on the GPU."""
    return {k: Interface(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


def same(found, expected):
    """Check that arrays on the GPU, or tuples of them, have the bits of those that are expected."""
    if expected is None or isinstance(expected, tuple):
        assert type(found) is type(expected)
        for a, b in zip(found or (), expected or (), strict=True):
            same(a, b)
        return
    array, expected = found.array, np.asarray(expected)
    assert isinstance(found, Interface)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert array.flags.c_contiguous
    bits = f"u{array.itemsize}"
    np.testing.assert_array_equal(
        np.atleast_1d(array).view(bits), np.ascontiguousarray(np.atleast_1d(expected)).view(bits)
    )


def build(library):
    """Compile the library. Returns whether there is a compiler to do so."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return False
    cpp, tests = ROOT / "cpp", ROOT / "tests/cpp"
    flags = ["-std=c++20", "-O0", "-fPIC", "-ffp-contract=off"]
    flags += [f"-I{path}" for path in (cpp, cpp / "src", cpp / "include", tests)]
    sources = [tests / "emulated_cuda_library.cpp", *tests.glob("emulated_launch_*.cpp")]
    sources += cpp.glob("cuda/*plan.cpp")

    def compiled(source):
        target = library.with_name(f"{source.stem}.o")
        subprocess.run([compiler, *flags, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    subprocess.run([compiler, "-shared", *objects, "-o", library], check=True)
    return True


def journal(library):
    """What the library was asked to do with streams, such as "run 7 on 0", oldest first."""
    function = ctypes.CDLL(str(library)).emulated_journal
    function.restype = ctypes.c_char_p
    return function().decode().split("\n")[:-1]


SCRIPT = """
import sys
sys.path[:0] = {path!r}
import numpy as np
import fastsoftmax as fs
from emulated_gpu import *
notes = lambda: journal({library!r})
{body}
"""


def run(library, body):
    """Run statements in a process of its own that finds the library. Returns what they print."""
    path = [str(Path(fs.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(path=path, library=str(library), body=body)],
        env={**os.environ, "FASTSOFTMAX_CUDA_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
