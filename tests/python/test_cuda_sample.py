"""sample of arrays on a GPU, with a library that emulates one in the CPU's memory."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Interface


def test_results_have_the_bits_of_the_cpu(allocating):
    allocating("""
rng = np.random.default_rng(1)
def check(x, axis, where=None, **options):
    expected = fs.sample(x, axis, where=where, return_logprobs=True, **options)
    mask = None if where is None else Interface(where)
    found = fs.sample(Interface(x), axis, where=mask, return_logprobs=True, **on_gpu(options))
    same(found, expected)

x = rng.normal(scale=3, size=(2, 3, 70))
views = [lambda x: x, lambda x: x[:, ::-1, ::-2], lambda x: x.T, lambda x: x[0, 0], lambda x: x[:0]]
for i, take in enumerate(views):
    view = take(x.astype(("f2", "f4", "f8")[i % 3]))
    for axis in (0, -1):
        if view.shape[axis] > 0:
            rows = tuple(1 if i == axis % view.ndim else n for i, n in enumerate(view.shape))
            check(view, axis, seed=3, position=4)
            check(view, axis, seed=5, top_p=0.9, temperature=np.float32(0.7))
            check(view, axis, seed=2**64 - 1, where=rng.random(view.shape) < 0.7, min_p=0.05)
            check(view, axis, seed=5, typical_p=rng.random(rows), top_n_sigma=1.5)
            check(view, axis, temperature=rng.integers(0, 3, rows).astype("u1") / np.float16(2),
                 seed=rng.integers(0, 9, rows, dtype="i4"), position=np.ones(rows, "u2"),
                 row_ids=rng.integers(0, 9, rows))
            check(view, axis, seed=0, top_k=view.shape[axis])
            check(view, axis, seed=1, top_k=3, top_p=0.8)
            check(view, axis, seed=1, top_k=rng.integers(0, 9, rows), typical_p=0.9)
            check(view, axis, seed=np.int32(7), top_k=0, top_logprobs=0)
            check(view, axis, seed=1, row_ids=5)
            check(view, axis, seed=1, row_ids=np.uint64(2**64 - 1))
""")


def test_seeds(allocating):
    allocating("""
x = np.random.default_rng(1).normal(size=(3, 500)).astype(np.float32)
a, b = (fs.sample(Interface(x)).array for _ in range(2))
assert (a != b).any()
np.testing.assert_array_equal(fs.sample(Interface(x), seed=1).array, fs.sample(x, seed=1))
ours, theirs = np.random.default_rng(4), np.random.default_rng(4)
for _ in range(2):
    np.testing.assert_array_equal(fs.sample(Interface(x), seed=ours).array,
                                  fs.sample(x, seed=theirs))
try:
    fs.sample(Interface(x), top_p=2.0, seed=ours)
except ValueError:
    pass
""")


def test_most_likely(allocating):
    allocating("""
x = np.random.default_rng(1).normal(size=(3, 70)).astype(np.float32)
mask = x > -1
rows = np.float32([[0.5], [0.0], [2.0]])
for axis, temperature in ((-1, 0.7), (0, 0.0), (-1, rows), (0, np.arange(70)), (0, np.int8([3]))):
    expected = fs.sample(x, axis, seed=1, temperature=temperature, where=mask, top_logprobs=3)
    on_gpu = Interface(temperature) if isinstance(temperature, np.ndarray) else temperature
    found = fs.sample(Interface(x), axis, seed=1, temperature=on_gpu, where=Interface(mask),
                      top_logprobs=3)
    assert type(found) is fs.SampleResult and found.logprobs is None
    for name in ("indices", "top_logprobs", "top_indices"):
        np.testing.assert_array_equal(getattr(found, name).array, getattr(expected, name))
rows[:] = [[0.5], [np.nan], [-1.0]]
found = fs.sample(Interface(x), temperature=Interface(rows), top_logprobs=2)
assert (found.indices.array[1:] == -1).all() and np.isnan(found.top_logprobs.array[1:]).all()
assert found.top_indices.array[1:].tolist() == [[0, 1], [0, 1]]
""")


def test_an_option_outside_its_range(allocating):
    allocating("""
x = np.zeros((3, 5), np.float32)
top_p = np.array([[0.5], [np.nan], [1.5]])
indices, logprobs, *_ = fs.sample(Interface(x), top_p=Interface(top_p), return_logprobs=True)
assert (indices.array[1:] == -1).all() and np.isnan(logprobs.array[1:]).all()
assert indices.array[0] >= 0
""")


def test_streams(allocating):
    out = allocating("""
x = np.zeros((2, 3), np.float32)
fs.sample(Interface(x, stream=7), where=Interface(np.ones((2, 3), bool), stream=9),
          seed=Interface(np.zeros((2, 1), int), stream=11))
print(notes())
""")
    before, at, after = eval(out)[:2], eval(out)[2], eval(out)[3:]
    assert sorted(before) == ["order 11 7", "order 9 7"]
    assert at == "sample 7 on 0"
    assert sorted(after) == ["order 7 11", "order 7 9"]


def test_what_is_refused(allocating):
    allocating("""
import pytest
x = np.zeros((2, 3), np.float32)
gpu = Interface(x)
rows = np.zeros((2, 1))
for error, pattern, call in [
    (ValueError, "top_k must not be negative, got -2", lambda: fs.sample(gpu, top_k=-2)),
    (TypeError, "top_k must not be an array of float64",
     lambda: fs.sample(gpu, top_k=Interface(rows))),
    (ValueError, "top_logprobs must not be negative", lambda: fs.sample(gpu, top_logprobs=-1)),
    (ValueError, "top_logprobs is 4, but rows have only 3", lambda: fs.sample(gpu, top_logprobs=4)),
    (TypeError, "top_logprobs must be an int", lambda: fs.sample(gpu, top_logprobs=1.0)),
    (TypeError, "top_p is not on a GPU, but", lambda: fs.sample(gpu, top_p=rows)),
    (TypeError, "seed is not on a GPU, but", lambda: fs.sample(gpu, seed=[1, 2])),
    (TypeError, "where is not on a GPU, but", lambda: fs.sample(gpu, where=x > 0)),
    (TypeError, "seed must be an int", lambda: fs.sample(gpu, seed=1.5)),
    (TypeError, "position must be an int", lambda: fs.sample(gpu, position=1.5)),
    (TypeError, "seed must not be an array of float64",
     lambda: fs.sample(gpu, seed=Interface(rows))),
    (TypeError, "row_ids must not be an array of float64",
     lambda: fs.sample(gpu, row_ids=Interface(rows))),
    (TypeError, "top_p must not be an array of bool",
     lambda: fs.sample(gpu, top_p=Interface(rows > 0))),
    (ValueError, "seed must not be negative", lambda: fs.sample(gpu, seed=-1)),
    (ValueError, "row_ids must not be negative, got -1", lambda: fs.sample(gpu, row_ids=-1)),
    (TypeError, "row_ids must be an int", lambda: fs.sample(gpu, row_ids=1.5)),
    (ValueError, "position must be below", lambda: fs.sample(gpu, position=2**32)),
    (ValueError, "top_p must be from 0 to 1, got 1.5", lambda: fs.sample(gpu, top_p=1.5)),
    (ValueError, "temperature must be positive", lambda: fs.sample(gpu, temperature=-1)),
    (ValueError, "top_n_sigma must be 0 or more", lambda: fs.sample(gpu, top_n_sigma=-1)),
    (ValueError, "must have length 1 along",
     lambda: fs.sample(gpu, top_p=Interface(np.zeros((2, 3))))),
    (ValueError, "cannot be broadcast|broadcast",
     lambda: fs.sample(gpu, top_p=Interface(np.zeros((4, 1))))),
    (ValueError, "cannot sample along an axis of length 0",
     lambda: fs.sample(Interface(x[:, :0]))),
    (TypeError, "^logits has dtype int64", lambda: fs.sample(Interface(x.astype(int)))),
    (TypeError, "temperature must be a number or array, not None",
     lambda: fs.sample(gpu, temperature=None)),
    (TypeError, "^top_p has dtype <U1; expected", lambda: fs.sample(gpu, top_p="a")),
    (TypeError, "seed must be an int, an array of ints or a numpy.random.Generator, not str",
     lambda: fs.sample(gpu, seed="a")),
    (TypeError, "position must be an int or an array of ints, not NoneType",
     lambda: fs.sample(gpu, position=None)),
    (TypeError, "axis must be an int, not NoneType", lambda: fs.sample(gpu, None)),
    (TypeError, "axis must be an int, not float", lambda: fs.sample(gpu, 1.0)),
    (TypeError, "axis must be an int", lambda: fs.sample(gpu, (0, 1))),
    (np.exceptions.AxisError, "axis 2 is out of bounds", lambda: fs.sample(gpu, 2)),
    (TypeError, "is in the memory of a GPU", lambda: fs.sample(x, top_p=Interface(rows))),
]:
    with pytest.raises(error, match=pattern):
        call()
assert notes() == []
""")


def test_results_that_cannot_be_allocated(with_device):
    with_device("""
import pytest
with pytest.raises(TypeError, match="cannot be allocated here"):
    fs.sample(Interface(np.zeros((2, 3), np.float32)))
""")


def test_without_a_library(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", "/nowhere/libfastsoftmax_cuda.so")

    def empty(_like, _device, dtype, shape, _order):
        return Interface(np.empty(shape, dtype))

    monkeypatch.setattr("fastsoftmax._cuda._arrays.empty", empty)
    with pytest.raises(RuntimeError, match="no CUDA: FASTSOFTMAX_CUDA_LIBRARY cannot be loaded"):
        fs.sample(Interface(np.zeros((2, 3), np.float32)))
