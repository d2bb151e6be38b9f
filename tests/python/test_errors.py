"""Bad input: the kind of each error and what its message says."""

from __future__ import annotations

import datetime
import decimal
import re

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

X = np.arange(6, dtype=np.float32).reshape(2, 3)
AxisError = np.exceptions.AxisError
FUNCTIONS = [fs.softmax, fs.log_softmax, fs.logsumexp]


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}")


@pytest.fixture(params=FUNCTIONS, ids=lambda f: f.__name__)
def function(request):
    return request.param


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(), "() missing required argument 'x'"),
        (lambda f: f(axis=0), "() missing required argument 'x'"),
        (lambda f: f(X, 0, 1.0), "() takes at most 2 positional arguments (3 given)"),
        (lambda f: f(X, x=X), "() got multiple values for argument 'x'"),
        (lambda f: f(X, 0, axis=1), "() got multiple values for argument 'axis'"),
        (lambda f: f(X, dim=0), "() got an unexpected keyword argument 'dim'"),
        (lambda f: f(X, ä=0), "() got an unexpected keyword argument 'ä'"),
    ],
)
def test_signature(function, call, message):
    with raises(TypeError, function.__name__ + message):
        call(function)


def test_parameters_that_a_function_does_not_have():
    for keyword in ("empty", "algorithm"):
        with raises(TypeError, f"logsumexp() got an unexpected keyword argument '{keyword}'"):
            fs.logsumexp(X, **{keyword: "x"})
    with raises(TypeError, "softmax() got an unexpected keyword argument 'keepdims'"):
        fs.softmax(X, keepdims=True)


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (X.astype(complex), "complex128"),
        ([1j], "complex128"),
        (X.astype(object), "object"),
        (None, "object"),
        ([decimal.Decimal(1)], "object"),
        (["1.0"], "<U3"),
        (np.array([b"1"]), "|S1"),
        (np.array([datetime.datetime(2024, 1, 1)], "M8[s]"), "datetime64[s]"),
        (np.array([1], "m8[s]"), "timedelta64[s]"),
        (X.astype(np.longdouble), str(np.dtype(np.longdouble))),
        (np.zeros(2, [("a", "f4")]), "[('a', '<f4')]"),
        (np.zeros(2, "V2"), "|V2"),
        (np.zeros(2, ml_dtypes.float8_e4m3fn), "float8_e4m3fn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dtypes_of_x(function, x, dtype):
    expected = "; expected float16, bfloat16, float32, float64, an integer type or bool"
    with raises(TypeError, f"x has dtype {dtype}{expected}"):
        function(x)


def test_ragged_lists(function):
    with pytest.raises(ValueError, match="inhomogeneous"):
        function([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize(("axis", "ndim"), [(2, 2), (-3, 2), (0, 0), (-1, 0), (10**30, 2)])
def test_axis_out_of_bounds(function, axis, ndim):
    shown = min(axis, 2**63 - 1)
    with raises(AxisError, f"axis {shown} is out of bounds for array of dimension {ndim}") as info:
        function(np.zeros((3,) * ndim), axis)
    assert (info.value.axis, info.value.ndim) == (shown, ndim)
    with pytest.raises(AxisError):
        function(np.zeros((3,) * ndim), (axis,))


def test_default_axis_of_zero_dimensions(function):
    with raises(AxisError, "axis -1 is out of bounds for array of dimension 0"):
        function(1.0)


@pytest.mark.parametrize("axis", [(0, 0), (0, -2), (1, 0, 1)])
def test_axis_given_twice(function, axis):
    with raises(ValueError, "duplicate value in 'axis'"):
        function(X, axis)


@pytest.mark.parametrize(
    ("axis", "kind"),
    [(1.0, "float"), ("0", "str"), ([0], "list"), (True, "bool"), ((None,), "NoneType")],
)
def test_axis_of_the_wrong_type(function, axis, kind):
    with raises(TypeError, f"axis must be an int, a tuple of ints or None, not {kind}"):
        function(X, axis)


@pytest.mark.parametrize("value", [0.0, -1.0, -0.0, np.nan, np.inf, -np.inf, 0, -3])
def test_temperature_out_of_range(function, value):
    for temperature in (value, [value], [[1.0], [value]], np.float32(value)):
        with pytest.raises(ValueError, match=rf"temperature .*{float(value):.0f}"):
            function(X, temperature=temperature)


@pytest.mark.parametrize("value", [1e-60, 1e60])
def test_temperature_that_float32_cannot_hold(function, value):
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32):
        for temperature in (value, [[1.0], [value]]):
            with raises(
                ValueError, "temperature must be positive and finite once rounded to float32"
            ):
                function(X.astype(dtype), temperature=temperature)
            with raises(
                ValueError, "temperature must be positive and finite once rounded to float32"
            ):
                function(X.astype(float), temperature=temperature, dtype=dtype)
    function(X, temperature=value, dtype=np.float64)


def test_temperature_beyond_any_float(function):
    with raises(ValueError, "temperature must be positive and finite"):
        function(X, temperature=10**400)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1, 2, 1)])
def test_temperature_that_does_not_broadcast(function, shape):
    with pytest.raises(ValueError, match=rf"temperature of shape {re.escape(str(shape))} does not"):
        function(X, temperature=np.ones(shape))


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_temperature_that_varies_along_the_axis(function, shape):
    message = f"temperature of shape {shape} must have length 1 along the reduced axes"
    with raises(ValueError, message):
        function(X, temperature=np.ones(shape))


def test_temperature_of_the_wrong_type(function):
    for value, dtype in ((1j, "complex128"), ("1", "<U1"), ([object()], "object")):
        with raises(TypeError, f"temperature has dtype {dtype}; expected"):
            function(X, temperature=value)
    with raises(TypeError, "temperature must be a number or array, not None"):
        function(X, temperature=None)


def test_where(function):
    for value, dtype in ((1, "int64"), (X, "float32"), ([0, 1, 0], "int64")):
        with raises(TypeError, f"where must hold booleans, not {dtype}"):
            function(X, where=value)
    with raises(TypeError, "where has dtype object; expected"):
        function(X, where=np.array([None, True, False]))
    for shape in ((2,), (3, 3), (1, 2, 3)):
        with pytest.raises(ValueError, match=rf"where of shape {re.escape(str(shape))} does not"):
            function(X, where=np.ones(shape, bool))


@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax, fs.explain])
def test_choices(function):
    with raises(ValueError, "empty must be 'nan' or 'zero', not 'none'"):
        function(X, empty="none")
    with raises(TypeError, "empty must be a string, not int"):
        function(X, empty=0)
    with pytest.raises(ValueError, match=r"algorithm 'fast'.*'auto'.*'two_pass', 'online'"):
        function(X, algorithm="fast")
    with raises(TypeError, "algorithm must be a string, not NoneType"):
        function(X, algorithm=None)


def test_op():
    with raises(ValueError, "op must be 'softmax', 'log_softmax' or 'logsumexp', not 'sum'"):
        fs.explain(X, op="sum")
    with raises(TypeError, "op must be a string, not builtin_function_or_method"):
        fs.explain(X, op=fs.softmax)


@pytest.mark.parametrize(
    "dtype", [int, "i4", bool, complex, "longdouble", ">f4", "float8", "a.float32", "O"]
)
def test_dtype(function, dtype):
    message = f"dtype must be float16, bfloat16, float32 or float64, not {dtype!r}"
    with raises(TypeError, message):
        function(X, dtype=dtype)


def test_masked_arrays(function):
    masked = np.ma.masked_less(X, 2)
    hint = "pass x.data and where=~numpy.ma.getmaskarray(x)"
    with raises(TypeError, f"x is a MaskedArray, whose mask would be ignored; {hint}"):
        function(masked)
    for name, value in (("where", masked < 1), ("temperature", masked), ("out", masked)):
        message = f"{name} is a MaskedArray, whose mask would be ignored; pass {name}.data"
        with raises(TypeError, message):
            function(X, **{name: value})
    function(masked.data, where=~np.ma.getmaskarray(masked))


@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax, fs.explain])
def test_out(function):
    with raises(TypeError, "out must be a numpy.ndarray or a tensor that speaks DLPack, not list"):
        function(X, out=X.tolist())
    with raises(TypeError, "out must be a numpy.ndarray or a tensor that speaks DLPack, not tuple"):
        function(X, out=(X.copy(),))
    for dtype in ("float64", "float16", "int32", "bool"):
        with raises(TypeError, f"out must have dtype float32, not {dtype}"):
            function(X, out=X.astype(dtype))
    with raises(TypeError, "out has dtype complex64; expected"):
        function(X, out=X.astype(np.complex64))
    with raises(TypeError, "out must have dtype float64, not int64"):
        function(np.arange(3), out=np.arange(3))
    for shape in ((3, 2), (6,), (2, 3, 1), (1, 2, 3), (2, 1), ()):
        with raises(ValueError, f"out must have shape (2, 3), not {shape}"):
            function(X, out=np.zeros(shape, np.float32))
    frozen = X.copy()
    frozen.flags.writeable = False
    with raises(ValueError, "out is read-only"):
        function(X, out=frozen)


def strided(shape, strides):
    return np.lib.stride_tricks.as_strided(np.zeros(100, np.float32), shape, strides)


@pytest.mark.parametrize("strides", [(0, 4), (12, 0), (4, 4), (12, 2), (-4, 4), (40, 0)])
def test_out_that_overlaps_itself(strides):
    with raises(ValueError, "out of shape (2, 3) has elements that share memory"):
        fs.softmax(X, out=strided((2, 3), strides))


def test_out_of_logsumexp():
    for keepdims, shape, expected in ((False, (2, 1), (2,)), (True, (2,), (2, 1))):
        with raises(ValueError, f"out must have shape {expected}, not {shape}"):
            fs.logsumexp(X, keepdims=keepdims, out=np.zeros(shape, np.float32))
    with raises(ValueError, "out must have shape (), not (1,)"):
        fs.logsumexp(X, None, out=np.zeros(1, np.float32))
    with raises(ValueError, "out must have shape (2,), not (3,)"):
        fs.explain(X, op="logsumexp", out=np.zeros(3, np.float32))


def test_errors_leave_out_alone():
    out = np.full(X.shape, 7, np.float32)
    for bad in ({"temperature": -1}, {"where": [True] * 4}, {"temperature": [[1], [0]]}):
        with pytest.raises(ValueError, match=r"temperature|where"):
            fs.softmax(X, out=out, **bad)
    assert np.all(out == 7)


def test_errors_from_the_arguments_themselves(function):
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise ZeroDivisionError("inside")

        def __bool__(self):
            raise ZeroDivisionError("inside")

        def __index__(self):
            raise ZeroDivisionError("inside")

    for kwargs in ({"x": Broken()}, {"axis": Broken()}, {"where": Broken()}):
        with pytest.raises(ZeroDivisionError):
            function(**({"x": X} | kwargs))
    with pytest.raises(ZeroDivisionError):
        fs.logsumexp(X, keepdims=Broken())


def test_bfloat16_results_need_ml_dtypes(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with raises(TypeError, "bfloat16 results in NumPy arrays need the package ml_dtypes"):
        fs.softmax(X, dtype="bfloat16")


def test_runtime():
    with raises(RuntimeError, "unknown instruction set 'mmx'"):
        fs.use_isa("mmx")
    missing = {"scalar", "neon", "avx2", "avx512"} - set(fs.isas_built())
    for name in missing:
        with pytest.raises(RuntimeError, match=name):
            fs.use_isa(name)
    before = fs.get_num_threads()
    with pytest.raises(ValueError, match="-1"):
        fs.set_num_threads(-1)
    with raises(TypeError, "n must be an int, not float"):
        fs.set_num_threads(1.5)
    with raises(TypeError, "n must be an int, not NoneType"), fs.threads(None):
        pass
    for n in (1025, 10**30):
        with pytest.raises(ValueError, match="between 1 and 1024"):
            fs.set_num_threads(n)
    with raises(TypeError, "name must be a string, not NoneType"):
        fs.use_isa(None)
    assert fs.get_num_threads() == before
