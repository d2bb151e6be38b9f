"""Gradients, and temperatures in arrays, of arrays on an emulated GPU."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Interface

OPS = ["softmax_backward", "log_softmax_backward"]


def test_gradients_have_the_bits_of_the_cpu(with_device):
    with_device("""
rng = np.random.default_rng(1)
for dtype in ("f2", "f4", "f8"):
    grad, y = rng.normal(size=(2, 3, 5, 40)).astype(dtype)
    for view in (lambda a: a, lambda a: a[:, ::-1], lambda a: a[..., ::2], lambda a: a.T,
                 lambda a: a[0], lambda a: a[:0], lambda a: a[:, :, :0]):
        g, o = view(grad), view(np.asfortranarray(y))
        for axis in (0, -1, (0, 1), None):
            if g.ndim < 2 and axis == (0, 1):
                continue
            for op in ("softmax_backward", "log_softmax_backward"):
                axes = range(g.ndim) if axis is None else np.atleast_1d(axis) % g.ndim
                shape = [1 if i in axes else n for i, n in enumerate(g.shape)]
                per_row = rng.integers(1, 4, shape)
                choices = [0.7, per_row, per_row.astype("f2"), np.float64(2)]
                for t in (1.0, choices[rng.integers(4)]):
                    expected = getattr(fs, op)(g, o, axis, temperature=t)
                    out = np.empty_like(g)
                    given = Interface(out)
                    on_device = Interface(t) if isinstance(t, np.ndarray) else t
                    result = getattr(fs, op)(Interface(g), Interface(o), axis,
                                             temperature=on_device, out=given)
                    assert result is given
                    np.testing.assert_array_equal(out.view(f"u{out.itemsize}"),
                                                  expected.view(f"u{out.itemsize}"))
""")


def test_in_place(with_device):
    with_device("""
rng = np.random.default_rng(2)
grad, y = rng.normal(size=(2, 4, 3000)).astype("f4")
for op in ("softmax_backward", "log_softmax_backward"):
    expected = getattr(fs, op)(grad, y)
    for i in range(2):
        g, o = grad.copy(), y.copy()
        out = Interface((g, o)[i])
        arguments = [Interface(g), Interface(o)]
        arguments[i] = out
        assert getattr(fs, op)(*arguments, out=out) is out
        np.testing.assert_array_equal((g, o)[i], expected)
g, o = Tensor(grad), Tensor(y)
expected = fs.softmax_backward(grad, y)
assert fs.softmax_backward(g, o, out=g) is g
np.testing.assert_array_equal(grad, expected)
""")


def test_temperatures_in_arrays(with_device):
    with_device("""
rng = np.random.default_rng(3)
x = rng.normal(size=(2, 3, 50)).astype("f4")
where = rng.random(x.shape) < 0.7
for axis, shape in ((-1, (2, 3, 1)), (-1, (3, 1)), (1, (2, 1, 1)), (None, ()), ((0, 1), (50,))):
    for dtype in ("f8", rng.choice(["f4", "f2", "i4", "u1"])):
        t = rng.integers(1, 5, shape).astype(dtype)
        for options in ({}, {"where": where}):
            on_device = {"temperature": Interface(np.array(t))}
            if options:
                on_device["where"] = Interface(where)
            for op in ("softmax", "log_softmax"):
                expected = getattr(fs, op)(x, axis, temperature=t, **options)
                out = np.empty_like(x)
                getattr(fs, op)(Interface(x), axis, out=Interface(out), **on_device)
                np.testing.assert_array_equal(out, expected)
            expected = np.asarray(fs.logsumexp(x, axis, temperature=t, **options))
            out = np.empty_like(expected)
            fs.logsumexp(Interface(x), axis, out=Interface(out), **on_device)
            np.testing.assert_array_equal(out, expected)
out = np.empty_like(x)
t = np.array([[1.0], [0.0], [-2.0]])
fs.softmax(Interface(x), temperature=Interface(t), out=Interface(out))
np.testing.assert_array_equal(np.isnan(out), np.broadcast_to(t <= 0, out.shape))
""")


def test_streams(with_device):
    out = with_device("""
x = np.ones((2, 3), np.float32)
t = np.ones((2, 1))
out = Interface(np.empty_like(x), stream=11)
fs.softmax_backward(Interface(x, stream=7), Interface(x, stream=9), out=out,
                    temperature=Interface(t, stream=5))
fs.log_softmax_backward(Interface(x), Interface(x), out=Interface(np.empty_like(x)))
empty = Interface(np.empty((0, 3), "f4"))
fs.softmax_backward(empty, empty, out=empty)
print(notes())
""")
    assert out.strip() == str(
        [
            "order 9 7",
            "order 5 7",
            "order 11 7",
            "backward 7 on 0",
            "order 7 9",
            "order 7 5",
            "order 7 11",
            "backward 1 on 0",
        ]
    )


def test_results_are_of_the_library_of_the_gradient(allocating):
    allocating("""
rng = np.random.default_rng(4)
grad, y = rng.normal(size=(2, 5, 40)).astype("f4")
result = fs.softmax_backward(Interface(grad), Interface(y))
np.testing.assert_array_equal(result.array, fs.softmax_backward(grad, y))
result = fs.log_softmax_backward(grad=Interface(grad), y=Interface(y), axis=0, temperature=2)
np.testing.assert_array_equal(result.array, fs.log_softmax_backward(grad, y, 0, temperature=2))
""")


def test_what_is_refused(with_device):
    with_device("""
import pytest
x = np.ones((2, 3), np.float32)
y = np.empty_like(x)
gpu, out = Interface(x), Interface(y)
back = fs.softmax_backward
for error, pattern, call in [
    (TypeError, "y is not on a GPU, but", lambda: back(gpu, x, out=out)),
    (TypeError, "out is not on a GPU, but", lambda: back(gpu, gpu, out=y)),
    (TypeError, "temperature is not on a GPU", lambda: back(gpu, gpu, temperature=x, out=out)),
    (TypeError, "temperature must be a number or array, not None",
     lambda: back(gpu, gpu, temperature=None, out=out)),
    (TypeError, "^y has dtype object; expected float16", lambda: back(gpu, None, out=out)),
    (TypeError, "axis must be an int, a tuple of ints or None, not str",
     lambda: back(gpu, gpu, "a", out=out)),
    (TypeError, "cannot be allocated here; pass out= where", lambda: back(gpu, gpu)),
    (TypeError, "y is in the memory of a GPU, expected CPU", lambda: back(x, gpu)),
    (TypeError, "out is in the memory of a GPU, expected CPU", lambda: back(x, x, out=out)),
    (TypeError, "temperature is in the memory", lambda: back(x, x, temperature=gpu)),
    (TypeError, "grad has dtype float32, expected that of y, float64",
     lambda: back(gpu, Interface(x.astype("f8")), out=out)),
    (TypeError, "^grad has dtype int64, expected a floating type",
     lambda: back(Interface(x.astype(int)), Interface(x.astype(int)))),
    (TypeError, "out must have dtype float32, not float64",
     lambda: back(gpu, gpu, out=Interface(y.astype("f8")))),
    (ValueError, "grad has shape", lambda: back(gpu, Interface(x.T), out=out)),
    (ValueError, "out must have shape", lambda: back(gpu, gpu, out=Interface(y.T))),
    (ValueError, "out is read-only", lambda: back(gpu, gpu, out=Interface(y, read_only=True))),
    (ValueError, "out overlaps", lambda: back(gpu, Interface(y), out=Interface(y[::-1]))),
    (ValueError, "temperature must be positive", lambda: back(gpu, gpu, temperature=0, out=out)),
    (ValueError, "temperature of shape .* must have length 1",
     lambda: back(gpu, gpu, temperature=gpu, out=out)),
    (ValueError, "out overlaps temperature",
     lambda: back(gpu, gpu, temperature=Interface(y[:, :1]), out=out)),
    (np.exceptions.AxisError, "axis 2 is out of bounds", lambda: back(gpu, gpu, 2, out=out)),
]:
    with pytest.raises(error, match=pattern):
        call()
assert notes() == []
""")


@pytest.mark.parametrize("op", OPS)
def test_without_a_library_the_reason_is_given(op, monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", "/nowhere/libfastsoftmax_cuda.so")
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(RuntimeError, match="no CUDA: FASTSOFTMAX_CUDA_LIBRARY cannot be loaded"):
        getattr(fs, op)(Interface(x), Interface(x), out=Interface(np.empty_like(x)))
