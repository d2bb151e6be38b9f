"""AugmentReduce: batches, checkpoints, types, instruction sets, errors, and training with it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest
from augment_reference import (
    CLASSES,
    DEPTH,
    EVERY,
    MODELS,
    NOISE,
    ROWS,
    gaps_of,
    held,
    layer,
    log_likelihood,
)
from scipy import optimize


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
from augment_reference import CLASSES, MODELS, ROWS, layer
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
        before = of.location[10]
        of.visits[10] = 2
        again = of.step(x, weights, targets, EVERY, np.arange(ROWS) + 5, bias, reduction="none")
        assert np.isnan(again.loss[5])
        assert np.isfinite(np.delete(again.loss, 5)).all()
        assert of.location[10] == before
        np.testing.assert_array_equal(of.visits, 2 * expected + 2 * (np.arange(2 * ROWS) == 10))


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
    with pytest.raises(IndexError, match="out of bounds for classes 0 to 39"):
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
    of.scale = np.ones(ROWS)
    of.model = "gumbel"
    with pytest.raises(ValueError, match="'softmax', 'probit' or 'logistic', not 'gumbel'"):
        step()
    of.model = "probit"
    assert (of.visits == (rows == 3)).all()


def frozen(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("name", "value", "error", "match"),
    [
        ("scale", np.ones(ROWS, np.float32), TypeError, "scale must be .* float64, not of float32"),
        ("location", np.zeros(ROWS, ">f8"), TypeError, "location must be an array of float64"),
        ("visits", np.zeros(ROWS, np.int64), TypeError, "visits must be .* int32, not of int64"),
        ("visits", [0] * ROWS, TypeError, "visits must be an array of int32, not list"),
        ("visits", None, TypeError, "visits must be an array of int32, not NoneType"),
        ("location", np.zeros((ROWS, 1)), ValueError, "location must have 1 dimension"),
        ("location", np.zeros(2 * ROWS)[::2], ValueError, "location must be contiguous"),
        ("location", frozen(np.zeros(ROWS)), ValueError, "location is read-only"),
        ("visits", frozen(np.zeros(ROWS, np.int32)), ValueError, "visits is read-only"),
    ],
)
@pytest.mark.parametrize("model", ["softmax", "probit"])
def test_state_that_is_none(model, name, value, error, match):
    x, weights, targets, bias = layer()
    of = fs.AugmentReduce(ROWS, model)
    setattr(of, name, value)
    with pytest.raises(error, match=match):
        of.step(x, weights, targets, EVERY, np.arange(ROWS), bias)
    if model == "softmax":
        with pytest.raises(error, match=match):
            of.step_from_losses(np.ones(ROWS), np.arange(ROWS))


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
