"""The random numbers of sample: fair to the last token, independent, and each row's own."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

LEAST = 1e-5
FILTERS = [{}, {"top_k": 30}, {"top_p": 0.9}, {"typical_p": 0.8}, {"min_p": 0.02}]


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats")


def draws(x, count, by="row", first=0):
    """Draw `count` times from one row, with everything but one number kept."""
    rows = np.broadcast_to(x, (count, x.size))
    numbers = {"seed": 9, "position": 0, "row_ids": np.zeros((count, 1), np.int64)}
    name = {"row": "row_ids"}.get(by, by)
    numbers[name] = (np.uint64(first) + np.arange(count, dtype=np.uint64))[:, None]
    return fs.sample(rows, **numbers)


@pytest.fixture(scope="module")
def zipf():
    x = -np.log(np.arange(1.0, 262_145)).astype(np.float32)
    return np.random.default_rng(1).permutation(x)


@pytest.mark.parametrize("by", ["row", "position", "seed"])
def test_zipf_tails(zipf, by, sampling, stats):
    count = 4000
    drawn = draws(zipf, count, by)
    p = np.exp(zipf.astype(np.float64))
    p /= p.sum()
    assert sampling.p_value(drawn, p) > LEAST
    # By rank too, spread evenly over the mass of its token: uniform if the draws are right.
    start = np.concatenate([[0], np.cumsum(np.sort(p)[::-1])])
    rank = np.argsort(np.argsort(-p))[drawn]
    u = start[rank] + np.random.default_rng(2).random(count) * (start[rank + 1] - start[rank])
    assert stats.kstest(u, "uniform").pvalue > LEAST
    tail = p < np.sort(p)[-100_000]
    found = int(tail[drawn].sum())
    assert found > 200
    assert stats.binomtest(found, count, p[tail].sum()).pvalue > LEAST


def test_every_token_of_a_vocabulary_can_be_reached(stats):
    """Low bits of the index are as fair as high ones, also where all tokens are equal."""
    drawn = draws(np.zeros(262_144, np.float32), 6000)
    for shift in (0, 6, 12):
        counts = np.bincount((drawn >> shift) % 64, minlength=64)
        assert stats.chisquare(counts).pvalue > LEAST
    # 6,000 of 262,144: so many different ones, give or take four standard deviations.
    expected = 262_144 * (1 - np.exp(-6000 / 262_144))
    assert abs(np.unique(drawn).size - expected) < 4 * np.sqrt(6000**2 / 262_144)


def test_a_token_of_one_in_a_million(stats):
    """A rare one in the same block as a sure one, and one in another block."""
    for place in (3, 3000):
        x = np.full(4000, -np.inf, np.float32)
        x[1] = 0
        x[place] = np.log(1e-3)
        count = 60_000
        found = int((draws(x, count) == place).sum())
        assert stats.binomtest(found, count, 1e-3 / 1.001).pvalue > LEAST


@pytest.mark.parametrize("by", ["row", "position", "seed"])
@pytest.mark.parametrize("n", [8, 3000])
def test_neighbours_are_independent(by, n, rng, stats):
    """Consecutive seeds, positions and row ids: pairs at several distances, by contingency."""
    x = rng.standard_normal(n).astype(np.float32)
    order = np.argsort(x)
    share = np.cumsum(fs.softmax(x.astype(np.float64))[order])
    group = np.empty(n, int)
    group[order] = np.arange(n) if n == 8 else np.minimum((share * 8).astype(int), 7)
    groups = group[draws(x, 16_384, by)]
    for distance in (1, 2, 3, 8, 256):
        pairs = np.bincount(8 * groups[:-distance] + groups[distance:], minlength=64)
        assert stats.chi2_contingency(pairs.reshape(8, 8)).pvalue > LEAST


def test_seed_position_and_row_are_three_different_things():
    """No two of them stand for each other, as they would if they were added up."""
    x = np.zeros(1 << 16, np.float32)
    grid = np.array(
        [
            fs.sample(np.broadcast_to(x, (4, x.size)), seed=seed, position=position).tolist()
            for seed in (0, 1, 2, 2**32, 2**63)
            for position in (0, 1, 2, 2**31)
        ]
    )
    # 80 of 65,536: one coincidence is not rare, ten are impossible.
    assert np.unique(grid).size > 75


@pytest.mark.parametrize("options", FILTERS, ids=str)
@pytest.mark.parametrize("n", [50, 1500])
def test_batchmates_change_nothing(options, n, rng):
    x = (2 * rng.standard_normal((70, n))).astype(np.float32)
    x[5, 7] = np.nan
    x[6] = -np.inf
    x[7] = 1e30 * x[8]
    together = fs.sample(x, seed=3, return_logprobs=True, **options)
    for i in (0, 1, 5, 6, 7, 8, 69):
        alone = fs.sample(x[i], seed=3, row_ids=i, return_logprobs=True, **options)
        assert alone.indices == together.indices[i]
        assert alone.logprobs.tobytes() == together.logprobs[i].tobytes()
    order = rng.permutation(70)[:40]
    shuffled = fs.sample(x[order], seed=3, row_ids=order[:, None], **options)
    np.testing.assert_array_equal(shuffled, together.indices[order])


@pytest.mark.parametrize("options", FILTERS, ids=str)
@pytest.mark.parametrize("shape", [(60, 1100), (2, 300_000), (1000, 17)])
def test_threads_and_instruction_sets_change_nothing(options, shape, rng):
    x = (2 * rng.standard_normal(shape)).astype(np.float32)
    results = []
    before = fs.isa_in_use()
    try:
        for isa in fs.isas_supported():
            fs.use_isa(isa)
            for threads in (1, 2, 5):
                with fs.threads(threads):
                    drawn = fs.sample(x, seed=11, return_logprobs=True, **options)
                    results.append(drawn.indices.tobytes() + drawn.logprobs.tobytes())
                    results[-1] += fs.sample(x.T, 0, seed=11, **options).tobytes()
    finally:
        fs.use_isa(before)
    assert len(set(results)) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_instruction_sets_agree_on_other_types(dtype, rng):
    x = (2 * rng.standard_normal((40, 2500))).astype(dtype)
    before = fs.isa_in_use()
    found = set()
    try:
        for isa in fs.isas_supported():
            fs.use_isa(isa)
            drawn = [fs.sample(x, seed=1, **options) for options in FILTERS]
            found.add(np.array(drawn).tobytes())
    finally:
        fs.use_isa(before)
    assert len(found) == 1
