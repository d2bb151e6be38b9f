"""Losses over a sample of classes whose weights are split over several processes."""

from __future__ import annotations

import itertools

import fastsoftmax as fs
import numpy as np
import pytest

CLASSES, DEPTH, ROWS = 60, 7, 23

KINDS = [
    (fs.sampled_softmax_loss, {"logq": "negatives"}),
    (fs.sampled_softmax_loss, {"logq": "all"}),
    (fs.sampled_softmax_loss, {"logq": None}),
    (fs.nce_loss, {}),
    (fs.negative_sampling_loss, {}),
]


def problem(dtype=np.float64, num_true=1, classes=CLASSES):
    """Inputs, weights, bias, targets below `classes`, one of them ignored, and such a sample."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, DEPTH)).astype(dtype)
    weights = rng.normal(size=(CLASSES, DEPTH)).astype(dtype)
    bias = rng.normal(size=CLASSES).astype(dtype)
    targets = rng.integers(0, classes, (ROWS, num_true) if num_true > 1 else ROWS)
    targets[4] = -100
    counts = np.where(np.arange(CLASSES) < classes, np.arange(1, CLASSES + 1), 0)
    return x, weights, bias, targets, fs.UnigramSampler(counts).sample(40, seed=3)


def joined(loss, parts, x, weights, bias, targets, sample, reduction, **options):
    """Loss and gradients of x, W and bias from those of parts of the classes."""

    def arrays(i, j):
        return x, weights[i:j], targets, sample, bias[i:j]

    def part(i):
        return {"vocab_start": i, "vocab_size": CLASSES, **options}

    if loss is fs.sampled_softmax_loss:
        shards = [loss(*arrays(i, j), **part(i)) for i, j in parts]
        whole = fs.merge_shards(shards, reduction=reduction)
        results = [
            fs.sampled_softmax_loss_backward(whole, *arrays(i, j), reduction=reduction, **part(i))
            for i, j in parts
        ]
        total = whole.loss
    else:
        results = [
            loss(*arrays(i, j), reduction=reduction, need_grad=True, **part(i)) for i, j in parts
        ]
        total = sum(result.loss for result in results)
    return (
        total,
        sum(result.grad_x for result in results),
        np.concatenate([result.grad_W.to_dense() for result in results]),
        np.concatenate([result.grad_bias.to_dense() for result in results]),
    )


@pytest.mark.parametrize(("loss", "options"), KINDS)
@pytest.mark.parametrize("remove_hits", [True, False])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize("classes", [CLASSES, 20], ids=["all", "20 classes"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_shards_are_the_whole(loss, options, remove_hits, num_true, classes, reduction):
    """Also where some have neither a target nor one of the sample, or no class at all."""
    x, weights, bias, targets, sample = arrays = problem(np.float64, num_true, classes)
    options = {"remove_hits": remove_hits, "num_true": num_true, **options}
    whole = loss(x, weights, targets, sample, bias, reduction=reduction, need_grad=True, **options)
    expected = whole.loss, whole.grad_x, whole.grad_W.to_dense(), whole.grad_bias.to_dense()
    for cuts in ([], [22], [3, 30], [5, 5, 59]):
        parts = itertools.pairwise([0, *cuts, CLASSES])
        found = joined(loss, list(parts), *arrays, reduction, **options)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("loss", "options"), KINDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4"])
def test_types_and_layouts(loss, options, dtype):
    x, weights, bias, targets, sample = problem(dtype)
    strided = np.zeros((CLASSES, 2 * DEPTH), dtype)
    strided[:, ::2] = weights
    whole = loss(x, weights, targets, sample, bias, need_grad=True, **options)
    parts = [(0, 20), (20, CLASSES)]
    found = joined(loss, parts, x, strided[:, ::2], bias, targets, sample, "mean", **options)
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], whole.loss, rtol=1e-6)
    np.testing.assert_allclose(found[1], whole.grad_x, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[2], whole.grad_W.to_dense(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[3], whole.grad_bias.to_dense(), rtol=1e-5, atol=1e-7)


def test_upstream_of_the_backward_pass():
    x, weights, bias, targets, sample = problem()
    shard = fs.sampled_softmax_loss(x, weights, targets, sample, bias, vocab_size=CLASSES)
    assert shard.loss is None
    assert shard.grad_x is None
    upstream = np.random.default_rng(1).normal(size=ROWS)
    ours = fs.sampled_softmax_loss_backward(
        fs.merge_shards([shard]),
        x,
        weights,
        targets,
        sample,
        bias,
        grad_out=upstream,
        reduction="none",
    )
    theirs = fs.sampled_softmax_loss(
        x, weights, targets, sample, bias, grad_out=upstream, reduction="none", need_grad=True
    )
    np.testing.assert_array_equal(ours.grad_x, theirs.grad_x)
    np.testing.assert_array_equal(ours.grad_W.ids, theirs.grad_W.ids)
    np.testing.assert_array_equal(ours.grad_W.values, theirs.grad_W.values)
    np.testing.assert_array_equal(ours.grad_bias.values, theirs.grad_bias.values)
    without = fs.sampled_softmax_loss_backward(
        fs.merge_shards([shard]), x, weights, targets, sample
    )
    assert without.grad_bias is None


def test_augment_and_reduce():
    """Its step over shards, from their merged losses, is the step over all classes."""
    x, weights, bias, targets, sample = problem()
    kept = targets != -100
    x, targets, examples = x[kept], targets[kept], np.arange(ROWS - 1)
    parts = [(0, 20), (20, CLASSES)]
    options = [{"vocab_start": i, "vocab_size": CLASSES} for i, _ in parts]
    whole, split = fs.AugmentReduce(ROWS - 1), fs.AugmentReduce(ROWS - 1)
    for scale in (1.0, 0.7):
        step = whole.step(
            x, scale * weights, targets, sample, examples, bias, reduction="none", need_grad=True
        )
        layers = [(x, scale * weights[i:j], targets, sample, bias[i:j]) for i, j in parts]
        forward = fs.merge_shards(
            [fs.sampled_softmax_loss(*of, **o) for of, o in zip(layers, options, strict=True)],
            reduction="none",
        )
        loss, factor = split.step_from_losses(forward.loss, examples)
        np.testing.assert_allclose(loss, step.loss, rtol=1e-13)
        gradients = [
            fs.sampled_softmax_loss_backward(forward, *of, reduction="none", grad_out=factor, **o)
            for of, o in zip(layers, options, strict=True)
        ]
        grad_x = sum(of.grad_x for of in gradients)
        np.testing.assert_allclose(grad_x, step.grad_x, rtol=1e-12, atol=1e-13)
        grad_w = np.concatenate([of.grad_W.to_dense() for of in gradients])
        np.testing.assert_allclose(grad_w, step.grad_W.to_dense(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(split.location, whole.location, rtol=1e-14)


def test_a_sample_of_ones_own_classes():
    """Each process may have drawn from its own classes: only these count."""
    x, weights, bias, targets, _ = problem()
    parts = [(0, 25), (25, CLASSES)]
    samples = []
    for i, j in parts:
        ids, expected = fs.UniformSampler(j - i).sample(10, unique=True, seed=1)
        samples.append(fs.Sample(ids + i, expected))
    both = fs.Sample(*(np.concatenate(of) for of in zip(*samples, strict=True)))
    shards = [
        fs.sampled_softmax_loss(
            x, weights[i:j], targets, sample, bias[i:j], vocab_start=i, vocab_size=CLASSES
        )
        for (i, j), sample in zip(parts, samples, strict=True)
    ]
    whole = fs.sampled_softmax_loss(x, weights, targets, both, bias)
    np.testing.assert_allclose(fs.merge_shards(shards).loss, whole, rtol=1e-14)


def test_vocab_start_alone():
    """Classes are counted from another number."""
    x, weights, bias, targets, sample = problem()
    moved = np.where(targets == -100, -100, targets + 1000)
    later = fs.Sample(sample.ids + 1000, sample.log_expected_count)
    plain = fs.sampled_softmax_loss(x, weights, targets, sample, bias, need_grad=True)
    other = fs.sampled_softmax_loss(
        x, weights, moved, later, bias, need_grad=True, vocab_start=1000
    )
    assert other.loss == plain.loss
    np.testing.assert_array_equal(other.grad_W.ids, plain.grad_W.ids)
    np.testing.assert_array_equal(other.grad_W.values, plain.grad_W.values)


def test_more_classes_than_one_process_could_have():
    sample = fs.UniformSampler(2**32 - 1).sample(50, unique=True, seed=1)
    first = int(sample.ids[7]) - 3
    x, weights = np.ones((2, 4)), np.ones((10, 4))
    shard = fs.sampled_softmax_loss(
        x, weights, [first + 5, 0], sample, vocab_start=first, vocab_size=2**32 - 1
    )
    own = np.isin(sample.ids, np.arange(first, first + 10))
    terms = np.exp(4 - sample.log_expected_count[own]).sum() + np.array([np.exp(4), 0])
    np.testing.assert_allclose(shard.max + shard.logsum, np.log(terms))
    np.testing.assert_array_equal(shard.target_logit, [4, -np.inf])


def test_errors():
    x, weights, bias, targets, sample = problem()
    arrays = x, weights[20:40], targets, sample, bias[20:40]
    split = {"vocab_start": 20, "vocab_size": CLASSES}
    shard = fs.sampled_softmax_loss(*arrays, **split)
    for loss in (fs.sampled_softmax_loss, fs.nce_loss, fs.negative_sampling_loss):
        with pytest.raises(IndexError, match="out of bounds for classes 20 to 39"):
            loss(*arrays, vocab_start=20)
        with pytest.raises(IndexError, match="out of bounds for classes 0 to 44"):
            loss(*arrays, vocab_start=20, vocab_size=45)
        with pytest.raises(ValueError, match="more than vocab_size 30"):
            loss(*arrays, vocab_start=20, vocab_size=30)
        with pytest.raises(ValueError, match="vocab_start must not be negative"):
            loss(*arrays, vocab_start=-1, vocab_size=60)
        with pytest.raises(TypeError, match="vocab_size must be an int"):
            loss(*arrays, vocab_size=60.0)
    with pytest.raises(ValueError, match="see merge_shards"):
        fs.sampled_softmax_loss(*arrays, **split, need_grad=True)
    with pytest.raises(TypeError, match="forward must be a LinearCrossEntropy, not tuple"):
        fs.sampled_softmax_loss_backward((shard.max, shard.logsum), *arrays, **split)
    short = fs.LinearCrossEntropy(None, shard.max[1:], shard.logsum, None, None, None, None)
    with pytest.raises(ValueError, match=r"max has shape \(22,\), expected \(23,\)"):
        fs.sampled_softmax_loss_backward(short, *arrays, **split)
    several = np.stack([targets, targets], 1)
    both = fs.sampled_softmax_loss(*arrays[:2], several, *arrays[3:], num_true=2, **split)
    assert both.target_logit.shape == (ROWS, 2)
    with pytest.raises(ValueError, match=r"target_logit of a shard has shape \(23,\)"):
        fs.merge_shards([both, shard])
    with pytest.raises(ValueError, match="one target for each row"):
        fs.merge_shards([both], targets, weight=np.ones(CLASSES))


def test_tensors():
    torch = pytest.importorskip("torch")
    x, weights, bias, targets, sample = problem()
    arrays = [torch.tensor(a) for a in (x, weights, targets)]
    shard = fs.sampled_softmax_loss(*arrays, sample, torch.tensor(bias), vocab_size=CLASSES)
    assert isinstance(shard.target_logit, torch.Tensor)
    whole = fs.merge_shards([shard])
    assert isinstance(whole.target_logit, torch.Tensor)
    expected = fs.sampled_softmax_loss(x, weights, targets, sample, bias)
    assert float(whole.loss) == pytest.approx(float(expected), rel=1e-14)
    gradients = fs.sampled_softmax_loss_backward(whole, *arrays, sample, torch.tensor(bias))
    assert isinstance(gradients.grad_x, torch.Tensor)
