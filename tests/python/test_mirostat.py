"""Mirostat: surprise is led to its target, row by row, and state moves only where it should."""

from __future__ import annotations

import threading

import fastsoftmax as fs
import numpy as np
import pytest


@pytest.fixture
def zipf(rng):
    """Probabilities like rank ** -1.2 of 3,000 tokens, in another order per row.

    The most likely token has 2.2 bits of surprise, the mean over all is 6.7 bits.
    """
    logits = np.tile(-1.2 * np.log(np.arange(1.0, 3001)), (4, 1))
    return rng.permuted(logits, axis=1).astype(np.float32)


def surprise(x, indices, **options):
    logprobs = fs.log_softmax(x.astype(np.float64), **options)
    return -np.take_along_axis(logprobs, indices[..., None], -1)[..., 0] / np.log(2)


@pytest.mark.parametrize("tau", [2.5, 4.0, 6.0])
@pytest.mark.parametrize("eta", [0.1, 0.5])
def test_surprise_approaches_tau(zipf, tau, eta):
    mirostat = fs.Mirostat(tau, eta, seed=1)
    found = []
    for _ in range(600):
        before = mirostat.mu
        found.append(surprise(zipf, mirostat.sample(zipf)))
        # The most likely token always stays, and was drawn where mu would have left none.
        least = surprise(zipf, zipf.argmax(-1))
        assert (found[-1] <= np.maximum(before, least) + 1e-4).all()
        np.testing.assert_allclose(mirostat.mu, before - eta * (found[-1] - tau), atol=1e-4)
    means = np.mean(found[200:], axis=0)
    np.testing.assert_allclose(means, tau, atol=0.15)


def test_without_it_surprise_is_the_entropy(zipf):
    """What the target changes: the same logits drawn from as they are give another mean."""
    rows = np.broadcast_to(zipf[0], (4000, 3000))
    mean = surprise(rows, fs.sample(rows, seed=1)).mean()
    entropy = float(fs.softmax_stats(zipf[0].astype(np.float64)).entropy) / np.log(2)
    assert abs(mean - entropy) < 0.2
    assert entropy > 6.5


def test_the_set_it_draws_from(zipf, sampling):
    """The first call: all tokens of at most 2 tau bits, as likely as they are."""
    rows = np.broadcast_to(zipf[1], (8000, 3000))
    drawn = fs.Mirostat(3.0, seed=5).sample(rows)
    assert sampling.p_value(drawn, sampling.filtered(zipf[1], max_surprise=6.0)) > 1e-5
    warm = fs.Mirostat(3.0, seed=5).sample(rows, temperature=2.0)
    p = sampling.filtered(zipf[1], max_surprise=6.0, temperature=2.0)
    assert sampling.p_value(warm, p) > 1e-5


def test_positions_and_seeds(zipf):
    first, second = (fs.Mirostat(4.0, seed=3) for _ in range(2))
    counted = [first.sample(zipf) for _ in range(6)]
    given = [second.sample(zipf, position=step) for step in range(6)]
    np.testing.assert_array_equal(counted, given)
    first.reset()
    np.testing.assert_array_equal([first.sample(zipf) for _ in range(6)], counted)
    assert any((a != counted[0]).any() for a in counted[1:])
    other = fs.Mirostat(4.0, seed=4)
    assert any((other.sample(zipf) != drawn).any() for drawn in counted)
    twins = [fs.Mirostat(4.0, seed=np.random.default_rng(2)) for _ in range(2)]
    for _ in range(3):
        np.testing.assert_array_equal(*(twin.sample(zipf) for twin in twins))
    ids = np.arange(4)[::-1, None]
    turned = fs.Mirostat(4.0, seed=3).sample(zipf[::-1], row_ids=ids)
    np.testing.assert_array_equal(turned[::-1], counted[0])


def test_mu(zipf):
    mirostat = fs.Mirostat(tau=2.5)
    assert mirostat.mu.shape == ()
    assert mirostat.mu == 5.0
    mirostat.sample(zipf.reshape(2, 2, 3000))
    mu = mirostat.mu
    assert (mu.shape, mu.dtype) == ((2, 2), np.float64)
    mu[:] = 0
    assert (mirostat.mu != 0).all()
    mirostat.reset()
    assert mirostat.mu == 5.0
    mirostat.sample(zipf, 0)
    assert mirostat.mu.shape == (3000,)


def test_one_row(zipf):
    mirostat = fs.Mirostat(seed=1)
    assert type(mirostat.sample(zipf[0])) is np.int64
    assert mirostat.mu.shape == ()
    assert mirostat.mu != 10.0


def test_where_is_left_out_and_temperature_zero_is_the_maximum(zipf):
    where = np.zeros(zipf.shape, bool)
    where[:, 5:9] = True
    drawn = fs.Mirostat(seed=1).sample(zipf, where=where)
    assert ((drawn >= 5) & (drawn < 9)).all()
    drawn = fs.Mirostat(seed=1).sample(zipf, temperature=0)
    np.testing.assert_array_equal(drawn, zipf.argmax(-1))


def test_rows_without_a_softmax_leave_their_mu(zipf):
    zipf[1, 7] = np.nan
    zipf[2] = -np.inf
    mirostat = fs.Mirostat(seed=1)
    drawn = mirostat.sample(zipf)
    assert drawn[1:3].tolist() == [7, 0]
    assert (mirostat.mu[1:3] == 10).all()
    assert (mirostat.mu[[0, 3]] != 10).all()


def test_errors_change_nothing(zipf):
    mirostat = fs.Mirostat(seed=1)
    for bad in ({"temperature": -1}, {"where": np.ones(2, bool)}, {"position": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            mirostat.sample(zipf, **bad)
        assert mirostat.mu.shape == ()
    mirostat.sample(zipf)
    mu = mirostat.mu
    with pytest.raises(ValueError, match=r"batch of shape \(2,\), but mu has shape \(4,\)"):
        mirostat.sample(zipf[:2])
    with pytest.raises(ValueError, match="temperature"):
        mirostat.sample(zipf, temperature=-1)
    np.testing.assert_array_equal(mirostat.mu, mu)
    twin = fs.Mirostat(seed=1)
    twin.sample(zipf)
    np.testing.assert_array_equal(mirostat.sample(zipf), twin.sample(zipf))


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_parameters(value):
    for name in ("tau", "eta"):
        with pytest.raises(ValueError, match=f"{name} must be positive"):
            fs.Mirostat(**{name: value})


def test_parameters_that_are_no_numbers():
    with pytest.raises(TypeError, match="tau must be a number, not an array"):
        fs.Mirostat([1.0, 2.0])
    with pytest.raises(TypeError, match="eta has dtype"):
        fs.Mirostat(5.0, "0.1")
    with pytest.raises(ValueError, match="seed must not be negative"):
        fs.Mirostat(seed=-1).sample([0.0, 1.0])


def test_threads_take_turns(zipf):
    """Two threads on one object make as many moves as one would."""
    mirostat = fs.Mirostat(seed=1)
    rows = np.tile(zipf, (10, 1))

    def work():
        for _ in range(20):
            mirostat.sample(rows)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    alone = fs.Mirostat(seed=1)
    for _ in range(40):
        alone.sample(rows)
    np.testing.assert_array_equal(mirostat.mu, alone.mu)
