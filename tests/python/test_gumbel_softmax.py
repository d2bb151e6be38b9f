"""gumbel_softmax: its distribution, its gradient, and what it shares with softmax."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

LEAST = 1e-5
COUNT = 20_000


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")


def draws(x, temperature=1.0, count=COUNT, **options):
    return fs.gumbel_softmax(np.broadcast_to(x, (count, x.size)), temperature, seed=7, **options)


def noise(rows, n, dtype=np.float64, **options):
    """Noise of elements relative to that of the first, which is all that a softmax shows."""
    y = fs.gumbel_softmax(np.zeros((rows, n), dtype), 1.0, **options).astype(np.float64)
    return np.log(y) - np.log(y[:, :1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("n", [2, 6, 700])
def test_the_largest_follows_the_softmax(n, temperature, dtype, rng, sampling):
    """Whatever the temperature is, and the same element for all of them."""
    x = rng.standard_normal(n).astype(dtype)
    hard, soft = draws(x, temperature, hard=True, return_soft=True)
    index = hard.argmax(-1)
    assert sampling.p_value(index, sampling.filtered(x)) > LEAST
    np.testing.assert_array_equal(index, draws(x, 0.7, hard=True).argmax(-1))
    np.testing.assert_array_equal(np.sort(hard, -1)[:, -2:], np.tile([0, 1], (COUNT, 1)))
    np.testing.assert_array_equal(soft, draws(x, temperature))
    largest = np.take_along_axis(soft, index[:, None], -1)[:, 0]
    np.testing.assert_array_less(soft.max(-1), np.nextafter(largest, np.float16(2)))


def test_the_largest_over_several_blocks(sampling):
    x = np.full(5000, -40.0, np.float32)
    places = np.array([3, 900, 1100, 2600, 4999])
    x[places] = [0, 1, -1, 0.5, 2]
    drawn = draws(x, hard=True).argmax(-1)
    where = np.searchsorted(places, drawn)
    np.testing.assert_array_equal(places[where], drawn)
    assert sampling.p_value(where, sampling.filtered(x[places])) > LEAST


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_gumbel(dtype, stats):
    """g = -log E for exponential E: a softmax shows E / E_0, and E_0 follows from their mean."""
    z = noise(40, 50_001, dtype, seed=3)[:, 1:]
    ratio = np.exp(-z)
    exponential = ratio / ratio.mean(-1, keepdims=True)
    for row in exponential[:8]:
        assert stats.kstest(row, "expon").pvalue > LEAST
    together = -np.log(exponential.ravel())
    assert abs(together.mean() - np.euler_gamma) < 5e-3
    assert abs(together.var() - np.pi**2 / 6) < 1e-2
    pairs = z[:, 0::2] - z[:, 1::2]
    assert stats.kstest(pairs.ravel()[:200_000], "logistic").pvalue > LEAST


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_tails(dtype, stats):
    """Counts beyond what 12, 16 and 20 bits of a uniform number can tell apart."""
    z = noise(16, 1 << 20, dtype, seed=4)
    ratio = np.exp(-z)
    exponential = np.sort((ratio / ratio[:, 1:].mean(-1, keepdims=True))[:, 1:].ravel())
    size = exponential.size
    for bits in (12, 16, 20):
        p = 2.0**-bits
        small = int(np.searchsorted(exponential, -np.log1p(-p)))
        large = size - int(np.searchsorted(exponential, -np.log(p)))
        for found in (small, large):
            assert stats.binomtest(found, size, p).pvalue > LEAST
    # Nothing is coarse out there: the least 1000 are all different, and uniform.
    least = exponential[:1000]
    assert np.unique(least).size > 990
    assert stats.kstest(least / least[-1], "uniform").pvalue > LEAST


@pytest.mark.parametrize("by", ["row_ids", "position", "seed"])
def test_neighbours_are_independent(by, stats):
    """Noise of the same elements under consecutive seeds, positions and row ids."""
    count, n = 3000, 7
    numbers = {"seed": 9, "position": 0, "row_ids": np.zeros((count, 1), np.int64)}
    numbers[by] = np.arange(count)[:, None]
    z = noise(count, n, **numbers)[:, 1:]
    for distance in (1, 2, 8, 256):
        for a, b in ((0, 0), (0, 1), (2, 4)):
            found = stats.spearmanr(
                z[:-distance, a] - z[:-distance, 5], z[distance:, b] - z[distance:, 5]
            )
            assert found.pvalue > LEAST
    seen = {z[i].tobytes() for i in range(count)}
    assert len(seen) == count


def test_elements_of_a_row_are_independent(stats):
    """At distances that share words, draws and groups of the generator."""
    z = noise(1, 1 << 18, seed=2)[0]
    for distance in (1, 2, 3, 15, 16, 17, 32, 48, 63, 64, 65, 1024, 4096):
        steps = z[: 1 << 17] - z[1 << 17 :]
        assert stats.spearmanr(steps[:-distance], steps[distance:]).pvalue > LEAST


def test_draws_are_not_those_of_sample(stats, rng):
    """The same seed gives sample, gumbel_topk and gumbel_softmax independent numbers."""
    x = rng.standard_normal(4).astype(np.float32)
    rows = np.broadcast_to(x, (COUNT, 4))
    index = draws(x, hard=True).argmax(-1)
    for other in (fs.sample(rows, seed=7), fs.gumbel_topk(rows, 1, seed=7).indices[:, 0]):
        table = np.bincount(4 * index + other, minlength=16).reshape(4, 4)
        assert stats.chi2_contingency(table).pvalue > LEAST


@pytest.mark.parametrize("n", [3, 70, 5000])
def test_types_see_the_same_noise(n, dtype, rng):
    x = rng.integers(-3, 4, (30, n)).astype(dtype)
    y = fs.gumbel_softmax(x, 0.5, seed=5)
    assert y.dtype == dtype
    exact = fs.gumbel_softmax(x.astype(np.float64), 0.5, seed=5)
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[np.dtype(dtype).name]
    tolerance = {"rtol": 2.0**-bits + 2.0**-16, "atol": 2.0**-24}
    np.testing.assert_allclose(y.astype(np.float64), exact, **tolerance)
    hard = fs.gumbel_softmax(x, 0.5, seed=5, hard=True)
    same = hard.astype(np.float64).argmax(-1) == exact.argmax(-1)
    assert same.mean() > 0.9


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layouts_threads_and_instruction_sets(axis, dtype, rng):
    x = rng.standard_normal((60, 50, 70)).astype(dtype)
    rows = np.moveaxis(x, axis, -1).copy()
    before = fs.isa_in_use()
    for hard in (False, True):
        expected = fs.gumbel_softmax(rows, 0.7, seed=4, hard=hard)
        views = [x, np.asfortranarray(x), np.repeat(x, 2, 2)[:, :, ::2], x[::-1].copy()[::-1]]
        if dtype.kind == "f":
            views.append(x.astype(x.dtype.newbyteorder()))
        try:
            for isa in fs.isas_supported():
                fs.use_isa(isa)
                for view in views:
                    for threads in (1, 3):
                        with fs.threads(threads):
                            y = fs.gumbel_softmax(view, 0.7, seed=4, hard=hard, axis=axis)
                        assert np.moveaxis(y, axis, -1).tobytes() == expected.tobytes()
                        assert y.strides == view.astype(dtype, order="K").strides
        finally:
            fs.use_isa(before)
        alone = fs.gumbel_softmax(rows[3, 4], 0.7, seed=4, hard=hard, row_ids=3 * rows.shape[1] + 4)
        assert alone.tobytes() == expected[3, 4].tobytes()


@pytest.mark.parametrize("n", [1, 5, 64, 1025, 3000])
@pytest.mark.parametrize("hard", [False, True])
def test_batchmates_change_nothing(n, hard, dtype, rng):
    x = (2 * rng.standard_normal((70, n))).astype(dtype)
    x[5, n // 2] = np.nan
    x[6] = -np.inf
    x[7] = 5e4
    where = rng.random((70, n)) < 0.8
    temperature = rng.uniform(0.3, 2, (70, 1))
    together = fs.gumbel_softmax(x, temperature, seed=3, hard=hard, where=where)
    for i in (0, 1, 5, 6, 7, 8, 69):
        alone = fs.gumbel_softmax(
            x[i], temperature[i], seed=3, hard=hard, where=where[i], row_ids=i
        )
        assert alone.tobytes() == together[i].tobytes()
    order = rng.permutation(70)[:40]
    shuffled = fs.gumbel_softmax(
        x[order], temperature[order], seed=3, hard=hard, where=where[order], row_ids=order[:, None]
    )
    assert shuffled.tobytes() == together[order].tobytes()


def test_gradient_is_that_of_softmax(rng):
    """Against autograd in float64 through the same noise."""
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((5, 40))
    temperature = 0.6
    grad = rng.standard_normal((5, 40))
    y = fs.gumbel_softmax(x, temperature, seed=8)
    g = noise(5, 40, seed=8)
    t = torch.from_numpy(x).requires_grad_()
    expected = torch.softmax((t + torch.from_numpy(g)) / temperature, -1)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-13)
    (expected * torch.from_numpy(grad)).sum().backward()
    found = fs.softmax_backward(grad, y, temperature=temperature)
    np.testing.assert_allclose(found, t.grad.numpy(), rtol=1e-10, atol=1e-13)
    # The straight-through estimator of PyTorch has that gradient too, from the soft y.
    hard, soft = fs.gumbel_softmax(x, temperature, hard=True, seed=8, return_soft=True)
    assert soft.tobytes() == y.tobytes()
    t.grad = None
    soft_t = torch.softmax((t + torch.from_numpy(g)) / temperature, -1)
    one_hot = torch.zeros_like(soft_t).scatter_(-1, soft_t.argmax(-1, keepdim=True), 1.0)
    through = one_hot - soft_t.detach() + soft_t
    np.testing.assert_allclose(hard, through.detach().numpy(), atol=1e-15)
    (through * torch.from_numpy(grad)).sum().backward()
    np.testing.assert_allclose(found, t.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_gradient_by_finite_differences(rng):
    x = rng.standard_normal(12)
    grad = rng.standard_normal(12)
    y = fs.gumbel_softmax(x, 0.8, seed=1)
    found = fs.softmax_backward(grad, y, temperature=0.8)
    for i in range(12):
        step = np.zeros(12)
        step[i] = 1e-6
        up, down = (fs.gumbel_softmax(x + s, 0.8, seed=1) for s in (step, -step))
        np.testing.assert_allclose((grad * (up - down)).sum() / 2e-6, found[i], atol=1e-9)


def test_temperatures_have_limits(rng):
    x = rng.standard_normal((50, 9))
    cold = fs.gumbel_softmax(x, 1e-4, seed=2)
    np.testing.assert_allclose(cold, fs.gumbel_softmax(x, 1.0, seed=2, hard=True), atol=1e-6)
    np.testing.assert_allclose(fs.gumbel_softmax(x, 1e6, seed=2), 1 / 9, rtol=1e-4)


@pytest.mark.parametrize("empty", ["nan", "zero"])
@pytest.mark.parametrize("n", [4, 70, 3000])
def test_special_values(n, empty, dtype, rng):
    x = rng.standard_normal((6, n)).astype(dtype)
    x[0, n // 2] = np.nan
    x[1, [0, n - 1]] = np.inf
    x[2] = -np.inf
    x[3, 1:] = -np.inf
    where = np.ones(x.shape, bool)
    where[4] = False
    where[5, 1] = False
    x[5, 1] = np.nan
    hard, soft = fs.gumbel_softmax(
        x, 0.5, hard=True, seed=1, where=where, empty=empty, return_soft=True
    )
    for y in (hard.astype(np.float64), soft.astype(np.float64)):
        assert np.isnan(y[:2]).all()
        nothing = np.zeros(n) if empty == "zero" else np.full(n, np.nan)
        np.testing.assert_array_equal(y[2], nothing)
        np.testing.assert_array_equal(y[3], np.arange(n) == 0)
        np.testing.assert_array_equal(y[4], nothing)
        assert y[5, 1] == 0
        assert abs(y[5].sum() - 1) < 0.05


@pytest.mark.parametrize("n", [4, 3000])
def test_scores_outside_the_domain_of_the_exponential(n, rng):
    x = (1e6 * rng.standard_normal((8, n))).astype(np.float32)
    x[:, n // 2] = 1e7
    x[4:] = -1e30
    hard, soft = fs.gumbel_softmax(x, 1.0, hard=True, seed=1, return_soft=True)
    assert (hard[:4, n // 2] == 1).all()
    assert (soft[:4, n // 2] == 1).all()
    # Noise is lost beside such scores, and all are equal.
    np.testing.assert_allclose(soft[4:], 1 / n, rtol=1e-6)
    assert (hard[4:, 0] == 1).all()
    in_place = x.copy()
    fs.gumbel_softmax(in_place, 1.0, seed=1, out=in_place)
    assert in_place.tobytes() == soft.tobytes()


@pytest.mark.parametrize("n", [4, 70, 1024, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hard_where_the_quotient_overflows(n, dtype):
    """One-hot rows of the largest score, of rows that have no soft ones."""
    most = np.finfo(dtype).max
    x = np.zeros((4, n), dtype)
    x[0, 2] = most
    x[1, [2, n - 1]] = most / 2, most
    x[2] = -most
    x[3, n - 1] = 1e3
    options = {"temperature": 1e-300 if dtype == np.float64 else 1e-37, "seed": 1, "hard": True}
    hard, soft = fs.gumbel_softmax(x, return_soft=True, **options)
    np.testing.assert_array_equal(hard.argmax(-1), [2, n - 1, 0, n - 1])
    np.testing.assert_array_equal(np.sort(hard, -1)[:, -2:], [[0, 1]] * 4)
    assert np.isnan(soft[:3]).all()
    for other in (
        fs.gumbel_softmax(x, **options),
        fs.gumbel_softmax(x, **(options | {"temperature": 1.0})),
        fs.gumbel_softmax(x.T.copy(), axis=0, **options).T,
    ):
        np.testing.assert_array_equal(other, hard)


@pytest.mark.parametrize("n", range(0, 301, 7))
def test_every_length(n, rng):
    x = rng.standard_normal((4, n)).astype(np.float32)
    y = fs.gumbel_softmax(x, 0.9, seed=1)
    longer = fs.gumbel_softmax(np.pad(x, ((0, 0), (0, 5)), constant_values=-np.inf), 0.9, seed=1)
    np.testing.assert_allclose(y, longer[:, :n], rtol=1e-6)
    assert (longer[:, n:] == 0).all() or n == 0


@pytest.mark.parametrize("hard", [False, True])
def test_out(hard, rng):
    x = rng.standard_normal((40, 2000)).astype(np.float32)
    expected = fs.gumbel_softmax(x, 0.5, seed=1, hard=hard)
    for out in (
        np.empty_like(x),
        np.empty((2000, 40), np.float32).T,
        np.empty((80, 4000), np.float32)[::2, ::2],
        np.empty(x.shape, ">f4"),
    ):
        assert fs.gumbel_softmax(x, 0.5, seed=1, hard=hard, out=out) is out
        np.testing.assert_array_equal(out, expected)
    memory = np.empty(x.size + 7, np.float32)
    for source, out in ((memory[:-7], memory[:-7]), (memory[:-7], memory[7:])):
        source[:] = x.ravel()
        out = out.reshape(x.shape)
        fs.gumbel_softmax(source.reshape(x.shape), 0.5, seed=1, hard=hard, out=out)
        np.testing.assert_array_equal(out, expected)


def test_seeds():
    x = np.zeros((3, 50))
    first = fs.gumbel_softmax(x, 1.0, seed=np.random.default_rng(3))
    generator = np.random.default_rng(3)
    assert fs.gumbel_softmax(x, 1.0, seed=generator).tobytes() == first.tobytes()
    assert fs.gumbel_softmax(x, 1.0, seed=generator).tobytes() != first.tobytes()
    assert fs.gumbel_softmax(x, 1.0).tobytes() != fs.gumbel_softmax(x, 1.0).tobytes()
    by_row = fs.gumbel_softmax(x, 1.0, seed=[[5], [6], [5]], row_ids=[[0], [0], [0]])
    np.testing.assert_array_equal(by_row[0], by_row[2])
    assert (by_row[0] != by_row[1]).any()
    other = np.random.default_rng(3)
    with pytest.raises(TypeError):
        fs.gumbel_softmax(x, 1.0, seed=other, position=0.5)
    assert other.integers(1 << 60) == np.random.default_rng(3).integers(1 << 60)


def test_results_are_of_the_kind_of_the_input(rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((3, 50)).astype(np.float32))
    for t in (x, x.bfloat16()):
        for y in fs.gumbel_softmax(t, 0.5, seed=1, hard=True, return_soft=True):
            assert isinstance(y, torch.Tensor)
            assert (y.dtype, y.shape) == (t.dtype, t.shape)
    result = fs.gumbel_softmax([0, 1], 0.5, hard=True, return_soft=True)
    assert isinstance(result, fs.GumbelSoftmax)
    assert result.hard.dtype == np.float64
    assert fs.gumbel_softmax(np.zeros(3), 0.5, dtype=np.float32).dtype == np.float32


def test_errors():
    x = np.zeros((2, 5))
    for temperature in (0, -1.0, np.inf, np.nan, [[1.0], [0.0]]):
        with pytest.raises(ValueError, match="temperature must be positive"):
            fs.gumbel_softmax(x, temperature)
    with pytest.raises(TypeError, match="missing required argument 'temperature'"):
        fs.gumbel_softmax(x)
    with pytest.raises(ValueError, match="return_soft is for hard=True"):
        fs.gumbel_softmax(x, 1.0, return_soft=True)
    with pytest.raises(TypeError, match="axis must be an int, not tuple"):
        fs.gumbel_softmax(x, 1.0, axis=(0, 1))
    with pytest.raises(TypeError, match="axis must be an int, not NoneType"):
        fs.gumbel_softmax(x, 1.0, axis=None)
    with pytest.raises(np.exceptions.AxisError):
        fs.gumbel_softmax(x, 1.0, axis=2)
    with pytest.raises(np.exceptions.AxisError):
        fs.gumbel_softmax(1.0, 1.0)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        fs.gumbel_softmax(x, 1.0, seed=-1)
    with pytest.raises(ValueError, match="position must be below"):
        fs.gumbel_softmax(x, 1.0, position=2**32)
    with pytest.raises(ValueError, match="row_ids"):
        fs.gumbel_softmax(x, 1.0, row_ids=[[1], [2], [3]])
    with pytest.raises(TypeError, match="logits"):
        fs.gumbel_softmax(np.zeros(3, complex), 1.0)
    with pytest.raises(TypeError, match="out must have dtype float64"):
        fs.gumbel_softmax(x, 1.0, out=np.empty((2, 5), np.float32))
    ids = np.zeros((2, 8))
    with pytest.raises(ValueError, match="overlaps"):
        fs.gumbel_softmax(x, 1.0, row_ids=ids.view(np.uint64)[:, :1], out=ids[:, :5])
