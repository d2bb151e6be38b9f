"""The filters of sample: exactly the distribution that they define, ties by index."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

INF = np.inf
# Some 60 tests with fixed seeds; a right sampler fails one of them for one seed in 2,000.
LEAST = 1e-5

CASES = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 7},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.7},
    "top_n_sigma": {"top_n_sigma": 1.2},
    "top_k then top_p": {"top_k": 12, "top_p": 0.85},
    "top_p then min_p": {"top_p": 0.9, "min_p": 0.25},
    "top_k then typical_p": {"top_k": 9, "typical_p": 0.6, "temperature": 1.5},
    "all": {
        "top_n_sigma": 2.0,
        "top_k": 25,
        "top_p": 0.95,
        "min_p": 0.03,
        "typical_p": 0.9,
        "temperature": 1.3,
    },
}


def draws(x, count, **options):
    """Draw `count` times from one row, independently."""
    return fs.sample(np.broadcast_to(x, (count, x.size)), seed=20240607, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [40, 1500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distribution(name, n, dtype, rng, sampling):
    """Scores far enough apart that rounding does not decide what stays."""
    x = (0.25 * rng.permutation(n) if n < 100 else 2.2 * rng.standard_normal(n)).astype(dtype)
    options = CASES[name]
    p = sampling.filtered(x, **options)
    assert sampling.p_value(draws(x, 20_000 if n < 100 else 6000, **options), p) > LEAST
    where = rng.random(n) < 0.6
    p = sampling.filtered(x, where=where, **options)
    assert sampling.p_value(draws(x, 5000, where=where, **options), p) > LEAST


@pytest.mark.parametrize("kept", [1, 2, 40, 300, 1024])
@pytest.mark.parametrize("filter_name", ["top_k", "top_p", "min_p", "top_n_sigma"])
def test_the_edge_in_a_long_row(kept, filter_name, rng, sampling):
    """The last element that stays is as likely as the first, and so is the next one's absence."""
    n = 50_000
    x = np.full(n, -9.0, np.float32)
    likely = rng.choice(n, 1100, replace=False)
    x[likely] = 1 + np.linspace(0.5, 0, 1100)
    z = x.astype(np.float64)
    middle = z[likely[kept - 1 : kept + 1]].mean()
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    order = np.sort(p)[::-1].cumsum()
    value = {
        "top_k": kept,
        "top_p": order[kept - 2 : kept].mean() if kept > 1 else order[0] / 2,
        "min_p": np.exp(middle - z.max()),
        "top_n_sigma": (z.max() - middle) / z.std(),
    }[filter_name]
    drawn = draws(x, 12 * kept + 100, **{filter_name: value})
    p[likely[kept:]] = p[x < 0] = 0
    assert sampling.p_value(drawn, p / p.sum()) > LEAST
    if kept < 100:
        assert set(drawn.tolist()) == set(likely[:kept].tolist())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 5}, 5),
        ({"top_p": 0.5}, 8),
        ({"top_p": 0.51}, 9),
        ({"top_p": 0.5, "top_k": 12}, 6),
        ({"typical_p": 0.25}, 4),
        ({"typical_p": 0.3}, 5),
        ({"min_p": 1.0}, 16),
        ({"top_n_sigma": 3.0}, 16),
        ({"top_k": 10, "top_p": 0.5, "typical_p": 0.5}, 3),
    ],
)
def test_ties_stay_by_index(dtype, options, kept):
    x = np.full(40, -INF, dtype)
    places = np.arange(16) * 2 + 5
    x[places] = 3
    assert set(draws(x, 600, **options).tolist()) == set(places[:kept].tolist())
    long = np.full(5000, -INF, dtype)
    places = np.arange(16) * 301 + 17
    long[places] = 3
    assert set(draws(long, 600, **options).tolist()) == set(places[:kept].tolist())


def test_equal_surprise_on_both_sides_of_the_entropy():
    """typical_p orders by distance alone: the rarer of two equally distant ones may come first."""
    p = np.array([0.01, 0.5, 0.25, 0.25 - 0.01])
    entropy = -(p * np.log(p)).sum()
    distance = np.abs(-np.log(p) - entropy)
    first = int(distance.argmin())
    assert first != p.argmax()
    assert set(draws(np.log(p), 50, typical_p=p[first] / 2).tolist()) == {first}
    assert set(draws(np.log(p), 500, typical_p=0.9).tolist()) == {1, 2, 3}


@pytest.mark.parametrize("n", [1, 5, 700, 5000])
@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-300}, {"min_p": 1.0}, {"top_n_sigma": 1e-12}],
    ids=str,
)
def test_one_always_stays(n, options, rng):
    x = rng.standard_normal((30, n)).astype(np.float32)
    np.testing.assert_array_equal(fs.sample(x, seed=1, **options), x.argmax(-1))


def test_typical_p_of_zero_keeps_the_most_typical(rng):
    x = rng.standard_normal((30, 200))
    p = fs.softmax(x)
    entropy = fs.softmax_stats(x).entropy
    expected = np.abs(-np.log(p) - entropy[:, None]).argmin(-1)
    np.testing.assert_array_equal(fs.sample(x, seed=1, typical_p=0.0), expected)


@pytest.mark.parametrize("n", [4, 700, 5000])
def test_off(n, rng):
    x = rng.standard_normal((50, n)).astype(np.float32)
    plain = fs.sample(x, seed=1)
    off = {"top_k": (0, n, n + 1, 10**30), "top_p": (1, 1.0), "typical_p": (1, 1.0)}
    for name, values in (off | {"min_p": (0, 0.0), "top_n_sigma": (0, 0.0)}).items():
        for value in (None, *values):
            np.testing.assert_array_equal(fs.sample(x, seed=1, **{name: value}), plain)
    mixed = np.where(np.arange(50) % 2, 0, 3)[:, None]
    drawn = fs.sample(x, seed=1, top_k=mixed)
    np.testing.assert_array_equal(drawn[1::2], plain[1::2])
    np.testing.assert_array_equal(drawn[::2], fs.sample(x, seed=1, top_k=3)[::2])


@pytest.mark.parametrize("top_p", [0.5, 0.99])
@pytest.mark.parametrize("kind", ["normal", "constant", "sorted", "zipf"])
def test_wide_nuclei(kind, top_p, rng, sampling):
    n = 60_000
    x = {
        "normal": rng.standard_normal(n),
        "constant": np.zeros(n),
        "sorted": np.linspace(0, 6, n),
        "zipf": -np.log(np.arange(1.0, n + 1)),
    }[kind].astype(np.float32)
    p = sampling.filtered(x, top_p=top_p)
    drawn = draws(x, 1500, top_p=top_p)
    # Rounding may decide at the edge, where no element matters.
    assert (p[drawn] == 0).sum() <= 1
    assert sampling.p_value(drawn[p[drawn] > 0], p) > LEAST


@settings(deadline=None, database=None, derandomize=True, max_examples=150)
@given(data=st.data())
def test_what_is_drawn_was_to_stay(data, sampling):
    """For any row and options: within the set that the filters leave, give or take rounding."""
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    n = data.draw(st.sampled_from([1, 2, 3, 10, 64, 65, 513, 1025, 3000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scale = data.draw(st.sampled_from([0.01, 1.0, 4.0, 50.0]))
    x = (scale * rng.standard_normal(n)).astype(dtype)
    if data.draw(st.booleans()):
        x = np.round(x)
    where = rng.random(n) < data.draw(st.sampled_from([0.3, 1.0]))
    assume(where.any())
    unit = st.floats(0, 1) | st.none()
    options = {
        "temperature": data.draw(st.floats(0.05, 20)),
        "top_n_sigma": data.draw(st.floats(0, 4) | st.none()),
        "top_k": data.draw(st.integers(0, n + 2) | st.none()),
        "top_p": data.draw(unit),
        "min_p": data.draw(unit),
        "typical_p": data.draw(unit),
    }
    drawn = np.unique(draws(x, 60, where=where, **options))
    assert where[drawn].all()
    allowed = sampling.filtered(x, where=where, **options) > 0
    for name, value in options.items():
        if name in ("top_p", "min_p", "typical_p", "top_n_sigma") and value:
            for nudged in (value * (1 - 1e-5), value * (1 + 1e-5)):
                other = sampling.filtered(x, where=where, **(options | {name: nudged}))
                allowed |= other > 0
    assert allowed[drawn].all()
