"""topk and softmax_topk of arrays on a GPU, with a library that emulates one."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Interface


def test_results_have_the_bits_of_the_cpu(with_cupy):
    with_cupy("""
rng = np.random.default_rng(1)
for dtype in ("f2", "f4", "f8"):
    x = rng.normal(scale=5, size=(2, 3, 30)).astype(dtype)
    x[0, 0, :3] = np.nan
    x[1, 1, :] = -np.inf
    where = rng.random(x.shape) < 0.5
    for view, mask in ((x, where), (x.T[::-2], where.T[::-2]), (x[0, 1], where[0, 1]),
                       (x[:0], where[:0])):
        given = CupyArray(view)
        axis, n = -1, view.shape[-1]
        for k, options in (
            (n // 2, {}),
            (n, {"log": True, "temperature": 0.7}),
            (min(n, 2), {"normalize": "topk"}),
            (n // 2, {"normalize": "topk", "log": True, "empty": "zero", "return_logsumexp": True}),
            (n, {"return_logsumexp": True, "empty": "zero"}),
            (0, {"return_logsumexp": True}),
        ):
            same(fs.softmax_topk(given, k, axis, **options),
                 fs.softmax_topk(view, k, axis, **options))
            same(fs.softmax_topk(given, k, axis, where=Interface(mask), **options),
                 fs.softmax_topk(view, k, axis, where=mask, **options))
        for axis in (0, -1):
            k = min(2, view.shape[axis])
            for largest in (True, False):
                same(fs.topk(given, k, axis, largest=largest),
                     fs.topk(view, k, axis, largest=largest))
""")


def test_a_temperature_for_each_row(with_cupy):
    with_cupy("""
rng = np.random.default_rng(3)
for dtype, n in (("f2", 30), ("f4", 400), ("f8", 2500)):
    x = rng.normal(scale=5, size=(3, n, 2)).astype(dtype)
    where = rng.random(x.shape) < 0.5
    for options in ({}, {"normalize": "topk", "log": True}, {"return_logsumexp": True}):
        for t in (rng.random((3, 1, 1)), rng.integers(1, 9, (1, 1, 2), "i1"), np.float32([[[3]]])):
            for k in (0, 5, n):
                same(fs.softmax_topk(CupyArray(x), k, 1, temperature=CupyArray(t), **options),
                     fs.softmax_topk(x, k, 1, temperature=t, **options))
                masked = {"temperature": CupyArray(t), "where": CupyArray(where)}
                same(fs.softmax_topk(CupyArray(x), k, 1, **masked),
                     fs.softmax_topk(x, k, 1, temperature=t, where=where))
x = np.float32([[1, 9, 5], [1, 9, 5]])
found = fs.softmax_topk(CupyArray(x), 2, temperature=CupyArray(np.array([[0.0], [1.0]])))
assert np.isnan(found.values.array[0]).all() and found.indices.array.tolist() == [[0, 1], [1, 2]]
assert (found.values.array[1] == fs.softmax_topk(x[1], 2).values).all()
""")


def test_every_dtype_is_selected(with_cupy):
    with_cupy("""
rng = np.random.default_rng(2)
for code in "bhilBHIL?":
    x = rng.integers(0, 2**63, size=(2, 60)).astype(code)
    for largest in (True, False):
        same(fs.topk(CupyArray(x), 60, largest=largest), fs.topk(x, 60, largest=largest))
        same(fs.topk(CupyArray(x[:, ::-3]), 5, largest=largest),
             fs.topk(x[:, ::-3], 5, largest=largest))
""")


def test_streams(with_cupy):
    out = with_cupy("""
x = np.zeros((2, 3), np.float32)
fs.softmax_topk(CupyArray(x, stream=7), 2, where=Interface(x == 0, stream=9))
fs.topk(CupyArray(x, stream=7), 0)
fs.topk(CupyArray(x), 1)
print(notes())
""")
    assert out.strip() == str(["order 9 7", "topk 7 on 0", "order 7 9", "topk 1 on 0"])


def test_what_is_refused(with_cupy):
    with_cupy("""
import pytest
x = np.zeros((2, 3), np.float32)
gpu = CupyArray(x)
for error, pattern, call in [
    (TypeError, "where is not on a GPU, but", lambda: fs.softmax_topk(gpu, 1, where=x > 0)),
    (TypeError, "where is in the memory of a GPU", lambda: fs.softmax_topk(x, 1, where=gpu)),
    (TypeError, "temperature is not on a GPU", lambda: fs.softmax_topk(gpu, 1, temperature=x)),
    (ValueError, "must have length 1 along", lambda: fs.softmax_topk(gpu, 1, temperature=gpu)),
    (ValueError, "overlaps|aligned", lambda: fs.softmax_topk(
        gpu, 1, temperature=CupyArray(np.zeros(9, "u1")[1:].view("f4").reshape(2, 1)))),
    (TypeError, "cannot be allocated here", lambda: fs.topk(Interface(x), 1)),
    (TypeError, "expected a floating type", lambda: fs.softmax_topk(CupyArray(x.astype(int)), 1)),
    (TypeError, "k must be an int, not float", lambda: fs.topk(gpu, 1.0)),
    (TypeError, "k must be an int, not bool", lambda: fs.softmax_topk(gpu, True)),
    (TypeError, "axis must be an int, not tuple", lambda: fs.topk(gpu, 1, (0, 1))),
    (TypeError, "axis must be an int, not NoneType", lambda: fs.topk(gpu, 1, None)),
    (TypeError, "temperature must be a number or array, not None",
     lambda: fs.softmax_topk(gpu, 1, temperature=None)),
    (ValueError, "temperature must be positive", lambda: fs.softmax_topk(gpu, 1, temperature=0)),
    (ValueError, "normalize must be", lambda: fs.softmax_topk(gpu, 1, normalize="x")),
    (ValueError, "empty must be", lambda: fs.softmax_topk(gpu, 1, empty="one")),
    (ValueError, "k must not be negative, got -1", lambda: fs.topk(gpu, -1)),
    (ValueError, "k is 4, but rows have only 3", lambda: fs.softmax_topk(gpu, 4)),
    (ValueError, "native byte order", lambda: fs.topk(CupyArray(x.astype(">f4")), 1)),
    (ValueError, "where", lambda: fs.softmax_topk(gpu, 1, where=Interface(np.ones(5, bool)))),
    (np.exceptions.AxisError, "axis 2 is out of bounds", lambda: fs.topk(gpu, 1, 2)),
    (np.exceptions.AxisError, "out of bounds", lambda: fs.topk(CupyArray(np.array(1.0)), 1)),
]:
    with pytest.raises(error, match=pattern):
        call()
assert notes() == []
""")


@pytest.mark.parametrize("function", ["topk", "softmax_topk"])
def test_without_a_library_the_reason_is_given(function, monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", "/nowhere/libfastsoftmax_cuda.so")
    monkeypatch.setattr(
        "fastsoftmax._cuda._arrays.empty",
        lambda _like, _device, dtype, shape, _order: Interface(np.empty(shape, dtype)),
    )
    with pytest.raises(RuntimeError, match="no CUDA: FASTSOFTMAX_CUDA_LIBRARY cannot be loaded"):
        getattr(fs, function)(Interface(np.zeros((2, 3), np.float32)), 2)
