"""NaN, infinities, empty rows, masks: the table "Special values" of docs/numerics.md, cell by cell.

Where SciPy defines a cell, the result is SciPy's, but for two differences that the tests below
state: `log_softmax` of a row with +inf, and rows of length 0.
"""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

try:
    import ml_dtypes

    bfloat16 = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    bfloat16 = None

REDUCED = ["softmax", "log_softmax"]
OPS = [*REDUCED, "logsumexp"]
ALGORITHMS = [
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
]
INF, NAN = np.inf, np.nan
CALLS = [
    {"op": op, "axis": axis, "algorithm": algorithm}
    for op in OPS
    for axis in (-1, 0)
    for algorithm in (ALGORITHMS if op in REDUCED else ["auto"])
]
each_call = pytest.mark.parametrize("call", CALLS, ids=lambda c: "-".join(map(str, c.values())))
# With the positions that are tried: all in short rows, else around registers, lanes and blocks.
SHORT = {n: range(n) for n in range(1, 71)}
EDGES = [0, 1, 15, 16, 31, 32, 63, 64, 65, 127, 128, 255, 256, 257, 510, 511, 512, 513, 1023, 1024]
LONG = {n: [p for p in EDGES if p < n - 1] + [n - 1] for n in (255, 256, 257, 511, 512, 513, 1100)}


def compute(op, rows, axis=-1, algorithm="auto", **options):
    """Reduce the last axis of `rows`, laid out so that it is `axis`; float64 rows of results."""
    if op != "logsumexp":
        options["algorithm"] = algorithm
    if axis == 0:
        rows = np.ascontiguousarray(rows.T)
        options = {k: v.T if isinstance(v, np.ndarray) else v for k, v in options.items()}
    y = getattr(fs, op)(rows, axis, **options)
    assert y.dtype == rows.dtype
    y = y.astype(np.float64)
    return y[:, None] if y.ndim == 1 else y.T if axis == 0 else y


def planted(n, positions, value, dtype, base=None):
    """Make one row for each position, with `value` there and nowhere else."""
    if base is None:
        base = np.random.default_rng(n).uniform(-4, 0, size=(len(positions), n))
    rows = np.broadcast_to(base, (len(positions), n)).astype(dtype)
    rows[np.arange(len(positions)), list(positions)] = value
    return rows


@each_call
@pytest.mark.parametrize("lengths", [SHORT, LONG], ids=["short", "long"])
def test_one_special_value_at_every_position(call, lengths, dtype):
    op = call["op"]
    for n, positions in lengths.items():
        at = np.arange(len(positions)), list(positions)

        assert np.isnan(compute(rows=planted(n, positions, NAN, dtype), **call)).all()
        alone = planted(n, positions, NAN, dtype, base=-INF)
        assert np.isnan(compute(rows=alone, **call)).all()

        y = compute(rows=planted(n, positions, INF, dtype), **call)
        assert np.all(y == INF) if op == "logsumexp" else np.isnan(y).all()
        both = planted(n, positions, INF, dtype)
        both[:, n // 2] = NAN
        assert np.isnan(compute(rows=both, **call)).all()

        finite = planted(n, positions, 1.5, dtype, base=-INF)
        y = compute(rows=finite, **call)
        if op == "logsumexp":
            assert np.all(y == 1.5)
        else:
            assert np.all(y[at] == (1 if op == "softmax" else 0))
            y[at] = 0 if op == "softmax" else -INF
            assert np.all(y == (0 if op == "softmax" else -INF))
            assert not np.signbit(y).any() or op == "log_softmax"

        if n == 1:
            continue
        y = compute(rows=planted(n, positions, -INF, dtype), **call)
        if op == "logsumexp":
            assert np.isfinite(y).all()
        else:
            assert np.all(y[at] == (0 if op == "softmax" else -INF))
            y[at] = 0.5
            assert np.isfinite(y).all()
            assert np.all(y > 0) or op == "log_softmax"


@each_call
def test_rows_that_admit_nothing(call, dtype):
    op = call["op"]
    for n in (1, 2, 17, 64, 300, 1100):
        hopeless = np.full((5, n), -INF).astype(dtype)
        anything = np.random.default_rng(n).choice([NAN, INF, -INF, 0, 3], (5, n)).astype(dtype)
        none = np.zeros((5, n), np.bool_)
        for rows, mask in ((hopeless, {}), (anything, {"where": none})):
            if op == "logsumexp":
                assert np.all(compute(rows=rows, **call, **mask) == -INF)
                continue
            assert np.isnan(compute(rows=rows, **call, **mask)).all()
            assert np.isnan(compute(rows=rows, **call, **mask, empty="nan")).all()
            y = compute(rows=rows, **call, **mask, empty="zero")
            assert np.all(y == (0 if op == "softmax" else -INF))


@pytest.mark.parametrize("op", REDUCED)
def test_empty_concerns_empty_rows_only(op, dtype):
    rows = np.array([[-INF, -INF], [NAN, -INF], [INF, -INF], [0, -INF]]).astype(dtype)
    y = compute(op, rows, empty="zero")
    zero, one = (0, 1) if op == "softmax" else (-INF, 0)
    np.testing.assert_array_equal(y, [[zero, zero], [NAN, NAN], [NAN, NAN], [one, zero]])


@each_call
def test_what_a_mask_excludes_does_not_count(call, dtype, rng):
    """The result is that of -inf in its place, whatever stands there."""
    for n in (2, 9, 33, 70, 600):
        rows = rng.normal(size=(6, n)).astype(dtype)
        where = rng.random((6, n)) < 0.6
        where[:, 0] = True
        expected = compute(rows=np.where(where, rows, dtype.type(-INF)), **call)
        for value in (NAN, INF, -INF, 1e4, 0):
            changed = np.where(where, rows, dtype.type(value))
            np.testing.assert_array_equal(compute(rows=changed, **call, where=where), expected)
        if call["op"] != "logsumexp":
            assert np.all(expected[~where] == (0 if call["op"] == "softmax" else -INF))
        # One that is admitted counts, though its neighbours are not.
        rows[2, 0] = NAN
        y = compute(rows=rows, **call, where=where)
        assert np.isnan(y[2]).all()
        np.testing.assert_array_equal(np.delete(y, 2, 0), np.delete(expected, 2, 0))


@each_call
def test_a_special_row_leaves_its_neighbours_alone(call, dtype, rng):
    for n in (5, 70, 600):
        rows = rng.normal(size=(18, n)).astype(dtype)
        expected = compute(rows=rows, **call)
        for value in (NAN, INF, -INF):
            changed = rows.copy()
            changed[7] = value
            y = compute(rows=changed, **call)
            np.testing.assert_array_equal(np.delete(y, 7, 0), np.delete(expected, 7, 0))


def test_finite_values_beyond_the_range_of_results(dtype):
    """The difference of two finite values may overflow to -inf, as subtraction has it."""
    info = ml_dtypes.finfo(dtype) if dtype == bfloat16 else np.finfo(dtype)
    largest = np.array([info.max, -info.max], dtype)
    np.testing.assert_array_equal(fs.softmax(largest).astype(float), [1, 0])
    np.testing.assert_array_equal(fs.log_softmax(largest).astype(float), [0, -INF])
    assert fs.logsumexp(largest) == info.max
    np.testing.assert_array_equal(fs.softmax(largest[:1]).astype(float), [1])
    np.testing.assert_array_equal(fs.softmax(largest[1:]).astype(float), [1])
    assert fs.logsumexp(largest[1:]) == -info.max


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_scipy_agrees_where_it_defines_them(dtype):
    """Every row of two or three special and ordinary values.

    Differences:

    - log_softmax of a row with +inf: SciPy subtracts infinity from infinity for these elements
      alone, [inf, 0] -> [nan, -inf], as if the others had probability 0, while its softmax of the
      same row is NaN throughout. Here both are NaN throughout.
    - A row of length 0: SciPy's softmax and log_softmax raise ValueError, as the maximum of
      nothing does. Here the result is empty too.
    - SciPy gives subnormal results; here they are 0. (No such row in this test.)
    """
    special = pytest.importorskip("scipy.special")
    if dtype == bfloat16:
        pytest.skip("SciPy does not take bfloat16")
    values = [NAN, INF, -INF, 0.0, 1.5]
    for n in (1, 2, 3):
        for row in np.stack(np.meshgrid(*[values] * n), -1).reshape(-1, n).astype(dtype):
            for op in OPS:
                ours, theirs = getattr(fs, op)(row), getattr(special, op)(row)
                if op == "log_softmax" and INF in row and not np.isnan(row).any():
                    assert np.isnan(ours).all()
                    np.testing.assert_array_equal(theirs, np.where(row == INF, NAN, -INF))
                else:
                    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-3)

    nothing = np.zeros((3, 0), dtype)
    for op in REDUCED:
        assert getattr(fs, op)(nothing).shape == (3, 0)
        with pytest.raises(ValueError, match="zero-size"):
            getattr(special, op)(nothing, axis=-1)
    np.testing.assert_array_equal(fs.logsumexp(nothing), [-INF] * 3)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, -1, None])
def test_integers_and_booleans(op, axis):
    """They have no special values; their extremes are far outside the domain of the exponential."""
    for char in "?bBhHiIqQ":
        kind = np.dtype(char)
        low, high = (0, 1) if char == "?" else (np.iinfo(kind).min, np.iinfo(kind).max)
        x = np.array([[low, high], [high, low], [high, high], [low, low]], kind)
        y = getattr(fs, op)(x, axis)
        assert y.dtype == np.float64
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(y, getattr(fs, op)(x.astype(np.float64), axis))
    np.testing.assert_array_equal(fs.softmax(np.array([2**63 - 1, -(2**63)])), [1, 0])
    np.testing.assert_array_equal(fs.log_softmax(np.array([2**53, 0])), [0, -(2.0**53)])
    np.testing.assert_array_equal(fs.softmax(np.array([True, True])), [0.5, 0.5])
