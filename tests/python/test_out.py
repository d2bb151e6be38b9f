"""Results written in place: what `out` may be, and what happens where it overlaps an input."""

from __future__ import annotations

import itertools
import tracemalloc

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

OPS = ["softmax", "log_softmax", "logsumexp"]


@pytest.fixture
def x(rng):
    return rng.normal(scale=3, size=(6, 6)).astype(np.float32)


def outputs(dtype, shape):
    """Arrays of one shape and dtype that lie in memory in different ways."""
    dtype = np.dtype(dtype)
    record = np.dtype([("tag", "u1"), ("value", dtype)])
    return {
        "contiguous": np.zeros(shape, dtype),
        "fortran": np.zeros(shape, dtype, order="F"),
        "every second": np.zeros((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2],
        "negative": np.zeros(shape, dtype)[::-1, ..., ::-1],
        "unaligned": np.zeros(shape, record)["value"],
        "byte-swapped": np.zeros(shape, dtype.newbyteorder()),
        "byte-swapped column": np.zeros((*shape, 3), dtype.newbyteorder())[..., 1],
        "subclass": np.zeros(shape, dtype).view(np.recarray),
    }


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", list(outputs("f4", (2, 3))))
def test_every_layout_of_out(op, dtype, kind, x):
    function = getattr(fs, op)
    x = x.astype(dtype)
    kwargs = {"keepdims": True} if op == "logsumexp" else {}
    for axis in (0, 1):
        expected = function(x, axis, **kwargs)
        out = outputs(dtype, expected.shape)[kind]
        whole = out if out.base is None else out.base
        assert function(x, axis, out=out, **kwargs) is out
        np.testing.assert_array_equal(np.asarray(out).astype(dtype), expected)
        if kind == "every second":
            assert np.all(whole[..., 1::2] == 0)
        if kind == "byte-swapped column":
            assert np.all(whole[..., ::2] == 0)
        if kind == "unaligned":
            assert np.all(whole["tag"] == 0)


def test_bfloat16_out(x):
    out = np.zeros(x.shape, ml_dtypes.bfloat16)
    half = x.astype(ml_dtypes.bfloat16)
    assert fs.softmax(half, out=out) is out
    assert out.tobytes() == fs.softmax(half).tobytes()
    assert fs.softmax(half, out=half) is half
    assert half.tobytes() == out.tobytes()


def test_logsumexp_out(x):
    expected = fs.logsumexp(x, 0)
    for keepdims in (False, True):
        out = np.zeros((1, 6) if keepdims else (6,), np.float32)
        assert fs.logsumexp(x, 0, keepdims=keepdims, out=out) is out
        np.testing.assert_array_equal(out.ravel(), expected)
    scalar = np.zeros((), np.float32)
    assert fs.logsumexp(x, None, out=scalar) is scalar
    assert scalar == fs.logsumexp(x, None)
    assert isinstance(scalar, np.ndarray)


def test_out_with_dtype(x):
    out = np.zeros(x.shape, np.float64)
    assert fs.softmax(x, out=out, dtype="float64") is out
    np.testing.assert_array_equal(out, fs.softmax(x.astype(np.float64)))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, None, ()])
@pytest.mark.parametrize("kind", list(outputs("f4", (2, 3))))
def test_in_place(op, axis, kind, x):
    function = getattr(fs, op)
    target = outputs(np.float32, x.shape)[kind]
    target[...] = x
    expected = function(x, axis)
    assert function(target, axis, out=target) is target
    np.testing.assert_array_equal(np.asarray(target), expected)


def test_in_place_needs_no_second_array():
    x = np.zeros((1000, 1000), np.float32)
    tracemalloc.start()
    fs.softmax(x, out=x)
    fs.softmax(x.T, 0, out=x.T)
    fs.softmax(x[None], out=x.reshape(1, 1000, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10


def overlapping():
    """Pairs of different views of one buffer that share elements or at least addresses."""
    return {
        "shifted by one row": lambda b: (b[:-1], b[1:]),
        "shifted back": lambda b: (b[1:], b[:-1]),
        "shifted by one element": lambda b: (b.ravel()[1:], b.ravel()[:-1]),
        "backwards": lambda b: (b, b[:, ::-1]),
        "transposed": lambda b: (b, b.T),
        "one row of many": lambda b: (np.broadcast_to(b[0], b.shape), b),
        "interleaved": lambda b: (b[:, ::2], b[:, 1::2]),
        "other bytes": lambda b: (b.view(b.dtype.newbyteorder()), b),
        "integers": lambda b: (b.view(np.int32)[:, :3], b.view(np.float64)),
        "reshaped": lambda b: (b[:, None, ::2], b[:, None, 3:]),
    }


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("case", list(overlapping()))
@pytest.mark.parametrize("axis", [0, -1, None])
def test_overlap_reads_the_input_before_writing(op, case, axis, x):
    source, out = overlapping()[case](x)
    with np.errstate(invalid="ignore"):
        expected = getattr(fs, op)(source.copy(), axis)
    assert getattr(fs, op)(source, axis, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_logsumexp_into_its_own_input(x):
    for axis, select in itertools.product((0, 1), (0, 3)):
        buffer = x.copy()
        out = buffer[select]
        fs.logsumexp(buffer, axis, out=out)
        np.testing.assert_array_equal(out, fs.logsumexp(x, axis))


def test_mask_and_temperature_that_overlap_out():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 8))
    out = np.zeros((4, 8))
    temperature = out[:, :1]
    temperature[...] = [[1], [2], [3], [4]]
    expected = fs.softmax(x, temperature=temperature.copy())
    np.testing.assert_array_equal(fs.softmax(x, out=out, temperature=temperature), expected)

    where = out.view(np.bool_)[:, :8]
    where[...] = rng.random((4, 8)) < 0.7
    where[:, 0] = True
    expected = fs.softmax(x, where=where.copy())
    np.testing.assert_array_equal(fs.softmax(x, out=out, where=where), expected)
