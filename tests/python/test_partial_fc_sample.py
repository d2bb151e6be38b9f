"""Samples of Partial FC: what is in them, and how probable that is."""

from __future__ import annotations

import itertools
import math

import fastsoftmax as fs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

TARGETS = [0, 1, 4]


@given(
    st.lists(st.integers(0, 299), max_size=60),
    st.integers(300, 10**5),
    st.floats(1e-6, 1.0),
    st.integers(0, 2**64 - 1),
)
def test_samples_have_all_targets_and_the_size_asked_for(targets, classes, rate, seed):
    targets = [*targets, -100]
    sample = fs.partial_fc_sample(targets, classes, rate, seed=seed)
    positives = set(targets) - {-100}
    size = max(math.floor(rate * classes + 0.5), len(positives))
    ids = sample.ids
    assert len(ids) == size
    assert (np.diff(ids) > 0).all()
    assert size == 0 or (ids[0] >= 0 and ids[-1] < classes)
    assert positives <= set(ids.tolist())
    assert sample.remapped_targets[-1] == -1
    np.testing.assert_array_equal(ids[sample.remapped_targets[:-1]], targets[:-1])
    drawn = size - len(positives)
    expected = np.full(size, math.log(drawn / (classes - len(positives))) if drawn else 0.0)
    expected[np.isin(ids, targets)] = 0.0
    np.testing.assert_allclose(sample.log_correction, expected, rtol=1e-15, atol=1e-15)
    again = fs.partial_fc_sample(targets, classes, rate, seed=seed)
    np.testing.assert_array_equal(again.ids, ids)


def test_every_subset_of_negatives_is_as_probable():
    """Sizes below and above one half: chosen are drawn, or those that are left out."""
    stats = pytest.importorskip("scipy.stats")
    for rate in (3 / 7, 5 / 7):
        drawn = round(7 * rate) - 1
        counts = dict.fromkeys(itertools.combinations((0, 1, 3, 4, 5, 6), drawn), 0)
        for seed in range(6000):
            ids = fs.partial_fc_sample([2, 2], 7, rate, seed=seed).ids
            counts[tuple(ids[ids != 2].tolist())] += 1
        assert stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize(
    ("classes", "rate", "seeds"), [(10, 0.4, 3000), (1000, 0.3, 300), (10**6, 1e-3, 40)]
)
@pytest.mark.parametrize("left_out", [False, True])
def test_inclusion_probabilities(classes, rate, seeds, left_out):
    """Chi-square of how often classes, or runs of them, are in samples."""
    stats = pytest.importorskip("scipy.stats")
    if left_out and classes == 10**6:
        seeds = 2
    rate = 1 - rate if left_out else rate
    bins = min(classes, 100)
    counts = np.zeros(bins)
    sizes = np.full(bins, classes // bins)
    sizes[0] -= 1  # the target
    for position in range(seeds):
        ids = fs.partial_fc_sample([0], classes, rate, seed=7, position=position).ids
        counts += np.bincount(ids[1:] * bins // classes, minlength=bins)
    q = (round(rate * classes) - 1) / (classes - 1)
    expected = seeds * sizes * q
    kept = sizes > 0
    # Draws without replacement: variances are those of binomials times (1 - q), but for one degree
    # of freedom.
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum() / (1 - q)
    statistic *= (classes - 2) / (classes - 1)
    assert 1e-4 < stats.chi2(kept.sum() - 1).cdf(statistic) < 1 - 1e-4


def test_a_generator_seeds():
    first, second = (
        fs.partial_fc_sample([1], 1000, 0.1, seed=np.random.default_rng(s)).ids for s in (1, 1)
    )
    np.testing.assert_array_equal(first, second)
    other = fs.partial_fc_sample([1], 1000, 0.1).ids
    assert other.tolist() != fs.partial_fc_sample([1], 1000, 0.1).ids.tolist()
    moved = fs.partial_fc_sample([1], 1000, 0.1, seed=1, position=1).ids
    assert moved.tolist() != fs.partial_fc_sample([1], 1000, 0.1, seed=1).ids.tolist()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((TARGETS, 5, 0.0), {}, ValueError, "rate must be positive and at most 1, got 0"),
        ((TARGETS, 5, 1.5), {}, ValueError, "rate"),
        ((TARGETS, 5, math.nan), {}, ValueError, "rate"),
        ((TARGETS, 5, "all"), {}, TypeError, "rate"),
        ((TARGETS, 0, 0.5), {}, ValueError, "number of classes must be from 1"),
        ((TARGETS, 2**32, 0.5), {}, ValueError, "number of classes"),
        ((TARGETS, 5.0, 0.5), {}, TypeError, "V"),
        (([0, 5], 5, 0.5), {}, IndexError, "target 5 of row 1 is out of bounds for classes 0 to 4"),
        (([0, -1], 5, 0.5), {}, IndexError, "target -1 of row 1"),
        (([[0]], 5, 0.5), {}, ValueError, "1 dimension"),
        (([0.5], 5, 0.5), {}, TypeError, "targets"),
        ((None, 5, 0.5), {}, TypeError, "targets must be integers, not None"),
        (([2**63, 1], 5, 0.5), {}, ValueError, "targets must fit in 64 bits"),
        ((TARGETS, 5, 0.5), {"seed": -1}, ValueError, "seed"),
        ((TARGETS, 5, 0.5), {"seed": [1]}, TypeError, "seed must be an int"),
        ((TARGETS, 5, 0.5), {"position": 2**32}, ValueError, "position"),
        ((TARGETS, 5, 0.5), {"vocab_start": -1}, ValueError, "vocab_start"),
        ((TARGETS, 5, 0.5), {"vocab_start": 1}, IndexError, "target 0 of row 0"),
        ((TARGETS, 5, 0.5), {"vocab_size": 4}, ValueError, "vocab_size"),
    ],
)
def test_bad_arguments_of_samples(arguments, options, error, message):
    with pytest.raises(error, match=message):
        fs.partial_fc_sample(*arguments, **options)
