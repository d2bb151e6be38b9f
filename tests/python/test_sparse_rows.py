"""SparseRows: what it holds, sums of equal ids, addition in place, views for SciPy, errors."""

from __future__ import annotations

import copy
import pickle
import sys

import fastsoftmax as fs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def test_it_holds_what_it_was_given():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    ids = np.array([1, 4, 7])
    rows = fs.SparseRows(ids, values, 10)
    assert rows.values is values
    assert rows.ids.dtype == np.int64
    assert np.shares_memory(rows.ids, ids)
    assert (len(rows), rows.num_rows, rows.shape, rows.dtype) == (3, 10, (10, 2), np.float32)
    assert repr(rows) == "<SparseRows: 3 rows of shape (10, 2), dtype float32>"
    with pytest.raises(ValueError, match="read-only"):
        rows.ids[0] = 3
    ids[0] = 0  # the caller's array stays writable
    dense = np.zeros((10, 2), np.float32)
    dense[[0, 4, 7]] = values
    np.testing.assert_array_equal(rows.to_dense(), dense)


def test_the_number_of_rows_is_what_the_ids_need_unless_given():
    assert fs.SparseRows([0, 5], [1.0, 2.0]).shape == (6,)
    assert fs.SparseRows([], np.empty((0, 3))).shape == (0, 3)
    assert fs.SparseRows([], np.empty((0, 3)), 4).to_dense().shape == (4, 3)
    assert fs.SparseRows(np.array([2**40], np.uint64), [1.0]).num_rows == 2**40 + 1


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies(again):
    rows = fs.SparseRows([1, 3], np.ones((2, 2)), 5)
    other = again(rows)
    np.testing.assert_array_equal(other.to_dense(), rows.to_dense())
    assert other.num_rows == 5


def layouts(array):
    """The same elements in other places."""
    every = np.zeros((2 * array.shape[0], *(3 * n for n in array.shape[1:])), array.dtype)
    strided = every[::2, ::3] if array.ndim == 2 else every[::2]
    odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    yield array.copy()
    yield np.array(array, order="F")
    for other in (strided, strided[::-1], odd):
        other[:] = array
        yield other
    if array.dtype.kind == "f":
        yield array.astype(array.dtype.newbyteorder())


@pytest.mark.parametrize("shape", [(50, 7), (50,), (50, 1), (50, 1500), (1, 3), (1,)])
def test_add_to_matches_numpy(rng, dtype, shape):
    ids = np.flatnonzero(rng.random(shape[0]) < 0.5)
    values = rng.normal(size=(len(ids), *shape[1:])).astype(np.float32)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    before = rng.normal(size=shape).astype(dtype)
    expected = before.astype(arithmetic)
    expected[ids] += arithmetic(-0.3) * values.astype(arithmetic)
    expected = expected.astype(dtype)
    for given_values in layouts(values):
        rows = fs.SparseRows(ids, given_values, shape[0])
        for W in layouts(before):  # noqa: N806
            assert rows.add_to(W, -0.3) is W
            assert W.astype(dtype).tobytes() == expected.tobytes()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(-4, 4, width=32)), max_size=30),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=60)
def test_coalesce_adds_in_order(pairs, columns):
    ids = np.array([i for i, _ in pairs], np.int64)
    factors = np.array([v for _, v in pairs], np.float32)
    values = factors if columns == 0 else np.outer(factors, np.arange(1, columns + 1, dtype="f4"))
    expected = np.zeros((10, *values.shape[1:]), np.float32)
    for row, value in zip(ids, values, strict=True):
        expected[row] += value
    rows = fs.SparseRows.coalesce(ids, values, 10)
    assert rows.ids.tolist() == sorted(set(ids.tolist()))
    assert rows.values.dtype == np.float32
    np.testing.assert_array_equal(rows.to_dense(), expected)


def test_coalesce_of_other_types():
    rows = fs.SparseRows.coalesce(np.array([1, 0, 1], np.uint8), [[1], [2], [3]], 2)
    assert rows.dtype == np.float64
    assert rows.to_dense().tolist() == [[2.0], [4.0]]
    rows = fs.SparseRows.coalesce([3, 3], np.array([1.0, 2.0], np.float16)[::-1], 4)
    assert (rows.dtype, rows.shape, rows.values.tolist()) == (np.float32, (4,), [3.0])
    assert fs.SparseRows.coalesce([], np.empty((0, 2)), 4).shape == (4, 2)
    many = fs.SparseRows.coalesce([1, 1], np.ones((2, 0)), 4)
    assert (many.shape, len(many)) == ((4, 0), 1)


def test_results_of_coalesce_own_their_memory():
    rows = fs.SparseRows.coalesce(np.arange(1000), np.ones((1000, 8), np.float32), 1000)
    values = rows.values
    assert values.ctypes.data % 64 == 0
    values[0] = 5.0
    del rows
    other = fs.SparseRows.coalesce(np.arange(1000), np.zeros((1000, 8), np.float32), 1000)
    assert values[0, 0] == 5.0
    assert values[1:].min() == 1.0
    assert other.values.max() == 0.0


def test_threads_do_not_change_bits(rng):
    ids = rng.integers(0, 3000, 5000)
    values = rng.normal(size=(5000, 64)).astype(np.float32)
    results = []
    for n in (1, 4):
        with fs.threads(n):
            rows = fs.SparseRows.coalesce(ids, values, 3000)
            results.append((rows.values.tobytes(), rows.add_to(np.ones((3000, 64))).tobytes()))
    assert results[0] == results[1]


def test_values_may_lie_in_the_matrix():
    W = np.arange(6.0).reshape(3, 2)  # noqa: N806
    fs.SparseRows([0, 2], W[:2]).add_to(W)
    assert W.tolist() == [[0.0, 2.0], [2.0, 3.0], [6.0, 8.0]]


def test_tensors():
    torch = pytest.importorskip("torch")
    W = torch.ones(4, 2, dtype=torch.bfloat16)  # noqa: N806
    rows = fs.SparseRows([1], torch.full((1, 2), 3.0))
    version = W._version
    assert rows.add_to(W, 2.0) is W
    assert W._version > version
    assert W.tolist() == [[1, 1], [7, 7], [1, 1], [1, 1]]


def test_scipy(rng):
    pytest.importorskip("scipy")
    values = rng.normal(size=(3, 4))
    rows = fs.SparseRows([0, 5, 6], values, 9)
    sparse = rows.to_scipy()
    assert np.shares_memory(sparse.data, values)
    np.testing.assert_array_equal(sparse.toarray(), rows.to_dense())
    x = rng.normal(size=(4, 2))
    np.testing.assert_allclose(sparse @ x, rows.to_dense() @ x)
    flat = fs.SparseRows([2], np.array([3.0], np.float32), 4).to_scipy()
    assert flat.toarray().tolist() == [[0.0], [0.0], [3.0], [0.0]]
    empty = fs.SparseRows([], np.empty((0, 2)), 3).to_scipy()
    assert empty.toarray().tolist() == [[0.0, 0.0]] * 3
    with pytest.raises(TypeError, match="no float16"):
        fs.SparseRows([0], np.ones((1, 2), np.float16)).to_scipy()
    with pytest.raises(ValueError, match="without columns"):
        fs.SparseRows([0], np.ones((1, 0))).to_scipy()


def test_scipy_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match="needs the package scipy"):
        fs.SparseRows([0], [1.0]).to_scipy()


@pytest.mark.parametrize(
    ("ids", "values", "num_rows", "error", "match"),
    [
        ([1, 1], [1.0, 2.0], 3, ValueError, r"ids\[1\] = 1 follows 1"),
        ([2, 1], [1.0, 2.0], 3, ValueError, r"ids\[1\] = 1 follows 2"),
        ([-1, 1], [1.0, 2.0], 3, IndexError, "must not be negative, got -1"),
        ([0, 3], [1.0, 2.0], 3, IndexError, "id 3 is out of range for 3 rows"),
        ([0.0], [1.0], None, TypeError, "ids must be integers, not float64"),
        ([True], [1.0], None, TypeError, "ids must be integers, not bool"),
        ([[0]], [1.0], None, ValueError, "ids must have 1 dimension"),
        ([0, 1], [1.0], None, ValueError, r"shape \(2, D\) or \(2,\), not \(1,\)"),
        ([0], [[[1.0]]], None, ValueError, r"not \(1, 1, 1\)"),
        ([], 1.0, None, ValueError, r"not \(\)"),
        ([0], [1], None, TypeError, "not int64"),
        ([0], [1j], None, TypeError, "not complex128"),
        ([], np.empty((0, 2)), -1, ValueError, "num_rows must not be negative, got -1"),
    ],
)
def test_bad_rows(ids, values, num_rows, error, match):
    with pytest.raises(error, match=match):
        fs.SparseRows(ids, values, num_rows)


@pytest.mark.parametrize(
    ("ids", "values", "num_rows", "error", "match"),
    [
        ([0, 3], [1.0, 2.0], 3, IndexError, "id 3 is out of range for a matrix with 3 rows"),
        ([0, -2], [1.0, 2.0], 3, IndexError, "id -2 is out of range"),
        ([0], [1.0, 2.0], 3, ValueError, "values has 2 rows for 1 ids"),
        ([0], [[[2.0]]], 3, ValueError, "1 or 2 dimensions"),
        ([[0]], [1.0], 3, ValueError, "ids must have 1 dimension"),
        ([0.5], [1.0], 3, TypeError, "ids"),
        ([0], ["a"], 3, TypeError, "values"),
        ([0], [1.0], 3.0, TypeError, "num_rows must be an int"),
    ],
)
def test_bad_rows_to_coalesce(ids, values, num_rows, error, match):
    with pytest.raises(error, match=match):
        fs.SparseRows.coalesce(ids, values, num_rows)


def test_masks_are_not_ignored():
    masked = np.ma.array([[1.0]], mask=True)
    for call in (fs.SparseRows, fs.SparseRows.coalesce):
        with pytest.raises(TypeError, match="values is a MaskedArray"):
            call([0], masked, 1)


def read_only():
    W = np.zeros((3, 2))  # noqa: N806
    W.flags.writeable = False
    return W


@pytest.mark.parametrize(
    ("W", "error", "match"),
    [
        (np.zeros((2, 2)), IndexError, "fewer than 3 rows"),
        (np.zeros((3, 3)), ValueError, "does not fit the rows of W"),
        (np.zeros(3), ValueError, "does not fit the rows of W"),
        (np.zeros((3, 2, 1)), ValueError, "1 or 2 dimensions"),
        (np.zeros((3, 2), np.int64), TypeError, "W has dtype int64"),
        (np.zeros((3, 2), complex), TypeError, "W has dtype complex128"),
        ([[0.0, 0.0]] * 3, TypeError, "W must be a numpy.ndarray"),
        (np.broadcast_to(0.0, (3, 2)), ValueError, "read-only"),
        (np.lib.stride_tricks.as_strided(np.zeros(6), (3, 2), (0, 8)), ValueError, "share memory"),
        (read_only(), ValueError, "read-only"),
        (0.0, TypeError, "W must be"),
    ],
)
def test_what_rows_cannot_be_added_to(W, error, match):  # noqa: N803
    with pytest.raises(error, match=match):
        fs.SparseRows([0, 1], np.ones((2, 2)), 3).add_to(W)


def test_alpha_is_a_number():
    rows = fs.SparseRows([0], [1.0])
    for alpha in ("1", None, [1.0], 1j):
        with pytest.raises(TypeError):
            rows.add_to(np.zeros(1), alpha)
