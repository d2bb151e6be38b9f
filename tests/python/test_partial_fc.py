"""Losses of Partial FC: formulas, gradients, margins, shards."""

from __future__ import annotations

import itertools
import math

import fastsoftmax as fs
import numpy as np
import pytest

CLASSES, DEPTH, ROWS = 400, 9, 31
MARGINS = ["none", "arcface", "cosface", ("arcface", 0.0), ("arcface", 2.5), ("cosface", 0.1)]


def layer(dtype=np.float64, seed=0):
    """Inputs, weights and targets, some of them far from their inputs, one ignored."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, DEPTH))
    weights = rng.normal(size=(CLASSES, DEPTH))
    targets = rng.integers(0, CLASSES, ROWS)
    weights[targets[1]] = -3.0 * x[1] + 0.1 * rng.normal(size=DEPTH)
    targets[2] = targets[3]
    targets[4] = -100
    return x.astype(dtype), weights.astype(dtype), targets


def phi(cosine, margin):
    """What a margin makes of cosines, by its definition."""
    name, *size = (margin,) if isinstance(margin, str) else margin
    m = size[0] if size else {"none": 0.0, "arcface": 0.5, "cosface": 0.35}[name]
    if name == "cosface":
        return cosine - m
    if name == "none":
        return cosine
    beyond = cosine <= math.cos(math.pi - m)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return np.where(beyond, cosine - m * math.sin(m), np.cos(angle + m))


def losses_of(x, weights, targets, sample, margin, scale, *, unbiased=False):
    """Losses of rows that are not ignored, by their formula in float64."""
    x, weights = (np.asarray(a, np.float64) for a in (x, weights))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    weights = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    kept = targets != -100
    rows = np.arange(kept.sum())
    cosines = x[kept] @ weights[sample.ids].T
    places = np.searchsorted(sample.ids, targets[kept])
    cosines[rows, places] = phi(cosines[rows, places], margin)
    z = scale * cosines - (sample.log_correction if unbiased else 0.0)
    return np.logaddexp.reduce(z, axis=1) - z[rows, places]


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_formula_and_finite_differences(margin, unbiased, dtype, tolerance):
    x, weights, targets = layer(dtype)
    sample = fs.partial_fc_sample(targets, CLASSES, 0.3, seed=1)
    options = {"margin": margin, "scale": 16.0, "unbiased": unbiased}
    expected = losses_of(x, weights, targets, sample, margin, 16.0, unbiased=unbiased)
    found = fs.partial_fc_loss(x, weights, targets, sample, reduction="none", **options)
    np.testing.assert_allclose(found.loss[targets != -100], expected, tolerance, tolerance)
    assert found.loss[4] == 0
    result = fs.partial_fc_loss(x, weights, targets, sample, need_grad=True, **options)
    assert result.loss == pytest.approx(expected.mean(), rel=tolerance)
    np.testing.assert_array_equal(result.grad_W.ids, sample.ids)
    assert result.grad_W.shape == weights.shape
    assert not result.grad_x[4].any()
    if dtype == np.float32:
        return
    rng = np.random.default_rng(1)
    for which, gradient in enumerate((result.grad_x, result.grad_W.to_dense())):
        direction = rng.normal(size=gradient.shape)
        values = []
        for step in (1e-5, -1e-5):
            moved = [x, weights]
            moved[which] = moved[which] + step * direction
            losses = losses_of(*moved, targets, sample, margin, 16.0, unbiased=unbiased)
            values.append(losses.mean())
        slope = (values[0] - values[1]) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_all_classes_are_the_full_cross_entropy_of_autograd(margin, dtype, tolerance):
    torch = pytest.importorskip("torch")
    x, weights, targets = layer(dtype)
    name, *size = (margin,) if isinstance(margin, str) else margin
    m = size[0] if size else {"none": 0.0, "arcface": 0.5, "cosface": 0.35}[name]
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, weights)]
    unit = [torch.nn.functional.normalize(t) for t in tensors]
    cosines = unit[0] @ unit[1].T
    kept = torch.tensor(targets).clamp(min=0)[:, None]
    own = cosines.gather(1, kept)
    if name == "cosface":
        own = own - m
    elif name == "arcface":
        turned = own * math.cos(m) - torch.sqrt(1 - own * own) * math.sin(m)
        own = torch.where(own > math.cos(math.pi - m), turned, own - m * math.sin(m))
    z = 30.0 * cosines.scatter(1, kept, own)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(targets))
    loss.backward()
    result = fs.partial_fc_loss(x, weights, targets, 1, margin=margin, scale=30.0, need_grad=True)
    assert result.loss == pytest.approx(loss.item(), rel=tolerance)
    gradients = (result.grad_x, result.grad_W.to_dense())
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert gradient.dtype == dtype
        expected = tensor.grad.numpy()
        np.testing.assert_allclose(gradient, expected, atol=tolerance * abs(expected).max())


def test_without_normalization_it_is_linear_cross_entropy():
    x, weights, targets = layer()
    found = fs.partial_fc_loss(
        x, weights, targets, 1, scale=0.5, normalize=False, reduction="sum", need_grad=True
    )
    full = fs.linear_cross_entropy(0.5 * x, weights, targets, reduction="sum", need_grad=True)
    assert found.loss == pytest.approx(full.loss, rel=1e-13)
    np.testing.assert_allclose(found.grad_x, 0.5 * full.grad_x, atol=1e-14)
    np.testing.assert_allclose(found.grad_W.to_dense(), full.grad_W, atol=1e-14)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("margin", MARGINS)
def test_targets_on_the_line_of_their_inputs(sign, margin):
    """|cos| = 1: nothing but what the other classes do to x is left of its gradient."""
    x, weights, targets = layer()
    x, targets = x[:1], targets[:1]
    weights[targets[0]] = 2.0 * sign * x[0]
    sample = fs.partial_fc_sample(targets, CLASSES, 0.2, seed=1)
    result = fs.partial_fc_loss(
        x, weights, targets, sample, margin=margin, scale=4.0, need_grad=True
    )
    assert result.target_logit[0] == pytest.approx(4.0 * phi(sign, margin), rel=1e-14)
    expected = losses_of(x, weights, targets, sample, margin, 4.0)
    assert result.loss == pytest.approx(expected[0], rel=1e-7)  # arccos near 1 is no better
    unit = weights[sample.ids] / np.linalg.norm(weights[sample.ids], axis=1, keepdims=True)
    length = np.linalg.norm(x[0])
    cosines = unit @ x[0] / length
    p = np.exp(4.0 * cosines - (result.max + result.logsum))
    p[sample.remapped_targets[0]] = 0.0
    pull = 4.0 * (p @ unit) / length
    pull -= x[0] * (pull @ x[0]) / length**2
    np.testing.assert_allclose(result.grad_x[0], pull, rtol=1e-10, atol=1e-13)
    row = result.grad_W.to_dense()[targets[0]]
    np.testing.assert_allclose(row, 0.0, atol=1e-15)


@pytest.mark.parametrize("angle", [1e-2, 1e-4, 1e-6])
def test_small_angles_keep_their_accuracy_in_float32(angle):
    rng = np.random.default_rng(3)
    x, weights, targets = layer(np.float32)
    rows = np.flatnonzero(targets != -100)
    _, first = np.unique(targets[rows], return_index=True)
    x, targets = x[rows[first]], targets[rows[first]]
    weights[targets] = x + angle * rng.normal(size=x.shape)
    options = {"margin": "arcface", "scale": 8.0, "need_grad": True}
    narrow = fs.partial_fc_loss(x, weights, targets, 1, **options)
    wide = fs.partial_fc_loss(
        x.astype(np.float64), weights.astype(np.float64), targets, 1, **options
    )
    for found, expected in (
        (narrow.grad_x, wide.grad_x),
        (narrow.grad_W.values, wide.grad_W.values),
    ):
        np.testing.assert_allclose(found, expected, atol=3e-6 * abs(expected).max())


@pytest.mark.parametrize("margin", MARGINS)
def test_rows_of_zeros_have_no_direction(margin):
    x, weights, targets = layer()
    x[0] = 0.0
    weights[targets[3]] = 0.0
    result = fs.partial_fc_loss(
        x, weights, targets, 0.2, margin=margin, scale=4.0, seed=1, reduction="none", need_grad=True
    )
    assert np.isfinite(result.loss).all()
    assert result.target_logit[0] == pytest.approx(4.0 * phi(0.0, margin), abs=1e-15)
    assert not result.grad_x[0].any()
    assert not result.grad_W.to_dense()[targets[3]].any()
    assert np.isfinite(result.grad_x).all()


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e200])
def test_lengths_whose_squares_overflow(size):
    x, weights, targets = layer()
    options = {"margin": "arcface", "scale": 4.0}
    expected = fs.partial_fc_loss(x, weights, targets, 1, **options).loss
    assert fs.partial_fc_loss(size * x, weights, targets, 1, **options).loss == pytest.approx(
        expected, rel=1e-12
    )
    assert fs.partial_fc_loss(x, size * weights, targets, 1, **options).loss == pytest.approx(
        expected, rel=1e-12
    )


def test_estimates_of_the_partition_are_unbiased():
    """What a loss with unbiased=True says of the sum over all classes, without its targets."""
    x, weights, targets = layer()
    x, targets = x[:1], targets[:1]
    own = losses_of(x, weights, targets, fs.PartialFC(targets, None, None), "cosface", 8.0)
    assert own[0] == 0.0
    whole = fs.partial_fc_loss(x, weights, targets, 1, margin="cosface", scale=8.0)
    others = np.expm1(whole.loss)
    estimates = np.array(
        [
            np.expm1(
                fs.partial_fc_loss(
                    x, weights, targets, 0.05, margin="cosface", scale=8.0, unbiased=True, seed=seed
                ).loss
            )
            for seed in range(3000)
        ]
    )
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - others) < 4 * error
    assert error < 0.05 * others


@pytest.mark.parametrize("margin", ["none", "arcface", "cosface"])
@pytest.mark.parametrize("rate", [0.1, 1])
def test_shards_are_the_whole(margin, rate):
    x, weights, targets = layer()
    options = {"margin": margin, "scale": 16.0, "unbiased": True}
    cuts = [0, 150, 151, CLASSES]
    samples, shards, vocabularies = [], [], []
    for first, last in itertools.pairwise(cuts):
        vocabulary = {"vocab_start": first, "vocab_size": CLASSES}
        sample = fs.partial_fc_sample(targets, last - first, rate, seed=first, **vocabulary)
        here = (targets >= first) & (targets < last)
        np.testing.assert_array_equal(
            sample.ids[sample.remapped_targets[here]], targets[here] - first
        )
        assert (sample.remapped_targets[~here & (targets != -100)] == len(sample.ids)).all()
        part = weights[first:last]
        shards.append(fs.partial_fc_loss(x, part, targets, sample, **options, **vocabulary))
        assert shards[-1].loss is None
        samples.append(sample)
        vocabularies.append(vocabulary)
    merged = fs.merge_shards(shards)
    ids = np.concatenate([s.ids + c for s, c in zip(samples, cuts, strict=False)])
    corrections = np.concatenate([s.log_correction for s in samples])
    together = fs.PartialFC(ids, None, corrections)
    whole = fs.partial_fc_loss(x, weights, targets, together, need_grad=True, **options)
    assert merged.loss == pytest.approx(whole.loss, rel=1e-13)
    np.testing.assert_allclose(merged.max, whole.max, rtol=1e-14)
    np.testing.assert_allclose(merged.target_logit, whole.target_logit, rtol=1e-14)
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(weights)
    for sample, vocabulary in zip(samples, vocabularies, strict=True):
        first = vocabulary["vocab_start"]
        last = cuts[cuts.index(first) + 1]
        gradients = fs.partial_fc_loss_backward(
            merged, x, weights[first:last], targets, sample, **options, **vocabulary
        )
        grad_x += gradients.grad_x
        grad_w[first:last] = gradients.grad_W.to_dense()
        assert gradients.grad_bias is None
    np.testing.assert_allclose(grad_x, whole.grad_x, atol=1e-13)
    np.testing.assert_allclose(grad_w, whole.grad_W.to_dense(), atol=1e-13)


@pytest.mark.parametrize("margin", ["none", "arcface"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_backward_is_the_gradient_of_forward(margin, reduction):
    x, weights, targets = layer()
    sample = fs.partial_fc_sample(targets, CLASSES, 0.3, seed=1)
    upstream = np.linspace(-1.0, 2.0, ROWS) if reduction == "none" else 3.0
    options = {"margin": margin, "reduction": reduction}
    forward = fs.partial_fc_loss(
        x, weights, targets, sample, grad_out=upstream, need_grad=True, **options
    )
    backward = fs.partial_fc_loss_backward(
        forward, x, weights, targets, sample, grad_out=upstream, **options
    )
    np.testing.assert_allclose(backward.grad_x, forward.grad_x, atol=1e-12)
    np.testing.assert_allclose(backward.grad_W.values, forward.grad_W.values, atol=1e-12)
    if reduction == "none":
        alone = fs.partial_fc_loss(
            x[7:8], weights, targets[7:8], sample, grad_out=[upstream[7]], need_grad=True, **options
        )
        np.testing.assert_allclose(alone.grad_x[0], forward.grad_x[7], atol=1e-12)


def test_results_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 48)).astype(np.float32)
    weights = rng.normal(size=(20000, 48)).astype(np.float32)
    targets = rng.integers(0, 300, 200)
    found = []
    for threads in (1, 3):
        with fs.threads(threads):
            found.append(
                fs.partial_fc_loss(
                    x, weights, targets, 0.4, margin="arcface", seed=1, need_grad=True
                )
            )
    one, three = found
    assert one.loss == three.loss
    np.testing.assert_array_equal(one.grad_x, three.grad_x)
    np.testing.assert_array_equal(one.grad_W.ids, three.grad_W.ids)
    np.testing.assert_array_equal(one.grad_W.values, three.grad_W.values)


def test_results_do_not_depend_on_the_instruction_set():
    x, weights, targets = layer(np.float32)
    before = fs.isa_in_use()
    found = []
    try:
        for isa in fs.isas_supported():
            fs.use_isa(isa)
            found.append(
                fs.partial_fc_loss(
                    x, weights, targets, 0.5, margin="arcface", seed=1, need_grad=True
                )
            )
    finally:
        fs.use_isa(before)
    for result in found[1:]:
        assert result.loss == found[0].loss
        np.testing.assert_array_equal(result.grad_x, found[0].grad_x)
        np.testing.assert_array_equal(result.grad_W.values, found[0].grad_W.values)


@pytest.mark.parametrize("ignored", [0, 17])
def test_a_class_may_be_the_ignored_one(ignored):
    x, weights, targets = layer()
    targets[4] = 8
    targets[[0, 9]] = ignored
    x[9] = np.nan
    sample = fs.partial_fc_sample(targets, CLASSES, 0.1, seed=1, ignore_index=ignored)
    assert (sample.remapped_targets[[0, 9]] == -1).all()
    result = fs.partial_fc_loss(
        x, weights, targets, sample, margin="arcface", ignore_index=ignored, need_grad=True
    )
    rest = np.flatnonzero(targets != ignored)
    expected = fs.partial_fc_loss(
        x[rest], weights, targets[rest], sample, margin="arcface", need_grad=True
    )
    assert result.loss == pytest.approx(expected.loss, rel=1e-14)
    np.testing.assert_allclose(result.grad_x[rest], expected.grad_x, atol=1e-14)
    assert not result.grad_x[[0, 9]].any()
    np.testing.assert_allclose(result.grad_W.values, expected.grad_W.values, atol=1e-13)


def test_nan_is_not_hidden():
    x, weights, targets = layer()
    x[5] = np.nan
    result = fs.partial_fc_loss(
        x, weights, targets, 0.1, margin="arcface", seed=1, reduction="none", need_grad=True
    )
    assert np.isnan(result.loss[5])
    assert np.isfinite(np.delete(result.loss, 5)).all()
    assert np.isnan(result.grad_x[5]).all()
    assert np.isnan(result.grad_W.values).all()
    x[5], x[6] = 1.0, 0.0
    weights[result.grad_W.ids[0]] = np.nan
    result = fs.partial_fc_loss(x, weights, targets, 0.1, seed=1, need_grad=True)
    assert np.isnan(result.loss)
    assert np.isnan(np.delete(result.grad_x, 4, axis=0)).all()


@pytest.mark.parametrize("margin", ["none", "arcface"])
def test_types_and_strides(dtype, margin):
    x, weights, targets = layer(dtype)
    found = fs.partial_fc_loss(x, weights, targets, 0.3, margin=margin, seed=1, need_grad=True)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    wide = [a.astype(arithmetic) for a in (x, weights)]
    expected = fs.partial_fc_loss(*wide, targets, 0.3, margin=margin, seed=1, need_grad=True)
    assert found.grad_x.dtype == found.grad_W.dtype == arithmetic
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.grad_x, expected.grad_x)
    spread = np.zeros((2 * CLASSES, 3 * DEPTH), dtype)[::2, ::3]
    spread[...] = weights
    strided = fs.partial_fc_loss(
        x[:, ::-1], spread[:, ::-1], targets.astype(np.int32), 0.3, margin=margin, seed=1
    )
    assert strided.loss == pytest.approx(found.loss, rel=1e-5)


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    x, weights, targets = layer(np.float32)
    tensors = [torch.from_numpy(a) for a in (x, weights, targets)]
    found = fs.partial_fc_loss(*tensors, 0.3, margin="cosface", seed=1, need_grad=True)
    expected = fs.partial_fc_loss(
        x, weights, targets, 0.3, margin="cosface", seed=1, need_grad=True
    )
    assert isinstance(found.grad_x, torch.Tensor)
    np.testing.assert_array_equal(found.grad_x.numpy(), expected.grad_x)
    np.testing.assert_array_equal(found.grad_W.values, expected.grad_W.values)
    assert fs.partial_fc_sample(tensors[2], CLASSES, 0.3, seed=1).ids.tolist() == (
        expected.grad_W.ids.tolist()
    )


def test_empty_batches():
    sample = fs.partial_fc_sample([], 10, 0.3, seed=1)
    assert len(sample.ids) == 3
    result = fs.partial_fc_loss(
        np.ones((0, 2)), np.ones((10, 2)), [], sample, margin="arcface", need_grad=True
    )
    assert np.isnan(result.loss)
    assert result.grad_x.shape == (0, 2)
    assert not result.grad_W.values.any()
    nothing = fs.partial_fc_sample([-100], 10, 0.04)
    assert len(nothing.ids) == 0
    result = fs.partial_fc_loss(np.ones((1, 2)), np.ones((10, 2)), [-100], nothing, reduction="sum")
    assert result.loss == 0
