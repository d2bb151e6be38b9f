"""What must hold between results of related inputs: laws of softmax, not figures.

FASTSOFTMAX_TEST_EXAMPLES sets the number of examples and draws other ones in every run.
"""

from __future__ import annotations

import os

import fastsoftmax as fs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

DTYPES = st.sampled_from([np.float32, np.float64])
LENGTHS = st.sampled_from([1, 2, 3, 10, 17, 64, 65, 130, 300, 513, 700, 1100, 3000])
SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([0.01, 1.0, 5.0, 40.0, 1000.0])
ULPS = 4

EXAMPLES = os.environ.get("FASTSOFTMAX_TEST_EXAMPLES")
examples = settings(
    deadline=None, database=None, derandomize=EXAMPLES is None, max_examples=int(EXAMPLES or 80)
)


def ulps_apart(a, b):
    """Largest difference, in the last place of the larger element; flushed ones count as tiny."""
    tiny = np.finfo(a.dtype).tiny
    size = np.maximum(np.maximum(np.abs(a), np.abs(b)), tiny)
    near_flush = (size <= 2 * tiny) & ((a == 0) | (b == 0))
    return np.where(near_flush, 0, np.abs(a - b) / np.spacing(size)).max(initial=0)


def entropy(p):
    p = p[p > 0]
    return -(p * np.log(p)).sum()


@examples
@given(dtype=DTYPES, n=LENGTHS, seed=SEEDS, shift=st.integers(-(2**13), 2**13))
def test_a_shift_changes_nothing(dtype, n, seed, shift):
    """Adding a constant without rounding leaves both functions within two errors."""
    x = (np.random.default_rng(seed).integers(-1000, 1000, n) / 64).astype(dtype)
    moved = x + dtype(shift)
    assert np.all(moved - dtype(shift) == x)
    assert ulps_apart(fs.softmax(moved), fs.softmax(x)) <= 2 * ULPS
    assert ulps_apart(fs.log_softmax(moved), fs.log_softmax(x)) <= 2 * ULPS
    difference = float(fs.logsumexp(moved)) - float(fs.logsumexp(x)) - shift
    largest = max(abs(float(fs.logsumexp(v))) for v in (x, moved))
    assert abs(difference) <= 2 * ULPS * np.spacing(dtype(largest + 20))


@examples
@given(dtype=DTYPES, n=LENGTHS, seed=SEEDS, scale=SCALES)
def test_the_order_of_a_row_only_rounds(dtype, n, seed, scale):
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=n)).astype(dtype)
    order = rng.permutation(n)
    for function in (fs.softmax, fs.log_softmax):
        assert ulps_apart(function(x[order]), function(x)[order]) <= ULPS


@examples
@given(dtype=DTYPES, n=LENGTHS, seed=SEEDS, scale=SCALES)
def test_a_larger_logit_has_no_smaller_probability(dtype, n, seed, scale):
    """By four last places of 1 or more, beyond what the error bound of an element can invert.

    The same logit has the same probability wherever it stands, exactly.
    """
    rng = np.random.default_rng(seed)
    gap = 4 * np.finfo(dtype).eps
    x = np.unique((scale * rng.normal(size=n)).astype(dtype))
    x = x[np.append(True, np.diff(x) >= gap)]
    repeated = rng.permutation(np.concatenate([x, x]))
    order = np.argsort(repeated, kind="stable")
    for function in (fs.softmax, fs.log_softmax):
        y = function(repeated)[order]
        assert np.all(y[::2] == y[1::2])
        assert np.all(np.diff(y[::2]) >= 0)


@examples
@given(dtype=DTYPES, seed=SEEDS)
def test_neighbouring_floats(dtype, seed):
    """Of two logits next to each other the smaller may come out larger, by 2 ulp at most.

    The exponential is not monotonic in its last place. log_softmax is: it only subtracts.
    """
    start = dtype(np.random.default_rng(seed).uniform(-30, 0))
    bits = np.int32 if dtype is np.float32 else np.int64
    x = (start.view(bits) + np.arange(10_000, dtype=bits)).view(dtype)[::-1]
    x = np.append(x, dtype(0))
    p = fs.softmax(x)
    assert np.all(np.diff(p) >= -2 * np.spacing(p[1:]))
    assert np.all(np.diff(fs.log_softmax(x)) >= 0)


@examples
@given(
    seed=SEEDS, n=st.integers(2, 200), dtype=DTYPES, op=st.sampled_from(["softmax", "log_softmax"])
)
def test_temperature_sharpens_and_flattens(seed, n, dtype, op):
    """The entropy grows strictly with the temperature; the order of the classes stays."""
    x = np.random.default_rng(seed).integers(0, 5, n).astype(dtype)
    x[:2] = [0, 4]
    entropies = []
    for temperature in (0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 5.0, 30.0):
        y = getattr(fs, op)(x, temperature=temperature).astype(np.float64)
        p = np.exp(y) if op == "log_softmax" else y
        entropies.append(entropy(p))
        assert np.all(np.diff(p[np.argsort(x)]) >= 0)
    assert np.all(np.diff(entropies) > 0)
    p = fs.softmax(x, temperature=1e9)
    np.testing.assert_allclose(p, np.full(n, 1 / n), rtol=1e-6)
    p = fs.softmax(x, temperature=1e-3)
    assert np.all(p[x < x.max()] == 0)
    np.testing.assert_allclose(p[x == x.max()], 1 / (x == x.max()).sum(), rtol=1e-6)


@examples
@given(n=st.integers(2, 200), dtype=DTYPES, temperature=st.floats(1e-3, 1e3), seed=SEEDS)
def test_temperature_leaves_a_constant_row_flat(n, dtype, temperature, seed):
    x = np.full(n, 10 * np.random.default_rng(seed).normal(), dtype)
    assert ulps_apart(fs.softmax(x, temperature=temperature), np.full(n, 1 / n, dtype)) <= ULPS


@examples
@given(dtype=DTYPES, n=LENGTHS, seed=SEEDS, scale=SCALES)
def test_the_three_functions_fit_together(dtype, n, seed, scale):
    x = (scale * np.random.default_rng(seed).normal(size=n)).astype(dtype)
    p, log_p, lse = fs.softmax(x), fs.log_softmax(x), fs.logsumexp(x)
    eps = np.finfo(dtype).eps

    normal = p > 0
    exact_log = np.log(p[normal].astype(np.longdouble))
    limit = ULPS * eps * (1 + np.abs(exact_log))
    assert np.all(np.abs(log_p[normal] - exact_log) <= limit)
    assert np.all(log_p[~normal] <= np.log(np.finfo(dtype).tiny))

    largest = x.max()
    assert lse >= largest
    slack = ULPS * np.spacing(max(abs(largest), dtype(np.log(n)), np.finfo(dtype).tiny))
    assert lse <= largest + np.log(n) + slack

    size = max(abs(largest), abs(lse), dtype(np.log(n)), np.finfo(dtype).tiny)
    limit = ULPS * (np.spacing(size) + np.spacing(np.abs(log_p).max() + np.finfo(dtype).tiny))
    assert np.all(np.abs((x.astype(np.longdouble) - lse) - log_p) <= limit)
