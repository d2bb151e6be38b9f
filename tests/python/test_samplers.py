"""Samplers: distributions, inclusion probabilities without replacement, repeatability, errors."""

from __future__ import annotations

import copy
import itertools
import pickle

import fastsoftmax as fs
import numpy as np
import pytest


def zipf_counts(V):  # noqa: N803
    return 1 + 10**9 // np.arange(1, V + 1)


SAMPLERS = {
    "uniform": fs.UniformSampler,
    "log-uniform": fs.LogUniformSampler,
    "unigram": lambda classes: fs.UnigramSampler(zipf_counts(classes)),
}


@pytest.fixture(params=SAMPLERS)
def sampler_of(request):
    return SAMPLERS[request.param]


def probabilities(sampler):
    return np.exp(sampler.log_prob(np.arange(sampler.num_classes)))


@pytest.mark.parametrize("V", [1, 2, 10, 1000, 10**6])
def test_probabilities(V):  # noqa: N803
    i = np.arange(V)
    expected = {
        "uniform": np.full(V, 1 / V),
        "log-uniform": np.log1p(1 / (i + 1)) / np.log(V + 1),
        "unigram": zipf_counts(V) ** 0.75 / (zipf_counts(V) ** 0.75).sum(),
    }
    for name, make in SAMPLERS.items():
        p = probabilities(make(V))
        np.testing.assert_allclose(p, expected[name], rtol=1e-13)
        assert abs(p.sum() - 1) < 1e-12


@pytest.mark.parametrize("V", [10, 1000, 10**6])
def test_draws_with_replacement(sampler_of, sampling, V):  # noqa: N803
    sampler = sampler_of(V)
    drawn = sampler.sample(10**6, seed=5)
    p = probabilities(sampler)
    assert sampling.p_value(drawn.ids, p) > 1e-3
    np.testing.assert_allclose(drawn.log_expected_count, np.log(1e6 * p[drawn.ids]), atol=1e-12)
    np.testing.assert_array_equal(drawn.log_expected_count_of(drawn.ids), drawn.log_expected_count)


@pytest.mark.parametrize("V", [10, 1000, 10**6])
def test_first_draws_without_replacement(sampler_of, sampling, V):  # noqa: N803
    sampler = sampler_of(V)
    first = [sampler.sample(3, unique=True, seed=6, position=i).ids[0] for i in range(20000)]
    assert sampling.p_value(np.array(first), probabilities(sampler)) > 1e-3


def ordered(p, n):
    """Probabilities of successive sampling, by ordered choice."""
    for choice in itertools.permutations(range(len(p)), n):
        left, probability = 1.0, 1.0
        for i in choice:
            probability *= p[i] / left
            left -= p[i]
        yield choice, probability


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_order_without_replacement(sampler_of, sampling, n):
    sampler = sampler_of(5)
    choices, expected = zip(*ordered(probabilities(sampler), n), strict=True)
    number = {choice: i for i, choice in enumerate(choices)}
    drawn = [
        number[tuple(sampler.sample(n, unique=True, seed=7, position=i).ids.tolist())]
        for i in range(20000)
    ]
    assert sampling.p_value(np.array(drawn), np.array(expected)) > 1e-3


SKEWED = np.array([10**15, 10**8, 400, 100, 90, 1, 0, 3 * 10**14])


@pytest.mark.parametrize(
    ("make", "n"),
    [
        *itertools.product([lambda: fs.UnigramSampler(SKEWED, 1.0)], [1, 2, 3, 6]),
        (lambda: fs.UnigramSampler(SKEWED, 0.1), 4),
        (lambda: fs.LogUniformSampler(30), 10),
        (lambda: fs.UniformSampler(30), 10),
        (lambda: fs.UniformSampler(7), 5),
    ],
)
def test_expected_counts_without_replacement(make, n):
    """1 / P(i in sample) makes every class count 1 on average, and P is right on average."""
    sampler = make()
    p = probabilities(sampler)
    V, repetitions = len(p), 20000  # noqa: N806
    weights, within, reported = np.zeros(V), np.zeros(V), np.zeros(V)
    squares, gaps = np.zeros(V), np.zeros(V)
    for i in range(repetitions):
        drawn = sampler.sample(n, unique=True, seed=8, position=i)
        weight = np.zeros(V)
        weight[drawn.ids] = np.exp(-drawn.log_expected_count)
        inside = np.zeros(V)
        inside[drawn.ids] = 1.0
        inclusion = np.exp(drawn.log_expected_count_of(np.arange(V)))
        np.testing.assert_array_equal(
            drawn.log_expected_count_of(drawn.ids), drawn.log_expected_count
        )
        weights += weight
        squares += weight**2
        within += inside
        reported += inclusion
        gaps += (inside - inclusion) ** 2
    mean = weights / repetitions
    error = np.sqrt(np.maximum(squares / repetitions - mean**2, 0) / repetitions)
    # Classes that are hardly ever drawn have weights whose mean is that of a few large ones.
    common = within > 200
    assert common.sum() >= n
    assert (np.abs(mean - 1) <= 4.5 * error + 1e-9)[common].all()
    spread = np.sqrt(np.where(common, gaps, reported))
    assert (np.abs(within - reported) <= 4.5 * spread + 1e-5).all()
    assert (reported[p == 0] == 0).all()


def test_all_classes(sampler_of):
    for V in (1, 2, 30, 3000):  # noqa: N806
        drawn = sampler_of(V).sample(V, unique=True, seed=1)
        assert sorted(drawn.ids.tolist()) == list(range(V))
        assert (drawn.log_expected_count == 0).all()


@pytest.mark.parametrize("n", [0, 1, 7, 100, 499, 500, 501, 990])
def test_classes_are_distinct(sampler_of, n):
    drawn = sampler_of(1000).sample(n, unique=True, seed=3)
    assert len(set(drawn.ids.tolist())) == len(drawn) == n
    assert (drawn.log_expected_count <= 0).all()


def test_uniform_inclusion_is_known_exactly():
    for n in (3, 800):
        drawn = fs.UniformSampler(1000).sample(n, unique=True, seed=3)
        np.testing.assert_allclose(drawn.log_expected_count, np.log(n / 1000), rtol=1e-14)


def test_few_of_very_many_classes():
    ids, _ = fs.UniformSampler(2**32 - 1).sample(2000, unique=True, seed=2)
    assert len(set(ids.tolist())) == 2000
    assert ids.min() >= 0
    assert 2**31 < ids.max() < 2**32 - 1
    ids, _ = fs.LogUniformSampler(2**32 - 1).sample(2000, unique=True, seed=2)
    assert len(set(ids.tolist())) == 2000


def test_samples_repeat_themselves(sampler_of):
    sampler = sampler_of(500)
    for unique in (False, True):
        ids, expected = sampler.sample(50, unique=unique, seed=4, position=9)
        again = sampler_of(500).sample(50, unique=unique, seed=4, position=9)
        np.testing.assert_array_equal(ids, again.ids)
        assert expected.tobytes() == again.log_expected_count.tobytes()
        longer = sampler.sample(60, unique=unique, seed=4, position=9)
        np.testing.assert_array_equal(ids, longer.ids[:50])
        for seed, position in ((5, 9), (4, 10), (2**40 + 4, 9)):
            other = sampler.sample(50, unique=unique, seed=seed, position=position)
            assert (ids != other.ids).any()
        assert (sampler.sample(50).ids != sampler.sample(50).ids).any()
    with fs.threads(4):
        np.testing.assert_array_equal(
            sampler.sample(50, unique=True, seed=4, position=9).ids, again.ids
        )


def test_a_generator_as_seed():
    sampler = fs.UniformSampler(10**6)
    one, two = (sampler.sample(9, seed=np.random.default_rng(3)).ids for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_unigram_counts(sampling):
    counts = np.array([0, 2**62, 5, 2**61, 0, 2**60], np.uint64)
    sampler = fs.UnigramSampler(counts, power=1.0, reserved=[3])
    weights = np.array([0, 4, 5 * 2.0**-60, 0, 0, 1])
    with np.errstate(divide="ignore"):
        expected = np.log(weights / weights.sum())
    np.testing.assert_allclose(sampler.log_prob(range(6)), expected, rtol=1e-13)
    assert sampling.p_value(sampler.sample(10**5, seed=1).ids, weights / weights.sum()) > 1e-3
    assert sorted(sampler.sample(3, unique=True, seed=1).ids.tolist()) == [1, 2, 5]
    with pytest.raises(ValueError, match="n is 4, but only 3 classes"):
        sampler.sample(4, unique=True)
    same = fs.UnigramSampler(counts, power=0)
    np.testing.assert_allclose(same.log_prob([1, 2, 3, 5]), -np.log(4))
    assert np.isneginf(same.log_prob([[0, 4]])).all()


def test_update():
    sampler = fs.UnigramSampler([1, 1], reserved=[0])
    old = sampler.sample(3, seed=1)
    sampler.update([5, 1, 1])
    assert (sampler.num_classes, sampler.log_prob(0)) == (3, -np.inf)
    np.testing.assert_allclose(old.log_expected_count_of([1]), np.log(3))
    with pytest.raises(ValueError, match=r"counts\[1\] is -1"):
        sampler.update([1, -1])
    np.testing.assert_allclose(sampler.log_prob([1, 2]), np.log(0.5))


def test_log_prob_keeps_the_shape(sampler_of):
    sampler = sampler_of(9)
    assert sampler.log_prob(3).shape == ()
    assert sampler.log_prob(np.ones((2, 0, 3), np.int8)).shape == (2, 0, 3)
    many = np.arange(8).reshape(2, 4).T
    np.testing.assert_array_equal(
        sampler.log_prob(many), sampler.log_prob(range(8)).reshape(2, 4).T
    )


def test_in_batch():
    sampler = fs.InBatchSampler()
    for call in (sampler.sample, sampler.log_prob):
        with pytest.raises(ValueError, match="call update"):
            call([1])
    sampler.update([5, 0, 15])
    ids, expected = batch = sampler.sample([[0, 2, 2], [-100, 2, 2]])
    assert ids.tolist() == [0, 2, 2, 2, 2]
    np.testing.assert_allclose(expected, np.log([1, 3, 3, 3, 3]), atol=1e-15)
    np.testing.assert_allclose(
        batch.log_expected_count_of([0, 1, 2]), np.log([1, 1e-300, 3]) * [1, np.inf, 1], atol=1e-15
    )
    ids, expected = sampler.sample([0, 1, 2, 1], ignore_index=1)
    assert ids.tolist() == [0, 2]
    np.testing.assert_allclose(expected, np.log([0.25, 0.75]), atol=1e-15)
    np.testing.assert_allclose(sampler.sample(2).log_expected_count, np.log([0.75]))
    assert len(sampler.sample([-100, -100])) == len(sampler.sample([])) == 0
    with pytest.raises(ValueError, match="class 1 is a target"):
        sampler.sample([0, 1])
    with pytest.raises(IndexError, match="id 3 is out of range"):
        sampler.sample([3])


def test_arrays_of_the_caller_may_change():
    counts, reserved, ids, logs = np.ones(4, np.int64), np.array([3]), np.arange(3), np.zeros(3)
    unigram = fs.UnigramSampler(counts, reserved=reserved)
    in_batch = fs.InBatchSampler()
    in_batch.update(counts)
    samples = [fs.Sample(ids, logs), in_batch.sample(ids)]
    before = unigram.sample(9, seed=1)
    counts[0], reserved[0] = 0, 1
    ids[:], logs[:] = 2, 7.0
    assert [sample.ids.tolist() for sample in samples] == [[0, 1, 2]] * 2
    assert samples[0].log_expected_count.tolist() == [0.0] * 3
    np.testing.assert_allclose(in_batch.log_prob([0, 1]), np.log(0.25))
    np.testing.assert_array_equal(unigram.sample(9, seed=1).ids, before.ids)
    unigram.update([1, 1, 1, 1])
    np.testing.assert_array_equal(np.isneginf(unigram.log_prob(range(4))), [False] * 3 + [True])


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.UniformSampler(1000),
        lambda: fs.LogUniformSampler(1000),
        lambda: fs.UnigramSampler(zipf_counts(1000), 0.6, reserved=[0, 7]),
        lambda: fs.UnigramSampler([0, 3, 0], 2.0),
        lambda: fs.UnigramSampler(SKEWED, 1.0),
    ],
)
def test_samplers_and_samples_survive(make, unique, copied):
    """They go on as the originals, to the bit."""
    sampler = make()
    n = 1 if sampler.num_classes == 3 else 5
    sample = sampler.sample(n, unique=unique, seed=4)
    samples = [copied(sample)]
    again = copied(sampler)
    every = np.arange(sampler.num_classes)
    assert sampler.log_prob(every).tobytes() == again.log_prob(every).tobytes()
    for position in (0, 8):
        ids, expected = sampler.sample(n, unique=unique, seed=4, position=position)
        other = again.sample(n, unique=unique, seed=4, position=position)
        np.testing.assert_array_equal(ids, other.ids)
        assert expected.tobytes() == other.log_expected_count.tobytes()
        samples += [other] if position == 0 else []
    many, others = (s.sample(20000, seed=5).ids for s in (sampler, again))
    np.testing.assert_array_equal(many, others)
    for other in samples:
        np.testing.assert_array_equal(other.ids, sample.ids)
        expected, found = (s.log_expected_count_of(every) for s in (sample, other))
        assert expected.tobytes() == found.tobytes()
    if isinstance(sampler, fs.UnigramSampler):
        again.update([1, 1, 1, 1, 1, 1, 1, 1])
        sampler.update(np.ones(8, np.int64))
        assert again.log_prob(range(8)).tobytes() == sampler.log_prob(range(8)).tobytes()
        np.testing.assert_array_equal(samples[0].log_expected_count_of(every), expected)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_in_batch_samplers_survive(copied):
    sampler = fs.InBatchSampler()
    with pytest.raises(ValueError, match="call update"):
        copied(sampler).sample([0])
    sampler.update([6, 2, 0, 2])
    sample = sampler.sample([0, 0, 3])
    for other in (copied(sample), copied(sampler).sample([0, 0, 3])):
        np.testing.assert_array_equal(other.ids, sample.ids)
        for counts in (s.log_expected_count_of(range(4)) for s in (sample, other)):
            np.testing.assert_allclose(counts, np.log([1.2, 0.4, 1e-300, 0.4]) * [1, 1, np.inf, 1])
    by_hand = copied(fs.Sample([3], [0.5]))
    assert (by_hand.ids.tolist(), by_hand.log_expected_count.tolist()) == ([3], [0.5])


@pytest.mark.parametrize(
    "state",
    [
        (),
        ("uniform",),
        ("uniform", 0),
        ("normal", 3),
        ("unigram", np.zeros(2)),
        ("unigram", np.full(2, -np.inf)),
        ("unigram", np.array([np.nan, 0.0])),
        ("unigram", np.array([0.5, -1.0])),
        ("unigram", np.empty(0)),
    ],
)
def test_states_that_are_none(state):
    """A damaged file is an error, not a table that draws classes that there are not."""
    sampler = fs.UniformSampler(3)._sampler
    with pytest.raises(ValueError, match=r"sampler|classes|probabilities"):
        type(sampler).__new__(type(sampler)).__setstate__(state)


def test_samples_by_hand():
    ids, expected = fs.Sample([3, 1], [0.5, 0])
    assert (ids.dtype, expected.dtype) == (np.int64, np.float64)
    assert repr(fs.Sample([3], [0.0])) == "<Sample of 1 classes>"
    with pytest.raises(ValueError, match="made by hand"):
        fs.Sample([3], [0.0]).log_expected_count_of([3])
    with pytest.raises(ValueError, match="same shape"):
        fs.Sample([3, 1], [0.5])
    with pytest.raises(TypeError, match="ids must be integers"):
        fs.Sample([0.5], [0.5])
    with pytest.raises(TypeError, match="log_expected_count is a MaskedArray"):
        fs.Sample([3], np.ma.array([0.0], mask=True))
    with pytest.raises(TypeError, match="complex128"):
        fs.Sample([3], [1j])


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fs.UniformSampler(0), ValueError, "from 1 to"),
        (lambda: fs.LogUniformSampler(2**32), ValueError, "from 1 to"),
        (lambda: fs.UniformSampler(1.5), TypeError, "V must be an int"),
        (lambda: fs.UniformSampler(10**30), ValueError, "V must fit in 64 bits"),
        (lambda: fs.UniformSampler(9).sample(10**30), ValueError, "n must fit in 64 bits"),
        (lambda: fs.UniformSampler(9).sample(1, unique="no"), TypeError, "unique must be a bool"),
        (lambda: fs.UniformSampler(9).log_prob([2**63, 1]), ValueError, "ids must fit in 64 bits"),
        (lambda: fs.UniformSampler(9).log_prob(None), TypeError, "ids must be integers, not None"),
        (
            lambda: fs.UniformSampler(9).log_prob([True]),
            TypeError,
            "ids must be integers, not bool",
        ),
        (lambda: fs.UnigramSampler([]), ValueError, "from 1 to"),
        (lambda: fs.UnigramSampler([0, 0]), ValueError, "no class"),
        (lambda: fs.UnigramSampler([0, 2], reserved=[1]), ValueError, "no class"),
        (lambda: fs.UnigramSampler([1, 2], reserved=[2]), IndexError, "reserved id 2"),
        (lambda: fs.UnigramSampler([1, 2], reserved=[-1]), IndexError, "reserved id -1"),
        (lambda: fs.UnigramSampler([1, -2]), ValueError, r"counts\[1\] is -2"),
        (lambda: fs.UnigramSampler([1.0, 2.0]), TypeError, "counts must be integers"),
        (lambda: fs.UnigramSampler([[1, 2]]), ValueError, "1 dimension"),
        (lambda: fs.UnigramSampler(np.array([2**63], np.uint64)), ValueError, "below"),
        (lambda: fs.UnigramSampler([1, 2], power=-0.5), ValueError, "power must be"),
        (lambda: fs.UnigramSampler([1, 2], power=np.nan), ValueError, "power must be"),
        (lambda: fs.UnigramSampler([1, 2], power="x"), TypeError, "power"),
        (lambda: fs.UniformSampler(9).sample(-1), ValueError, "n must not be negative"),
        (lambda: fs.UniformSampler(9).sample(2.0), TypeError, "n must be an int"),
        (lambda: fs.UniformSampler(9).sample(10, unique=True), ValueError, "n is 10, but only 9"),
        (lambda: fs.UniformSampler(9).sample(1, seed=-1), ValueError, "seed must not be negative"),
        (lambda: fs.UniformSampler(9).sample(1, seed=[1, 2]), TypeError, "seed must be an int"),
        (lambda: fs.UniformSampler(9).sample(1, position=2**32), ValueError, "below 2"),
        (lambda: fs.UniformSampler(9).sample(1, position=-1), ValueError, "position must not"),
        (lambda: fs.UniformSampler(9).log_prob([9]), IndexError, "id 9 is out of range"),
        (lambda: fs.UniformSampler(9).log_prob([-1]), IndexError, "id -1 is out of range"),
        (lambda: fs.UniformSampler(9).log_prob([0.0]), TypeError, "ids must be integers"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
