"""gumbel_topk: draws without replacement, their order and their values."""

from __future__ import annotations

import itertools

import fastsoftmax as fs
import numpy as np
import pytest

LEAST = 1e-5
COUNT = 20_000


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")


def draws(x, k, count=COUNT, **options):
    return fs.gumbel_topk(np.broadcast_to(x, (count, x.size)), k, seed=7, **options)


def plackett_luce(p, k):
    """Probabilities of all ordered choices of k elements, one after another from what is left."""
    orders = list(itertools.permutations(range(p.size), k))
    result = []
    for order in orders:
        left, probability = p.sum(), 1.0
        for i in order:
            probability *= p[i] / left
            left -= p[i]
        result.append(probability)
    return orders, np.array(result)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("n", "k"), [(5, 2), (5, 3), (4, 4), (12, 2)])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_orders_follow_plackett_luce(n, k, dtype, temperature, rng, sampling):
    x = rng.standard_normal(n).astype(dtype)
    orders, expected = plackett_luce(sampling.filtered(x, temperature=temperature), k)
    indices = draws(x, k, temperature=temperature).indices
    number = {order: i for i, order in enumerate(orders)}
    drawn = [number[tuple(row)] for row in indices.tolist()]
    assert sampling.p_value(drawn, expected) > LEAST


def test_pairs_over_several_blocks(sampling):
    """Likely elements far apart in a long row, all others next to impossible."""
    x = np.full(5000, -60.0, np.float32)
    places = np.array([3, 900, 1100, 2600, 4999])
    x[places] = [0, 1, -1, 0.5, 2]
    orders, expected = plackett_luce(sampling.filtered(x[places]), 3)
    indices = draws(x, 3).indices
    where = np.searchsorted(places, indices)
    np.testing.assert_array_equal(places[where], indices)
    number = {order: i for i, order in enumerate(orders)}
    drawn = [number[tuple(row)] for row in where.tolist()]
    assert sampling.p_value(drawn, expected) > LEAST


def test_values_are_the_largest_of_gumbels(stats, rng):
    """Each of the first k order statistics, against noise added to all elements."""
    x = rng.standard_normal(30)
    values = draws(x, 4).values
    assert stats.kstest(values[:, 0], stats.gumbel_r.cdf).pvalue > LEAST
    noisy = fs.log_softmax(x) + rng.gumbel(size=(COUNT, 30))
    largest = -np.sort(-noisy, axis=-1)
    for i in range(4):
        assert stats.ks_2samp(values[:, i], largest[:, i]).pvalue > LEAST
    gaps, expected = values[:, 0] - values[:, 2], largest[:, 0] - largest[:, 2]
    assert stats.ks_2samp(gaps, expected).pvalue > LEAST


def test_values_of_equal_elements(stats):
    """-log T of a Poisson process at rate 1 - i / n: T of the first is exponential."""
    n = 1000
    values = draws(np.zeros(n, np.float32), 3, 6000).values.astype(np.float64)
    times = np.exp(-values)
    for i in range(3):
        steps = times[:, i] - (times[:, i - 1] if i else 0)
        rate = 1 - i / n
        # float32 values leave few digits in the differences of large times; none matter here.
        assert stats.kstest(steps * rate, "expon").pvalue > LEAST


def test_the_largest_value_says_nothing_about_the_index(stats, rng):
    x = rng.standard_normal(6)
    values, indices = draws(x, 1)
    large = values[:, 0] > 0.3665  # the median
    table = [np.bincount(indices[half, 0], minlength=6) for half in (large, ~large)]
    assert stats.chi2_contingency(table).pvalue > LEAST


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 17, 700, 3000])
def test_all_of_a_row(dtype, n, rng):
    x = (2 * rng.standard_normal((6, n))).astype(dtype)
    values, indices = fs.gumbel_topk(x, n, seed=1)
    assert (values.dtype, indices.dtype) == (dtype, np.int64)
    assert values.shape == indices.shape == (6, n)
    np.testing.assert_array_equal(np.sort(indices, -1), np.tile(np.arange(n), (6, 1)))
    assert (values[:, 1:] <= values[:, :-1]).all()
    for k in (0, 1, n // 2):
        part = fs.gumbel_topk(x, k, seed=1)
        assert part.values.shape == part.indices.shape == (6, k)
    np.testing.assert_array_equal(fs.gumbel_topk(x, 1, seed=1).indices[:, 0], indices[:, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [5, 700, 5000])
def test_the_first_is_what_sample_draws(dtype, n, rng):
    x = (2 * rng.standard_normal((90, n))).astype(dtype)
    where = rng.random(x.shape) < 0.7
    where[:, 1] = True
    ids = rng.integers(0, 2**64, (90, 1), dtype=np.uint64)
    options = {"temperature": 0.7, "where": where, "seed": 3, "position": 5, "row_ids": ids}
    first = fs.gumbel_topk(x, 3, **options).indices[:, 0]
    np.testing.assert_array_equal(first, fs.sample(x, **options))


def test_what_has_no_probability_comes_last(rng):
    x = rng.standard_normal((4, 40)).astype(np.float32)
    x[:, ::4] = -np.inf
    where = np.ones(x.shape, bool)
    where[:, 1::4] = False
    where[:, 4] = False
    values, indices = fs.gumbel_topk(x, 40, where=where, seed=2)
    impossible = [i for i in range(0, 40, 4) if i != 4]
    masked = sorted([4, *range(1, 40, 4)])
    for row in range(4):
        assert sorted(indices[row, :20].tolist()) == sorted([*range(2, 40, 4), *range(3, 40, 4)])
        assert np.isfinite(values[row, :20]).all()
        assert indices[row, 20:].tolist() == impossible + masked
        assert (values[row, 20:] == -np.inf).all()


@pytest.mark.parametrize("n", [4, 700])
def test_rows_without_a_softmax(n, rng):
    x = rng.standard_normal((5, n)).astype(np.float32)
    x[0, n // 2] = np.nan
    x[1, [0, n - 1]] = np.inf
    x[2] = -np.inf
    for k in (1, 3, n):
        values, indices = fs.gumbel_topk(x, k, seed=1)
        assert np.isnan(values[:3]).all()
        np.testing.assert_array_equal(indices[:3], fs.topk(x, k).indices[:3])
        assert np.isfinite(values[3:]).all()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layouts_threads_and_batches(axis, rng):
    x = rng.standard_normal((60, 50, 7)).astype(np.float32)
    rows = np.moveaxis(x, axis, -1).copy()
    expected = fs.gumbel_topk(rows, 5, seed=4)
    before = fs.isa_in_use()
    try:
        for isa in fs.isas_supported():
            fs.use_isa(isa)
            for view in (x, np.asfortranarray(x), x.astype(">f4")):
                for threads in (1, 3):
                    with fs.threads(threads):
                        result = fs.gumbel_topk(view, 5, axis, seed=4)
                    for a, b in zip(result, expected, strict=True):
                        assert a.flags.c_contiguous
                        assert np.moveaxis(a, axis, -1).tobytes() == b.tobytes()
    finally:
        fs.use_isa(before)
    alone = fs.gumbel_topk(rows[3, 4], 5, seed=4, row_ids=3 * rows.shape[1] + 4)
    assert alone.values.tobytes() == expected.values[3, 4].tobytes()
    np.testing.assert_array_equal(alone.indices, expected.indices[3, 4])


def test_results_are_of_the_kind_of_the_input(rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((3, 50)).astype(np.float32))
    for t in (x, x.bfloat16()):
        values, indices = fs.gumbel_topk(t, 3, seed=1)
        assert (values.dtype, indices.dtype) == (t.dtype, torch.int64)
    assert isinstance(fs.gumbel_topk(rng.standard_normal(4), 2), fs.GumbelTopK)


def test_errors():
    x = np.zeros((2, 5))
    with pytest.raises(ValueError, match="k is 6, but rows have only 5 elements"):
        fs.gumbel_topk(x, 6)
    with pytest.raises(ValueError, match="k must not be negative, got -1"):
        fs.gumbel_topk(x, -1)
    with pytest.raises(TypeError, match="k must be an int, not float"):
        fs.gumbel_topk(x, 2.0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        fs.gumbel_topk(x, 2, temperature=0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        fs.gumbel_topk(x, 2, temperature=[[1.0], [0.0]])
    with pytest.raises(TypeError, match="missing required argument 'k'"):
        fs.gumbel_topk(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'top_k'"):
        fs.gumbel_topk(x, 2, top_k=1)
