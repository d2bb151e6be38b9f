"""AugmentReduce: bounds, their gradients, and the densities that are kept."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

CLASSES, DEPTH, ROWS = 40, 6, 11
MODELS = ["softmax", "probit", "logistic"]
NOISE = {"probit": stats.norm, "logistic": stats.logistic}
EVERY = fs.Sample(np.arange(CLASSES), np.zeros(CLASSES))


def layer(dtype=np.float64, seed=0):
    """Inputs, weights, targets and bias."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, DEPTH)).astype(dtype)
    weights = rng.normal(size=(CLASSES, DEPTH)).astype(dtype)
    bias = rng.normal(size=CLASSES).astype(dtype)
    return x, weights, rng.integers(0, CLASSES, ROWS), bias


def gaps_of(x, weights, targets, bias):
    """z_y - z_k for all k != y, in float64: (rows, classes - 1)."""
    z = x.astype(np.float64) @ weights.astype(np.float64).T + bias
    rows = np.arange(len(x))
    others = np.ones(z.shape, bool)
    others[rows, targets] = False
    return z[rows, targets][:, None] - z[others].reshape(len(x), -1)


def log_joint(model, e, gaps):
    """log f(e) + sum of log F(e + gap)."""
    noise = NOISE[model]
    log_cdf = special.log_ndtr if model == "probit" else special.log_expit
    return noise.logpdf(e) + log_cdf(np.asarray(e)[..., None] + gaps).sum(-1)


def log_likelihood(model, gaps):
    if model == "softmax":
        return -np.log1p(np.exp(-gaps).sum())
    peak = optimize.minimize_scalar(lambda e: -log_joint(model, e, gaps), bracket=(0, 5)).x
    highest = log_joint(model, peak, gaps)
    e = np.linspace(peak - 40, peak + 60, 5001)
    return highest + np.log(integrate.trapezoid(np.exp(log_joint(model, e, gaps) - highest), e))


def bound(model, location, scale, gaps):
    """The bound by quadrature over quantiles of q."""
    if model == "softmax":
        return 1 - location - np.exp(-location) * (1 + np.exp(-gaps).sum())
    noise = NOISE[model]
    u = (np.arange(4000) + 0.5) / 4000
    e = location + scale * noise.ppf(u)
    return (log_joint(model, e, gaps) - noise.logpdf(noise.ppf(u)) + np.log(scale)).mean()


def held(model, count=ROWS, seed=1, **options):
    """An object whose examples have been visited, with locations and scales near and far."""
    of = fs.AugmentReduce(count, model, seed=seed, **options)
    rng = np.random.default_rng(seed)
    of.visits[:] = 3
    of.location[:] = rng.normal(3, 2, count)
    if model != "softmax":
        of.scale[:] = rng.uniform(0.3, 1.5, count)
    return of


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
    with pytest.raises(ValueError, match="losses must have 1 dimension"):
        parts.step_from_losses([[1.0]], [0])
    with pytest.raises(IndexError, match="example -1 of row 0 is out of bounds"):
        parts.step_from_losses([1.0], [-1])
    with pytest.raises(TypeError, match="losses is a MaskedArray"):
        parts.step_from_losses(np.ma.array([1.0]), [0])
    with pytest.raises(ValueError, match="step of the probit model"):
        fs.AugmentReduce(1, "probit").step_from_losses([1.0], [0])


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


@pytest.mark.parametrize("model", MODELS)
def test_batches_orders_and_threads_do_not_matter(model):
    x, weights, targets, bias = layer(np.float32)
    sample = fs.LogUniformSampler(CLASSES).sample(20, seed=3)
    examples = np.random.default_rng(0).permutation(50)[:ROWS]
    states = []
    for parts, threads in (([slice(None)], 1), ([slice(4, None), slice(4)], 3)):
        of = fs.AugmentReduce(50, model, seed=9)
        with fs.threads(threads):
            for _ in range(3):
                for part in parts:
                    of.step(x[part], weights, targets[part], sample, examples[part], bias)
        states.append(of)
    # Scores are those of the product, whose bits may depend on the number of rows.
    np.testing.assert_allclose(states[0].location, states[1].location, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(states[0].scale, states[1].scale, rtol=1e-5)
    np.testing.assert_array_equal(states[0].visits, states[1].visits)
    assert states[0].visits.sum() == 3 * ROWS
    assert (states[0].location[states[0].visits == 0] == 0).all()


SCRIPT = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import fastsoftmax as fs
import numpy as np
from test_augment_reduce import CLASSES, MODELS, ROWS, layer
digests = {}
for model in MODELS:
    for dtype in (np.float32, np.float64):
        x, weights, targets, bias = layer(dtype)
        sample = fs.LogUniformSampler(CLASSES).sample(29, seed=3)
        of = fs.AugmentReduce(ROWS, model, draws=2, seed=9)
        for visit in range(4):
            result = of.step(x, weights, targets, sample, np.arange(ROWS), bias)
            parts = (result.grad_x, result.grad_W.values, of.location, of.scale)
            digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
            digests[f"{model} {np.dtype(dtype)} {visit}"] = (float(result.loss).hex(), digest)
print(json.dumps([fs.isa_in_use(), digests]))
"""


def test_instruction_sets():
    found = {}
    for isa in fs.isas_supported():
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"FASTSOFTMAX_ISA": isa},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        used, found[isa] = json.loads(done.stdout)
        assert used == isa
    assert len(found["scalar"]) == len(MODELS) * 2 * 4
    for digests in found.values():
        assert digests == found["scalar"]


@pytest.mark.parametrize("model", MODELS)
def test_checkpoints(model):
    """A pickled object goes on as the original, to the bit."""
    x, weights, targets, bias = layer()
    sample = fs.UniformSampler(CLASSES).sample(20, seed=3)
    of = fs.AugmentReduce(ROWS, model, draws=2, min_step=0.1)
    of.step(x, weights, targets, sample, np.arange(ROWS), bias)
    copy = pickle.loads(pickle.dumps(of))
    results = [
        one.step(x, weights, targets, sample, np.arange(ROWS), bias) for one in (of, copy, copy)
    ]
    assert results[0].loss == results[1].loss
    np.testing.assert_array_equal(results[0].grad_x, results[1].grad_x)
    assert (of.visits == 2).all()
    assert (copy.visits == 3).all()
    if model != "softmax":  # there another step with the same sample changes nothing
        assert results[1].loss != results[2].loss


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-5), (np.float16, 2e-5)])
def test_single_precision(model, dtype, tolerance):
    x, weights, targets, bias = layer(dtype)
    sample = fs.UniformSampler(CLASSES).sample(20, seed=3)
    results = []
    for kind in (dtype, np.float64):
        of = held(model, draws=2)
        arrays = (a.astype(kind) for a in (x, weights))
        results.append(of.step(*arrays, targets, sample, np.arange(ROWS), bias.astype(kind)))
    assert results[0].grad_x.dtype == np.float32
    assert results[0].loss == pytest.approx(results[1].loss, rel=tolerance)
    np.testing.assert_allclose(results[0].grad_x, results[1].grad_x, rtol=1e-4, atol=1e-4)


def test_what_is_not_visited_or_not_finite_stays():
    x, weights, targets, bias = layer()
    targets[3] = -100
    x[5, 0] = np.nan
    for model in MODELS:
        of = fs.AugmentReduce(2 * ROWS, model)
        result = of.step(x, weights, targets, EVERY, np.arange(ROWS) + 5, bias, reduction="none")
        expected = np.zeros(2 * ROWS)
        expected[5 : 5 + ROWS] = 1
        expected[[8, 10]] = 0
        np.testing.assert_array_equal(of.visits, expected)
        assert np.isnan(result.loss[5])
        assert np.isfinite(np.delete(result.loss, 5)).all()
        assert result.loss[3] == 0
        assert np.isfinite(of.location).all()


@pytest.mark.parametrize("model", MODELS)
def test_no_rows_and_no_sample(model):
    x, weights, targets, bias = layer()
    of = fs.AugmentReduce(ROWS, model)
    empty = of.step(x[:0], weights, [], EVERY, [], bias, reduction="sum")
    assert empty.loss == 0
    assert empty.grad_x.shape == (0, DEPTH)
    nothing = fs.Sample([], [])
    alone = of.step(x, weights, targets, nothing, np.arange(ROWS), bias, reduction="none")
    np.testing.assert_allclose(alone.loss, 0, atol=1e-12)  # one class has probability 1
    assert (alone.grad_x == 0).all()


def test_errors():
    x, weights, targets, bias = layer()
    of = fs.AugmentReduce(ROWS, "probit")
    rows = np.arange(ROWS)

    def step(**changes):
        arguments = {
            "x": x,
            "W": weights,
            "targets": targets,
            "sample": EVERY,
            "examples": rows,
            "bias": bias,
        }
        return of.step(**(arguments | changes))

    with pytest.raises(ValueError, match="n_examples must not be negative, got -1"):
        fs.AugmentReduce(-1)
    with pytest.raises(TypeError):
        fs.AugmentReduce(1.5)
    with pytest.raises(ValueError, match="'softmax', 'probit' or 'logistic', not 'gumbel'"):
        fs.AugmentReduce(1, "gumbel")
    with pytest.raises(ValueError, match=r"decay must be from 0 to 1, got 1\.5"):
        fs.AugmentReduce(1, decay=1.5)
    with pytest.raises(ValueError, match="min_step must be from 0 to 1, got nan"):
        fs.AugmentReduce(1, min_step=np.nan)
    with pytest.raises(ValueError, match="draws must be from 1 to 32, got 0"):
        fs.AugmentReduce(1, draws=0)
    with pytest.raises(ValueError, match="seed must be from 0"):
        fs.AugmentReduce(1, seed=-1)
    with pytest.raises(AttributeError, match="probit model has a location and a scale"):
        of.log_eta  # noqa: B018
    with pytest.raises(IndexError, match="example 11 of row 10 is out of bounds for 11 examples"):
        step(examples=rows + 1)
    with pytest.raises(ValueError, match="example 4 is in several rows"):
        step(examples=np.where(rows == 7, 4, rows))
    with pytest.raises(ValueError, match="examples have shape"):
        step(examples=rows[:-1])
    with pytest.raises(TypeError, match="examples must be integers"):
        step(examples=rows.astype(float))
    with pytest.raises(TypeError, match="sample must be a Sample, not tuple"):
        step(sample=(EVERY.ids, EVERY.log_expected_count))
    with pytest.raises(ValueError, match="targets must have 1 dimension"):
        step(targets=targets[:, None])
    with pytest.raises(IndexError, match="out of bounds for 40 classes"):
        step(targets=targets + 40)
    with pytest.raises(ValueError, match="of class 7 is -800: its inverse overflows"):
        step(sample=fs.Sample([7], [-800.0]))
    with pytest.raises(ValueError, match="grad_out is of use with need_grad only"):
        step(grad_out=2.0, need_grad=False)
    of.visits[3] = 1
    of.scale[3] = 0.0
    with pytest.raises(ValueError, match="example 3 has location 0 and scale 0"):
        step()
    of.scale = of.scale[:-1].copy()
    with pytest.raises(ValueError, match="the state has 11 visits, 11 locations and 10 scales"):
        step()
    of.scale = np.ones(ROWS, np.float32)
    with pytest.raises(TypeError):
        step()
    assert (of.visits == (rows == 3)).all()


def test_training_reaches_the_full_softmax():
    """A linear classifier trained with a fifth of the classes: its exact likelihood.

    Sampled softmax, whose logarithm of an estimate is biased, stays off with the same samples.
    """
    rng = np.random.default_rng(0)
    count, depth, classes = 600, 8, 50
    x = rng.normal(size=(count, depth))
    truth = 1.5 * rng.normal(size=(classes, depth))
    targets = (x @ truth.T + rng.gumbel(size=(count, classes))).argmax(1)
    penalty = 2e-3

    def full(weights):
        weights = weights.reshape(classes, depth)
        result = fs.linear_cross_entropy(x, weights, targets, need_grad=True)
        value = result.loss + penalty / 2 * (weights**2).sum()
        return value, (result.grad_W + penalty * weights).ravel()

    zeros = np.zeros((classes, depth))
    best = optimize.minimize(full, zeros.ravel(), jac=True, method="L-BFGS-B").fun

    def trained(gradient, steps=2400):
        """How far the mean of the later weights is from the best, relative to zeros."""
        rng = np.random.default_rng(1)
        sampler = fs.UniformSampler(classes)
        weights, mean = zeros.copy(), zeros.copy()
        for step in range(steps):
            batch = rng.choice(count, 100, replace=False)
            sample = sampler.sample(10, unique=True, seed=1, position=step)
            result = gradient(x[batch], weights, targets[batch], sample, batch)
            weights *= 1 - penalty
            result.grad_W.add_to(weights, -1.0)
            if step >= steps // 2:
                mean += weights / (steps - steps // 2)
        return (full(mean)[0] - best) / (full(zeros)[0] - best)

    of = fs.AugmentReduce(count, min_step=0.02)
    left = trained(of.step)
    biased = trained(
        lambda x, w, targets, sample, _: fs.sampled_softmax_loss(
            x, w, targets, sample, need_grad=True
        )
    )
    assert left < 0.003
    assert biased > 3 * left


@pytest.mark.parametrize("model", ["probit", "logistic"])
def test_training_with_a_sample_reaches_that_with_all_classes(model):
    rng = np.random.default_rng(0)
    count, depth, classes = 200, 5, 30
    x = rng.normal(size=(count, depth))
    truth = 1.2 * rng.normal(size=(classes, depth))
    noise = NOISE[model].rvs(size=(count, classes), random_state=0)
    targets = (x @ truth.T + noise).argmax(1)

    def likelihood(weights):
        gaps = gaps_of(x, weights, targets, np.zeros(classes))
        return np.mean([log_likelihood(model, row) for row in gaps])

    reached = {}
    for drawn in (classes, 6):
        rng = np.random.default_rng(1)
        of = fs.AugmentReduce(count, model, min_step=0.1, seed=0)
        sampler = fs.UniformSampler(classes)
        weights = np.zeros((classes, depth))
        mean = np.zeros_like(weights)
        for step in range(1000):
            batch = rng.choice(count, 50, replace=False)
            sample = sampler.sample(drawn, unique=True, seed=1, position=step)
            result = of.step(x[batch], weights, targets[batch], sample, batch)
            weights *= 1 - 0.3 * 2e-3
            result.grad_W.add_to(weights, -0.3)
            if step >= 500:
                mean += weights / 500
        reached[drawn] = likelihood(mean)
    assert reached[classes] > likelihood(truth)
    assert reached[6] == pytest.approx(reached[classes], abs=0.05)
