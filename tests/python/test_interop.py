"""Tensors of other libraries, through DLPack: values, kinds, and that nothing is copied."""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
import weakref

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest
from fastsoftmax import _interop

OPS = ["softmax", "log_softmax", "logsumexp"]


class Tensor:
    """The least that speaks DLPack: a NumPy array that does not look like one."""

    legacy = False  # speaks as before DLPack 1.0
    dl_device = (1, 0)

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.dl_device

    def __dlpack__(self, **kwargs):
        if self.legacy and kwargs:
            raise TypeError(f"unexpected keyword arguments {kwargs}")
        return self.array.__dlpack__(**kwargs)

    @classmethod
    def __array_namespace__(cls):
        return cls

    @classmethod
    def from_dlpack(cls, exported):
        return cls(np.from_dlpack(exported))


class LegacyTensor(Tensor):
    legacy = True


class Opaque(Tensor):
    """Exports only: its library has no from_dlpack."""

    def __getattribute__(self, name):
        if name == "__array_namespace__":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Capsule(Opaque):
    """Hands out a capsule that was made before."""

    def __dlpack__(self, **_):
        return self.array


@pytest.fixture
def x(rng):
    return rng.normal(scale=3, size=(4, 6)).astype(np.float32)


@pytest.fixture
def addresses(monkeypatch):
    """Addresses of the results that are handed to other libraries, in order."""
    seen = []
    own_kind = _interop.own_kind

    def recording(like, exported):
        seen.append(exported.array().ctypes.data)
        return own_kind(like, exported)

    monkeypatch.setattr(_interop, "own_kind", recording)
    return seen


@pytest.mark.parametrize("kind", [Tensor, LegacyTensor])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?"])
def test_every_kind_of_tensor(kind, op, dtype, x):
    x = x.astype(dtype)
    for view in (x, x.T, x[::-1, ::2], x[1:, 1:], x[:0], x[:, :0], x[0]):
        expected = getattr(fs, op)(view, keepdims=True) if op == "logsumexp" else fs.softmax(view)
        if op == "log_softmax":
            expected = fs.log_softmax(view)
        kwargs = {"keepdims": True} if op == "logsumexp" else {}
        result = getattr(fs, op)(kind(view), **kwargs)
        assert type(result) is kind
        assert result.array.dtype == expected.dtype
        assert result.array.strides == expected.strides or view.size == 0
        np.testing.assert_array_equal(result.array, expected)


def test_libraries_without_from_dlpack_get_arrays(x):
    result = fs.softmax(Opaque(x))
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, fs.softmax(x))


def test_scalar_results_are_tensors(x):
    result = fs.logsumexp(Tensor(x), None)
    assert result.array.shape == ()
    assert result.array == fs.logsumexp(x, None)


def test_results_share_their_memory_and_keep_it_alive(x, addresses):
    result = fs.softmax(Tensor(x)).array
    assert addresses == [result.ctypes.data]
    assert result.ctypes.data % 64 == 0
    gc.collect()
    np.testing.assert_array_equal(result, fs.softmax(x))
    assert not result.flags.owndata


@pytest.mark.parametrize("kind", [Tensor, LegacyTensor])
def test_inputs_are_not_copied_and_are_released(kind):
    x = np.zeros((1000, 1000), np.float32)
    out = np.empty_like(x)
    tracemalloc.start()
    fs.softmax(kind(x), out=out)
    fs.softmax(x, out=kind(out))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("kind", [Tensor, LegacyTensor])
def test_out(kind, x):
    expected = fs.softmax(x)
    memory = np.zeros((4, 12), np.float32)
    out = kind(memory[:, ::2])
    for source in (x, kind(x)):
        memory[...] = 0
        assert fs.softmax(source, out=out) is out
        np.testing.assert_array_equal(memory[:, ::2], expected)
        assert np.all(memory[:, 1::2] == 0)
    same = kind(x)
    assert fs.softmax(same, out=same) is same
    np.testing.assert_array_equal(x, expected)


def test_out_overlapping_a_tensor(x):
    expected = fs.softmax(x[:-1].copy())
    fs.softmax(Tensor(x[:-1]), out=Tensor(x[1:]))
    np.testing.assert_array_equal(x[1:], expected)


def test_mask_and_temperature_as_tensors(x, rng):
    mask = rng.random(x.shape) < 0.7
    mask[:, 0] = True
    temperature = np.linspace(0.5, 2, 4)[:, None]
    expected = fs.softmax(x, where=mask, temperature=temperature)
    for kind in (Tensor, np.asarray):
        result = fs.softmax(Tensor(x), where=Tensor(mask), temperature=kind(temperature))
        np.testing.assert_array_equal(result.array, expected)
    scalar = fs.softmax(x, temperature=Tensor(np.array(2.0, np.float16)))
    np.testing.assert_array_equal(scalar, fs.softmax(x, temperature=2.0))
    with pytest.raises(TypeError, match="where must hold booleans, not uint8"):
        fs.softmax(Tensor(x), where=Tensor(mask.astype(np.uint8)))


def test_refused_tensors(x):
    class Elsewhere(Tensor):
        dl_device = (4, 0)

    with pytest.raises(TypeError, match=r"^x is on device type 4, expected CPU$"):
        fs.softmax(Elsewhere(x))
    with pytest.raises(TypeError, match=r"^x has dtype complex64; expected float16"):
        fs.softmax(Tensor(x.astype(np.complex64)))
    with pytest.raises(ValueError, match=r"^out must have shape"):
        fs.softmax(x, out=Tensor(x[0]))
    with pytest.raises(TypeError, match=r"^out must have dtype float32, not float64$"):
        fs.softmax(x, out=Tensor(x.astype(float)))
    with pytest.raises(np.exceptions.AxisError):
        fs.softmax(Tensor(x), 2)


def test_broken_tensors(x):
    class Broken(Tensor):
        answer: object = None

        def __dlpack__(self, **kwargs):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    used = x.__dlpack__()
    np.from_dlpack(Capsule(used))
    for answer, kind in (
        (3, ValueError),
        (used, ValueError),
        (BufferError("no"), BufferError),
        (TypeError("no"), TypeError),
    ):
        broken = Broken(x)
        broken.answer = answer
        with pytest.raises(kind):
            fs.softmax(broken)


def capsule(version, flags=0, null_strides=True, offset=0):
    """Return a hand-made versioned capsule of one float32 row, and what keeps it alive."""
    memory = np.arange(8, dtype=np.float32)

    class Managed(ctypes.Structure):
        _fields_ = [
            *[(name, ctypes.c_uint32) for name in ("major", "minor")],
            *[(name, ctypes.c_void_p) for name in ("context", "deleter")],
            *[("flags", ctypes.c_uint64), ("data", ctypes.c_void_p)],
            *[(name, ctypes.c_int32) for name in ("device", "id", "ndim")],
            *[("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)],
            *[(name, ctypes.c_void_p) for name in ("shape", "strides")],
            ("offset", ctypes.c_uint64),
        ]

    shape, strides = (ctypes.c_int64 * 1)(4), (ctypes.c_int64 * 1)(2)
    managed = Managed(version, 0, None, None, flags, memory.ctypes.data, 1, 0, 1, 2, 32, 1)
    managed.shape, managed.offset = ctypes.addressof(shape), offset
    managed.strides = None if null_strides else ctypes.addressof(strides)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    name = ctypes.create_string_buffer(b"dltensor_versioned")
    return new(ctypes.addressof(managed), name, None), (memory, shape, strides, managed, name)


def test_details_of_the_protocol():
    def tensor(*args):
        made, alive = capsule(*args)
        result = Capsule(made)
        result.alive = alive
        return result

    row = np.arange(8, dtype=np.float32)
    for args, expected in (
        ((1,), row[:4]),
        ((1, 0, True, 8), row[2:6]),
        ((1, 0, False), row[::2]),
        ((1, 1, False, 4), row[1::2]),  # neither read-only memory
        ((1, 2, False, 4), row[1::2]),  # nor a copy is a hindrance to reading
    ):
        np.testing.assert_array_equal(fs.softmax(tensor(*args)), fs.softmax(expected))
    with pytest.raises(ValueError, match="out is read-only"):
        fs.softmax(row[:4], out=tensor(1, 1))
    with pytest.raises(ValueError, match=r"out cannot be written in place: .* exports a copy"):
        fs.softmax(row[:4], out=tensor(1, 2))
    with pytest.raises(BufferError, match=r"exported as DLPack 2.0, expected 1.x"):
        fs.softmax(tensor(2))


def test_the_exporter(x):
    exporters = []

    class Keeping(Tensor):
        @classmethod
        def from_dlpack(cls, exported):
            exporters.append(exported)
            return exported

    fs.softmax(Keeping(x))
    (exported,) = exporters
    assert exported.__dlpack_device__() == (1, 0)
    for kwargs, name in (({}, "dltensor"), ({"max_version": (1, 0)}, "dltensor_versioned")):
        assert f'"{name}"' in repr(exported.__dlpack__(**kwargs))
    assert '"dltensor"' in repr(exported.__dlpack__(max_version=(0, 8), stream=None))
    assert np.shares_memory(np.from_dlpack(exported), exported.array())
    for copy in (False, True):
        read = np.from_dlpack(Capsule(exported.__dlpack__(copy=copy)))
        np.testing.assert_array_equal(read, exported.array())
        assert np.shares_memory(read, exported.array()) == (not copy)
    with pytest.raises(BufferError, match="CPU only"):
        exported.__dlpack__(dl_device=(2, 0))


def test_bfloat16_without_ml_dtypes(x, monkeypatch):
    half = fs.softmax(x.astype(ml_dtypes.bfloat16))
    seen = []

    class Keeping(Tensor):
        @classmethod
        def from_dlpack(cls, exported):
            seen.append(exported.__dlpack__())
            return exported

    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    exported = fs.softmax(Keeping(x.astype(np.float64)), dtype="bfloat16")
    assert len(seen) == 1
    with pytest.raises(TypeError, match="need the package ml_dtypes"):
        exported.array()
    monkeypatch.undo()
    assert exported.array().dtype == half.dtype
