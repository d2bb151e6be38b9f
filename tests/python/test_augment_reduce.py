"""AugmentReduce: bounds, their gradients, and what visits make of the densities."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from augment_reference import (
    CLASSES,
    EVERY,
    MODELS,
    ROWS,
    bound,
    gaps_of,
    held,
    layer,
    log_likelihood,
)
from scipy import optimize, stats


def test_softmax_over_all_classes_is_cross_entropy():
    x, weights, targets, bias = layer()
    of = fs.AugmentReduce(ROWS)
    result = of.step(x, weights, targets, EVERY, np.arange(ROWS), bias)
    full = fs.linear_cross_entropy(x, weights, targets, bias, need_grad=True)
    assert result.loss == pytest.approx(full.loss, rel=1e-14)
    np.testing.assert_allclose(result.grad_x, full.grad_x, atol=1e-14)
    np.testing.assert_allclose(result.grad_W.to_dense(), full.grad_W, atol=1e-14)
    np.testing.assert_allclose(result.grad_bias.to_dense(), full.grad_bias, atol=1e-14)
    gaps = gaps_of(x, weights, targets, bias)
    np.testing.assert_allclose(of.log_eta, np.log1p(np.exp(-gaps).sum(1)), rtol=1e-13)
    assert of.log_eta is of.location
    assert (of.visits == 1).all()


@pytest.mark.parametrize("shift", [-3.0, -0.1, 0.0, 0.1, 3.0])
def test_softmax_bound_is_tight_at_the_optimal_eta_and_below_elsewhere(shift):
    x, weights, targets, bias = layer()
    gaps = gaps_of(x, weights, targets, bias)
    of = held("softmax")
    optimal = np.log1p(np.exp(-gaps).sum(1))
    of.location[:] = optimal + shift
    options = {"update": False, "reduction": "none", "need_grad": False}
    losses = of.step(x, weights, targets, EVERY, np.arange(ROWS), bias, **options)
    exact = np.array([-log_likelihood("softmax", row) for row in gaps])
    if shift == 0.0:
        np.testing.assert_allclose(losses, exact, rtol=1e-13)
    else:
        np.testing.assert_allclose(losses, exact + shift + np.expm1(-shift), rtol=1e-13)
        assert (losses > exact).all()


@pytest.mark.parametrize("model", ["probit", "logistic"])
def test_loss_is_the_bound_and_the_bound_is_below_the_likelihood(model):
    """Means over 32 draws for each of 2000 examples that are the same row."""
    x, weights, targets, bias = layer()
    count = 2000
    for row, (location, scale) in enumerate([(2.0, 0.8), (5.0, 0.4), (0.5, 1.5)]):
        gaps = gaps_of(x, weights, targets, bias)[row]
        of = held(model, count, draws=32)
        of.location[:], of.scale[:] = location, scale
        losses = of.step(
            np.repeat(x[row : row + 1], count, 0),
            weights,
            np.repeat(targets[row], count),
            EVERY,
            np.arange(count),
            bias,
            update=False,
            reduction="none",
            need_grad=False,
        )
        expected = bound(model, location, scale, gaps)
        error = losses.std() / np.sqrt(count)
        assert -losses.mean() == pytest.approx(expected, abs=4.5 * error + 1e-3)
        assert expected < log_likelihood(model, gaps)
        assert -losses.mean() < log_likelihood(model, gaps)


@pytest.mark.parametrize(
    ("model", "most"), [("softmax", 1e-9), ("probit", 0.03), ("logistic", 0.4)]
)
def test_visits_lead_to_a_bound_near_the_likelihood(model, most):
    """How near depends on the model: q has the shape of the noise, not that of the posterior."""
    x, weights, targets, bias = layer()
    of = fs.AugmentReduce(ROWS, model, draws=4, seed=5)
    for _ in range(60):
        of.step(x, weights, targets, EVERY, np.arange(ROWS), bias, need_grad=False)
    assert (of.visits == 60).all()
    scales = of.scale if model != "softmax" else np.ones(ROWS)
    for gaps, location, scale in zip(
        gaps_of(x, weights, targets, bias), of.location, scales, strict=True
    ):
        exact = log_likelihood(model, gaps)
        reached = bound(model, location, scale, gaps)
        assert -1e-9 - 2e-4 * (model != "softmax") < exact - reached < most
        if model == "softmax":
            continue

        def negative(q, gaps=gaps):
            return -bound(model, q[0], np.exp(q[1]), gaps)

        start = [location, np.log(scale)]
        best = optimize.minimize(negative, start, method="Nelder-Mead", tol=1e-3)
        assert reached > -best.fun - 0.1


def test_probit_of_two_classes_has_the_known_likelihood():
    """P(z_0 + e_0 > z_1 + e_1) = Phi((z_0 - z_1) / sqrt 2): a bound must be below, and is near."""
    x, weights = np.ones((1, 1)), np.array([[0.7], [-0.4]])
    of = fs.AugmentReduce(1, "probit", draws=32, seed=0)
    losses = [
        of.step(x, weights, [0], fs.Sample([1], [0.0]), [0], need_grad=False) for _ in range(400)
    ]
    exact = -stats.norm.logcdf(1.1 / np.sqrt(2))
    assert exact - 0.002 < np.mean(losses[100:]) < exact + 0.02


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("grad_out", [None, -1.7])
def test_finite_differences(model, draws, grad_out):
    x, weights, targets, bias = layer()
    targets[2] = -100
    sample = fs.LogUniformSampler(CLASSES).sample(30, seed=3)  # with repetitions and hits
    of = held(model, draws=draws)
    before = of.location.copy()

    def step(x, weights, bias, **options):
        return of.step(x, weights, targets, sample, np.arange(ROWS), bias, update=False, **options)

    result = step(x, weights, bias, grad_out=grad_out)
    rng = np.random.default_rng(1)
    gradients = (result.grad_x, result.grad_W.to_dense(), result.grad_bias.to_dense())
    for which, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        values = []
        for move in (1e-5, -1e-5):
            moved = [x, weights, bias]
            moved[which] = moved[which] + move * direction
            values.append(step(*moved, need_grad=False))
        slope = (values[0] - values[1]) / 2e-5 * (1.0 if grad_out is None else grad_out)
        assert (gradient * direction).sum() == pytest.approx(slope, rel=2e-6, abs=1e-8)
    assert (result.grad_x[2] == 0).all()
    np.testing.assert_array_equal(of.location, before)
    assert (of.visits == 3).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("unique", [False, True])
def test_estimates_by_samples_are_unbiased(model, unique):
    """With q held and the same noise, the mean over samples is what all classes give."""
    x, weights, targets, bias = layer()
    of = held(model, draws=2)
    of.location[:] = np.abs(of.location) + 2  # elsewhere weights of rare terms decide
    sampler = fs.UnigramSampler(np.arange(5, CLASSES + 5))
    options = {"update": False, "reduction": "sum"}
    every = of.step(x, weights, targets, EVERY, np.arange(ROWS), bias, **options)
    direction = np.random.default_rng(2).normal(size=weights.shape)
    losses, slopes = [], []
    for seed in range(2000):
        sample = sampler.sample(15, unique=unique, seed=seed)
        of_sample = of.step(x, weights, targets, sample, np.arange(ROWS), bias, **options)
        losses.append(of_sample.loss)
        slopes.append((of_sample.grad_W.to_dense() * direction).sum())
    assert np.std(losses) < every.loss
    for found, expected in (
        (losses, every.loss),
        (slopes, (every.grad_W.to_dense() * direction).sum()),
    ):
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(expected, abs=4.5 * error)


def test_softmax_step_in_the_log_domain():
    """eta <- (1 - a) eta + a n, the loss and the gradient with that eta, also where n overflows."""
    x, weights, targets, bias = layer()
    sample = fs.UniformSampler(CLASSES).sample(12, seed=3)
    of = held("softmax", decay=0.7)
    of.visits[:5] = [1, 2, 3, 4, 5]
    keep = ~(sample.ids[None, :] == targets[:, None])
    z = x @ weights.T + bias
    gaps = z[np.arange(ROWS), targets][:, None] - z[:, sample.ids]
    terms = np.where(keep, np.exp(-gaps - sample.log_expected_count), 0)
    rate = (1.0 + of.visits) ** -0.7
    eta = (1 - rate) * np.exp(of.location) + rate * (1 + terms.sum(1))
    result = of.step(x, weights, targets, sample, np.arange(ROWS), bias, reduction="none")
    np.testing.assert_allclose(of.log_eta, np.log(eta), rtol=1e-13)
    expected = np.log(eta) - 1 + (1 + terms.sum(1)) / eta
    np.testing.assert_allclose(result.loss, expected, rtol=1e-13)
    of_target = -terms.sum(1) / eta
    grad_x = (terms / eta[:, None]) @ weights[sample.ids] + of_target[:, None] * weights[targets]
    np.testing.assert_allclose(result.grad_x, grad_x, rtol=1e-11, atol=1e-12)
    far = fs.AugmentReduce(1)
    large = np.array([[0.0], [2000.0], [1990.0]])
    pair = fs.Sample([1, 2], [0.0, 0.0])
    for _ in range(2):
        loss = far.step(np.ones((1, 1)), large, [0], pair, [0], need_grad=False)
    assert loss == pytest.approx(2000 + np.log1p(np.exp(-10)), rel=1e-14)
    assert far.log_eta[0] == pytest.approx(loss)


def test_steps_from_losses():
    """The same step, to the bit, from the sampled loss and its gradient."""
    x, weights, targets, bias = layer()
    whole, parts = fs.AugmentReduce(ROWS, decay=0.6), fs.AugmentReduce(ROWS, decay=0.6)
    for seed in range(4):
        sample = fs.LogUniformSampler(CLASSES).sample(12, seed=seed)
        arrays = (x, weights, targets, sample)
        step = whole.step(*arrays, np.arange(ROWS), bias, reduction="none")
        losses = fs.sampled_softmax_loss(*arrays, bias, reduction="none")
        parts.step_from_losses(losses, np.arange(ROWS), update=False)
        assert parts.visits.sum() == seed * ROWS
        loss, factor = parts.step_from_losses(losses, np.arange(ROWS))
        gradients = fs.sampled_softmax_loss(
            *arrays, bias, reduction="none", grad_out=factor, need_grad=True
        )
        np.testing.assert_array_equal(step.loss, loss)
        np.testing.assert_array_equal(step.grad_x, gradients.grad_x)
        np.testing.assert_array_equal(step.grad_W.values, gradients.grad_W.values)
        np.testing.assert_array_equal(whole.location, parts.location)
        np.testing.assert_array_equal(whole.visits, parts.visits)
        assert (factor != 1).any() == (seed > 0)
    for least in (-1e-300, -2.0, -np.inf):
        with pytest.raises(ValueError, match="not be negative, but that of row 1 is -"):
            parts.step_from_losses([0.0, least], [0, 1])
    assert parts.visits.sum() == 4 * ROWS
    with pytest.raises(ValueError, match="losses must have 1 dimension"):
        parts.step_from_losses([[1.0]], [0])
    with pytest.raises(IndexError, match="example -1 of row 0 is out of bounds"):
        parts.step_from_losses([1.0], [-1])
    with pytest.raises(TypeError, match="losses is a MaskedArray"):
        parts.step_from_losses(np.ma.array([1.0]), [0])
    with pytest.raises(ValueError, match="step of the probit model"):
        fs.AugmentReduce(1, "probit").step_from_losses([1.0], [0])


def test_targets_of_score_minus_infinity():
    """In the softmax as in the sampled softmax; the state of such examples stays in all models."""
    x, weights, targets, bias = layer()
    bias[targets[3]] = -np.inf
    hopeless = targets == targets[3]
    sample = fs.LogUniformSampler(CLASSES).sample(12, seed=2)
    arrays, rows = (x, weights, targets, sample), np.arange(ROWS)
    for model in MODELS:
        of = fs.AugmentReduce(ROWS, model)
        for visits in range(2):
            before = of.location.copy()
            result = of.step(*arrays, rows, bias, reduction="none")
            if model == "softmax":
                sampled = fs.sampled_softmax_loss(*arrays, bias, reduction="none", need_grad=True)
                np.testing.assert_array_equal(result.loss[hopeless], np.inf)
                np.testing.assert_array_equal(sampled.loss[hopeless], np.inf)
                np.testing.assert_array_equal(result.grad_x[hopeless], sampled.grad_x[hopeless])
                assert np.isfinite(result.grad_x).all()
                loss, factor = of.step_from_losses(sampled.loss, rows, update=False)
                np.testing.assert_array_equal(loss[hopeless], np.inf)
                np.testing.assert_array_equal(factor[hopeless], 1.0)
            else:
                assert np.isnan(result.loss[hopeless]).all()
            assert np.isfinite(result.loss[~hopeless]).all()
            np.testing.assert_array_equal(of.location[hopeless], before[hopeless])
            np.testing.assert_array_equal(of.visits, np.where(hopeless, 0, visits + 1))
            of.visits[hopeless] = 0


@pytest.mark.parametrize("model", MODELS)
def test_scores_far_apart(model):
    """A target far above or below: finite state, a bound near what it must be."""
    for gap in (-300.0, -30.0, 30.0, 300.0):
        of = fs.AugmentReduce(1, model, draws=8, seed=2)
        x, weights = np.ones((1, 1)), np.r_[gap, np.zeros(20)][:, None]
        every = fs.Sample(np.arange(1, 21), np.zeros(20))
        losses = [of.step(x, weights, [0], every, [0], need_grad=False) for _ in range(50)]
        assert np.isfinite(of.location).all()
        assert of.visits[0] == 50
        exact = -log_likelihood(model, np.full(20, gap)) if abs(gap) == 30.0 else None
        if model == "softmax":
            exact = np.logaddexp(0, np.log(20) - gap)
        if exact is not None:
            assert exact - 0.01 < np.mean(losses[20:]) < exact + 0.5
