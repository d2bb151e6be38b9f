"""What the three functions return for well-formed arguments."""

from __future__ import annotations

import doctest
import pickle
from types import SimpleNamespace

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

OPS = ["softmax", "log_softmax", "logsumexp"]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-6, "float64": 4e-15}
ALGORITHMS = [
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
]


def close(result, expected):
    limit = TOLERANCE[np.asarray(result).dtype.name]
    np.testing.assert_allclose(np.asarray(result, np.float64), expected, rtol=limit, atol=limit)


def same(a, b):
    """Compare bit by bit."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.fixture
def x(rng):
    return rng.normal(scale=3, size=(4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (2, 0), (-1, -2), None])
def test_values(op, dtype, axis, x, reference):
    x = x.astype(dtype)
    result = getattr(fs, op)(x, axis)
    assert result.dtype == dtype
    close(result, reference(op, x, axis))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("char", list("?bBhHiIlLqQ"))
def test_integers_become_float64(op, char, rng, reference):
    x = rng.integers(0, 2, size=(3, 7)).astype(char)
    result = getattr(fs, op)(x)
    assert result.dtype == np.float64
    close(result, reference(op, x))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_an_empty_tuple_of_axes_makes_every_element_a_row(op, x):
    assert np.all(getattr(fs, op)(x, ()) == (1 if op == "softmax" else 0))
    same(fs.logsumexp(x, ()), x)


@pytest.mark.parametrize("axis", [None, ()])
def test_zero_dimensions(axis):
    for value in (np.array(2.5, np.float32), 2.5):
        result = fs.softmax(value, axis)
        assert isinstance(result, np.ndarray)
        assert result.shape == ()
        assert result == 1
        assert fs.log_softmax(value, axis) == 0
        assert fs.logsumexp(value, axis) == 2.5


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0,), (0, 0)])
def test_zero_sizes(shape):
    x = np.zeros(shape, np.float32)
    for axis in [*range(len(shape)), None, ()]:
        assert fs.softmax(x, axis).shape == shape
        assert fs.log_softmax(x, axis).shape == shape
        sums = fs.logsumexp(x, axis, keepdims=True)
        kept = range(len(shape)) if axis is None else [axis] if isinstance(axis, int) else axis
        assert sums.shape == tuple(1 if i in kept else n for i, n in enumerate(shape))
        assert np.all(sums == -np.inf)


def test_logsumexp_shapes(x):
    assert fs.logsumexp(x).shape == (4, 5)
    assert fs.logsumexp(x, keepdims=True).shape == (4, 5, 1)
    assert fs.logsumexp(x, (0, 2), keepdims=1).shape == (1, 5, 1)
    assert fs.logsumexp(x, None, keepdims=True).shape == (1, 1, 1)
    for dtype in FLOATS:
        assert type(fs.logsumexp(x.astype(dtype), None)) is np.dtype(dtype).type
    assert type(fs.logsumexp(x[0, 0])) is np.float32
    assert fs.logsumexp(np.float32(2), None, keepdims=True).shape == ()


def views(x):
    record = np.zeros(x.shape, np.dtype([("tag", "u1"), ("value", x.dtype)]))
    record["value"] = x
    backwards = np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1]
    return {
        "fortran": np.asfortranarray(x),
        "permuted": np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1),
        "negative": backwards,
        "every second": np.repeat(x, 2, axis=2)[..., ::2],
        "unaligned field": record["value"],
        "byte-swapped": x.astype(x.dtype.newbyteorder()),
        "read-only": np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
        "in another order": np.repeat(np.asfortranarray(x), 3, axis=0)[::3],
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("view", list(views(np.zeros((2, 2, 2)))))
@pytest.mark.parametrize("op", OPS)
def test_layouts_give_the_same_bits(op, view, dtype, x):
    x = x.astype(dtype)
    function = getattr(fs, op)
    view = views(x)[view]
    np.testing.assert_array_equal(view, x)
    for axis in (0, 1, 2, (1, 2), None, ()):
        same(function(view, axis), function(x, axis))


def test_broadcast_input(x):
    row = x[0, 0]
    wide = np.broadcast_to(row, (3, 6))
    same(fs.softmax(wide), np.stack([fs.softmax(row)] * 3))
    same(fs.softmax(wide, 0), np.full((3, 6), fs.softmax(np.zeros(3, np.float32))[0]))


def test_results_keep_the_order_of_axes_in_memory(x):
    assert fs.softmax(x).flags.c_contiguous
    assert fs.softmax(np.asfortranarray(x)).flags.f_contiguous
    assert fs.softmax(x.transpose(1, 2, 0), 0).transpose(2, 0, 1).flags.c_contiguous
    assert fs.softmax(x[::-1, :, ::2]).flags.c_contiguous
    assert fs.softmax(np.broadcast_to(x[0], (3, 5, 6))).flags.c_contiguous
    assert fs.logsumexp(np.asfortranarray(x), 1).flags.f_contiguous
    native = fs.softmax(x.astype(">f4"))
    assert native.dtype.isnative
    assert native.flags.owndata


@pytest.mark.parametrize("op", OPS)
def test_dtype_converts_the_input_first(op, x):
    function = getattr(fs, op)
    for dtype in FLOATS:
        for given in (dtype, np.dtype(dtype), np.dtype(dtype).name):
            same(function(x.astype(np.float64), dtype=given), function(x.astype(dtype)))
    same(function(x, dtype=None), function(x))
    same(function(x, dtype=float), function(x.astype(np.float64)))


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_algorithms_give_the_same_bits(op, x):
    results = [getattr(fs, op)(x, algorithm=name) for name in ALGORITHMS]
    for result in results[1:]:
        same(result, results[0])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "temperature",
    [
        0.5,
        3,
        np.float64(0.5),
        np.float32(0.5),
        np.array(0.5),
        [[[0.5]], [[1.0]], [[2.0]], [[4.0]]],
        np.array([[1], [2], [3], [4], [5]]),
        np.linspace(0.5, 2, 20).reshape(4, 5, 1),
        np.linspace(0.5, 2, 20).reshape(4, 5, 1).astype(">f8"),
        np.linspace(0.5, 2, 20).reshape(4, 5, 1).astype(np.float32)[::-1, ::-1],
        np.ones((5, 1), ml_dtypes.bfloat16),
        np.broadcast_to(2.0, (4, 5, 1)),
    ],
    ids=lambda t: f"{type(t).__name__}{np.shape(t)}{np.asarray(t).dtype}",
)
def test_temperature(op, temperature, x, reference):
    close(getattr(fs, op)(x, temperature=temperature), reference(op, x, -1, temperature))


def test_temperature_per_column(x, reference):
    temperature = np.array([0.5, 1, 2, 3, 4, 5])
    close(fs.softmax(x, 0, temperature=temperature), reference("softmax", x, 0, temperature))


@pytest.mark.parametrize("op", OPS)
def test_where(op, x, rng, reference):
    mask = rng.random(x.shape) < 0.6
    mask[..., 0] = True
    for where in (mask, np.asfortranarray(mask), mask[1], mask[1, 2], mask.tolist(), mask[:, :1]):
        close(getattr(fs, op)(x, where=where), reference(op, x, where=np.asarray(where)))
    same(getattr(fs, op)(x, where=True), getattr(fs, op)(x))
    same(getattr(fs, op)(x, where=None), getattr(fs, op)(x))


def test_empty_rows(x):
    inf = np.full((2, 3), -np.inf, np.float32)
    for kwargs in ({"where": False, "x": x}, {"x": inf}):
        assert np.all(np.isnan(fs.softmax(**kwargs)))
        assert np.all(np.isnan(fs.log_softmax(**kwargs, empty="nan")))
        assert np.all(fs.softmax(**kwargs, empty="zero") == 0)
        assert np.all(fs.log_softmax(**kwargs, empty="zero") == -np.inf)
        assert np.all(fs.logsumexp(**kwargs) == -np.inf)


def test_arguments_by_position_and_keyword(x):
    expected = fs.softmax(x, 0)
    same(fs.softmax(x=x, axis=0), expected)
    same(fs.softmax(x, axis=0), expected)
    same(fs.softmax(axis=0, algorithm="online", x=x, out=None), expected)
    same(fs.softmax(x, np.int64(0)), expected)
    same(fs.softmax(x, (np.int8(-3),)), expected)
    name = "".join(["ax", "is"])  # not interned
    same(fs.softmax(x, **{name: 0}), expected)


def test_what_asarray_takes(x):
    expected = fs.softmax(x.astype(np.float64))
    same(fs.softmax(x.tolist()), expected)
    same(fs.softmax(tuple(map(np.ndarray.tolist, x))), expected)
    same(fs.softmax(range(4)), fs.softmax(np.arange(4)))
    same(fs.softmax([]), np.empty(0))
    same(fs.softmax(memoryview(x)), fs.softmax(x))

    class Series:
        def __array__(self, dtype=None, copy=None):
            assert dtype is None
            return x.copy() if copy else x

    assert type(fs.softmax(Series())) is np.ndarray
    same(fs.softmax(Series()), fs.softmax(x))


class Labelled(np.ndarray):
    """A subclass that keeps an attribute."""

    def __array_finalize__(self, parent):
        self.label = getattr(parent, "label", None)


def test_subclasses(x, tmp_path):
    labelled = x.view(Labelled)
    labelled.label = "logits"
    for result in (fs.softmax(labelled), fs.logsumexp(labelled), fs.logsumexp(labelled, None)):
        assert type(result) is Labelled
        assert result.label == "logits"
    same(np.asarray(fs.softmax(labelled)), fs.softmax(x))
    assert fs.softmax(labelled, out=x) is x
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 4))
    assert fs.softmax(mapped, out=mapped) is mapped
    assert type(fs.softmax(mapped)) is np.ndarray


def test_a_subclass_decides_how_its_results_are_wrapped(x):
    class Wrapped(np.ndarray):
        def __array_wrap__(self, array, context=None, return_scalar=False):
            return SimpleNamespace(array=array)

    same(fs.softmax(x.view(Wrapped)).array, fs.softmax(x))


def test_explain(x):
    plan = fs.explain(x, algorithm="online", op="log_softmax")
    assert isinstance(plan, fs.Plan)
    assert plan.algorithm == "online"
    assert plan.layout == "rows"
    assert plan.threads >= 1
    assert "online" in str(plan)
    assert plan.reason in str(plan)
    assert fs.explain(x).algorithm in ALGORITHMS[1:]
    assert fs.explain(x, 0).layout in ("columns", "packed")
    assert pickle.loads(pickle.dumps(plan)) == plan
    with pytest.raises(AttributeError):
        plan.threads = 2
    for out in (np.empty((4, 5), np.float32), np.empty((4, 5, 1), np.float32)):
        before = out.tobytes()
        fs.explain(x, op="logsumexp", out=out)
        assert out.tobytes() == before


def test_names():
    assert all(hasattr(fs, name) for name in fs.__all__)
    assert fs.__version__ == fs.version()
    for function in (fs.softmax, fs.log_softmax, fs.logsumexp, fs.explain):
        assert function.__module__ == "fastsoftmax"
        assert pickle.loads(pickle.dumps(function)) is function
        assert "Parameters" in function.__doc__


def test_examples_in_docstrings():
    runner = doctest.DocTestRunner()
    objects = {name: getattr(fs, name) for name in ("softmax", "log_softmax", "logsumexp")}
    objects |= {"fastsoftmax": fs, "explain": fs.explain, "threads": fs.threads}
    for name, item in objects.items():
        examples = doctest.DocTestParser().get_doctest(item.__doc__, {}, name, name, 0)
        assert examples.examples
        assert runner.run(examples).failed == 0
