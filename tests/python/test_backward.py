"""softmax_backward and log_softmax_backward: formulas, finite differences, autograd, errors."""

from __future__ import annotations

import tracemalloc

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

OPS = ["softmax", "log_softmax"]
INF, NAN = np.inf, np.nan


def gradient(op):
    return getattr(fs, f"{op}_backward")


def formula(op, grad, y, axis=-1, temperature=1.0):
    grad, y = np.asarray(grad, np.longdouble), np.asarray(y, np.longdouble)
    if op == "softmax":
        return y * (grad - (grad * y).sum(axis=axis, keepdims=True)) / temperature
    return (grad - np.exp(y) * grad.sum(axis=axis, keepdims=True)) / temperature


def made(op, rng, shape, dtype, axis=-1, temperature=1.0):
    grad = rng.normal(size=shape).astype(dtype)
    x = (3 * rng.normal(size=shape)).astype(dtype)
    return grad, getattr(fs, op)(x, axis, temperature=temperature)


def close(actual, expected, dtype):
    assert actual.dtype == dtype
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[np.dtype(dtype).name]
    tolerance = 2.0 ** (3 - bits)
    size = np.abs(expected).max(initial=0.0)
    actual = actual.astype(np.longdouble)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n", [0, 1, 2, 17, 64, 65, 512, 1024, 1025, 5000])
def test_formula(op, n, dtype, rng):
    grad, y = made(op, rng, (5, n), dtype)
    close(gradient(op)(grad, y), formula(op, grad, y), dtype)
    close(gradient(op)(grad, y, temperature=0.7), formula(op, grad, y, temperature=0.7), dtype)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (2, 0), None, ()])
def test_axes_temperatures_and_layouts(op, axis, dtype, rng):
    shape = (4, 6, 9)
    axes = range(3) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    kept = [1 if i in {a % 3 for a in axes} else n for i, n in enumerate(shape)]
    temperature = rng.uniform(0.5, 2, kept)
    grad, y = made(op, rng, shape, dtype, axis, temperature)
    expected = formula(op, grad, y, tuple(axes), temperature)
    first = gradient(op)(grad, y, axis, temperature=temperature)
    close(first, expected, dtype)
    ways = [
        lambda a: np.asfortranarray(a),
        lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
        lambda a: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    ]
    if dtype != ml_dtypes.bfloat16:
        ways.append(lambda a: a.astype(a.dtype.newbyteorder()))
    for of_grad in ways:
        for of_y in ways:
            out = of_y(np.zeros(shape, dtype))
            found = gradient(op)(of_grad(grad), of_y(y), axis, temperature=temperature)
            assert found.astype(dtype).tobytes() == first.tobytes()
            again = gradient(op)(of_grad(grad), of_y(y), axis, temperature=temperature, out=out)
            assert again is out
            assert out.astype(dtype).tobytes() == first.tobytes()


@pytest.mark.parametrize("op", OPS)
def test_finite_differences(op, rng):
    x = rng.normal(size=(3, 7))
    grad = rng.normal(size=x.shape)
    for temperature in (1.0, 0.6):

        def loss(scores, t=temperature):
            return (grad * getattr(fs, op)(scores, temperature=t)).sum()

        numeric = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[i] = 1e-5
            numeric[i] = (loss(x + step) - loss(x - step)) / 2e-5
        y = getattr(fs, op)(x, temperature=temperature)
        found = gradient(op)(grad, y, temperature=temperature)
        np.testing.assert_allclose(found, numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1])
def test_pytorch_autograd(op, axis, rng):
    torch = pytest.importorskip("torch")
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor(rng.normal(size=(6, 50)), dtype=dtype, requires_grad=True)
        grad = torch.tensor(rng.normal(size=(6, 50)), dtype=dtype)
        y = getattr(torch, op)(x, axis)
        y.backward(grad)
        found = gradient(op)(grad, y.detach(), axis)
        assert isinstance(found, torch.Tensor)
        torch.testing.assert_close(found, x.grad)
        out = torch.empty_like(found)
        assert gradient(op)(grad, y.detach(), axis, out=out) is out
        assert torch.equal(out, found)
        with pytest.raises(RuntimeError, match="y requires gradients"):
            gradient(op)(grad, y, axis)


@pytest.mark.parametrize("op", OPS)
def test_special_values_as_in_pytorch(op):
    torch = pytest.importorskip("torch")
    grads = np.array([[INF, 1, 2], [1, INF, 2], [NAN, 1, 2], [1, 2, 3], [-INF, INF, 0]])
    outputs = np.array(
        [[0, 0.5, 0.5], [0.25, 0.5, 0.25], [0, 0, 1], [NAN, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    if op == "log_softmax":
        with np.errstate(divide="ignore"):
            outputs = np.log(outputs)
    native = getattr(torch, f"_{op}_backward_data")
    for dtype in (np.float32, np.float64):
        grad, y = grads.astype(dtype), outputs.astype(dtype)
        tensors = torch.from_numpy(grad), torch.from_numpy(y)
        expected = native(*tensors, -1, tensors[0].dtype).numpy()
        np.testing.assert_allclose(gradient(op)(grad, y), expected, rtol=1e-6)


@pytest.mark.parametrize("op", OPS)
def test_in_place(op, dtype, rng):
    for axis in (0, 1):
        grad, y = made(op, rng, (40, 70), dtype, axis)
        expected = gradient(op)(grad, y, axis).tobytes()
        for target in (grad, y):
            copies = grad.copy(), y.copy()
            out = copies[0 if target is grad else 1]
            assert gradient(op)(*copies, axis, out=out) is out
            assert out.tobytes() == expected
        both = grad.copy()
        assert gradient(op)(both, both, axis, out=both) is both
        assert both.tobytes() == gradient(op)(grad, grad.copy(), axis).tobytes()


def test_in_place_needs_no_second_array():
    grad, y = np.ones((1000, 1000), np.float32), np.ones((1000, 1000), np.float32)
    tracemalloc.start()
    fs.softmax_backward(grad, y, out=grad)
    fs.log_softmax_backward(grad.T, y.T, 0, out=y.T)
    fs.softmax_backward(grad[None], y[None], out=y.reshape(1, 1000, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < grad.nbytes / 10


@pytest.mark.parametrize("op", OPS)
def test_overlap_reads_inputs_before_writing(op, rng):
    buffer = rng.normal(size=(7, 6))
    other = rng.normal(size=(6, 6))
    for flipped in (False, True):
        mixed = buffer.copy()
        inputs = (mixed[1:], other) if not flipped else (other, mixed[1:])
        expected = gradient(op)(*(a.copy() for a in inputs))
        gradient(op)(*inputs, out=mixed[:-1])
        np.testing.assert_array_equal(mixed[:-1], expected)
    out = np.ones((4, 8))
    temperature = out[:, :1]
    temperature[...] = [[1], [2], [3], [4]]
    grad, y = made(op, rng, (4, 8), np.float64)
    expected = gradient(op)(grad, y, temperature=temperature.copy())
    np.testing.assert_array_equal(gradient(op)(grad, y, temperature=temperature, out=out), expected)


def test_a_dominating_element_keeps_its_digits():
    # y[0] is 1 but for 2^-20, so g_0 and the sum agree in 20 bits.
    y = np.float32([1 - 2.0**-20, 2.0**-20])
    grad = np.float32([1.2345678, -3.1])
    expected = formula("softmax", grad, y)
    np.testing.assert_allclose(fs.softmax_backward(grad, y), expected, rtol=2.0**-22)


def test_sums_keep_small_terms():
    n = 1 << 22
    grad = np.ones(n, np.float32)
    grad[0] = 2.0**24
    y = np.full(n, -np.log(n), np.float32)
    expected = formula("log_softmax", grad, y)
    np.testing.assert_allclose(fs.log_softmax_backward(grad, y), expected, rtol=3e-6)
    grad, y = np.array([1e16, 1, -1e16]), np.ones(3)
    np.testing.assert_array_equal(fs.softmax_backward(grad, y), grad - 1)


def test_inputs_of_all_kinds():
    np.testing.assert_array_equal(fs.softmax_backward([1, 0], [0.5, 0.5]), [0.25, -0.25])
    assert fs.softmax_backward([1, 0], [0.5, 0.5]).dtype == np.float64
    ones = np.broadcast_to(np.float32(1), (3, 4))
    y = fs.softmax(np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(fs.softmax_backward(ones, y), np.zeros((3, 4)))
    y = fs.log_softmax(np.zeros((3, 4), np.float32))
    np.testing.assert_allclose(fs.log_softmax_backward(ones, y), np.zeros((3, 4)), atol=1e-6)
    assert fs.softmax_backward(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)
    assert fs.softmax_backward(1.0, 1.0, None) == 0


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_rows_do_not_depend_on_their_surroundings(data):
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=40))
    values = {"width": 8 * dtype().itemsize, "allow_nan": True, "allow_infinity": True}
    grad = data.draw(hnp.arrays(dtype, shape, elements=st.floats(**values)))
    y = data.draw(hnp.arrays(dtype, shape, elements=st.floats(**values)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    for op in OPS:
        whole = np.moveaxis(gradient(op)(grad, y, axis), axis, -1)
        rows = zip(np.moveaxis(grad, axis, -1), np.moveaxis(y, axis, -1), whole, strict=True)
        for g, p, found in rows:
            alone = gradient(op)(g.copy(), p.copy())
            assert alone.tobytes() == np.ascontiguousarray(found).tobytes()


@pytest.mark.parametrize("op", OPS)
def test_errors(op):
    function = gradient(op)
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"grad has shape \(2, 3\) for y of shape \(3, 2\)"):
        function(x, x.T)
    with pytest.raises(ValueError, match="shape"):
        function(x, x[0])
    with pytest.raises(TypeError, match="grad has dtype float64, expected that of y, float32"):
        function(x, x.astype(np.float32))
    with pytest.raises(np.exceptions.AxisError):
        function(x, x, 2)
    with pytest.raises(ValueError, match="duplicate"):
        function(x, x, (0, 0))
    with pytest.raises(ValueError, match="temperature must be positive"):
        function(x, x, temperature=0.0)
    with pytest.raises(ValueError, match="length 1 along the reduced axes"):
        function(x, x, temperature=np.ones((2, 3)))
    with pytest.raises(TypeError, match="out must have dtype float64, not float32"):
        function(x, x, out=np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"out must have shape \(2, 3\), not \(3, 2\)"):
        function(x, x, out=np.zeros((3, 2)))
    with pytest.raises(TypeError, match=r"out must be a numpy\.ndarray"):
        function(x, x, out=[0.0])
    frozen = np.zeros((2, 3))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        function(x, x, out=frozen)
    with pytest.raises(ValueError, match="share memory"):
        function(x, x, out=np.lib.stride_tricks.as_strided(np.zeros(3), (2, 3), (0, 8)))
    with pytest.raises(TypeError, match="MaskedArray"):
        function(np.ma.array(x), x)
    with pytest.raises(TypeError, match="missing required argument 'y'"):
        function(x)
    with pytest.raises(TypeError, match="complex128"):
        function(x.astype(complex), x)
