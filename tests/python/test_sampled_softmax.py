"""Losses over the target and a sample of classes."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

CLASSES, DEPTH, ROWS = 60, 7, 23


def layer(dtype, num_true=1, seed=0):
    """Inputs, weights, bias and targets, one of which is ignored."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, DEPTH)).astype(dtype)
    weights = rng.normal(size=(CLASSES, DEPTH)).astype(dtype)
    bias = rng.normal(size=CLASSES).astype(dtype)
    targets = rng.integers(0, CLASSES, (ROWS, num_true) if num_true > 1 else ROWS)
    targets[4] = -100
    return x, weights, bias, targets


def log_sigmoid(z):
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def losses_of(kind, x, weights, bias, targets, sample, logq, remove_hits):
    """The losses of all rows by their formulas, in float64."""
    x, weights, bias = (np.asarray(a, np.float64) for a in (x, weights, bias))
    losses = []
    for row, target in zip(x, np.reshape(targets, (len(x), -1)), strict=True):
        if target[0] == -100:
            losses.append(0.0)
            continue
        positive = weights[target] @ row + bias[target]
        negative = weights[sample.ids] @ row + bias[sample.ids]
        if logq is not None:
            negative = negative - sample.log_expected_count
        if logq == "all":
            positive = positive - sample.log_expected_count_of(target)
        if remove_hits:
            negative = negative[~np.isin(sample.ids, target)]
        share = 1 / len(target)
        if kind == "softmax":
            z = np.concatenate([positive, negative])
            losses.append(np.logaddexp.reduce(z) - positive.mean())
        else:
            of_targets = share * log_sigmoid(positive) + (1 - share) * log_sigmoid(-positive)
            losses.append(-of_targets.sum() - log_sigmoid(-negative).sum())
    return np.array(losses)


KINDS = [
    ("softmax", fs.sampled_softmax_loss, "negatives"),
    ("softmax", fs.sampled_softmax_loss, "all"),
    ("softmax", fs.sampled_softmax_loss, None),
    ("logistic", fs.nce_loss, "all"),
    ("logistic", fs.negative_sampling_loss, None),
]


def call(loss, logq, *arrays, **options):
    if loss is fs.sampled_softmax_loss:
        options["logq"] = logq
    return loss(*arrays, **options)


@pytest.mark.parametrize(("kind", "loss", "logq"), KINDS)
@pytest.mark.parametrize("remove_hits", [True, False])
@pytest.mark.parametrize("num_true", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_formula_and_finite_differences(kind, loss, logq, remove_hits, num_true, dtype, tolerance):
    x, weights, bias, targets = layer(dtype, num_true)
    sample = fs.LogUniformSampler(CLASSES).sample(40, seed=3)  # with repetitions
    options = {"remove_hits": remove_hits, "num_true": num_true}
    found = call(loss, logq, x, weights, targets, sample, bias, reduction="none", **options)
    expected = losses_of(kind, x, weights, bias, targets, sample, logq, remove_hits)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    if dtype == np.float32:
        return
    result = call(loss, logq, x, weights, targets, sample, bias, need_grad=True, **options)
    kept = ROWS - 1
    assert result.loss == pytest.approx(expected.sum() / kept, rel=1e-12)
    rng = np.random.default_rng(1)
    gradients = (result.grad_x, result.grad_W.to_dense(), result.grad_bias.to_dense())
    for which, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        values = []
        for step in (1e-5, -1e-5):
            moved = [x, weights, bias]
            moved[which] = moved[which] + step * direction
            losses = losses_of(kind, *moved, targets, sample, logq, remove_hits)
            values.append(losses.sum() / kept)
        slope = (values[0] - values[1]) / 2e-5
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9)


class SampledValues(fs.Sample):
    """TensorFlow's `sampled_values`: counts of targets are given, too."""

    __slots__ = ("_true",)

    def __init__(self, ids, true_expected_count, sampled_expected_count):
        super().__init__(ids, np.log(sampled_expected_count))
        self._true = np.log(true_expected_count)

    def log_expected_count_of(self, ids):
        assert np.shape(ids) == self._true.shape
        return self._true


@pytest.mark.parametrize("remove_hits", [True, False])
@pytest.mark.parametrize("num_true", [1, 2])
def test_formulas_of_tensorflow_with_sampled_values(num_true, remove_hits):
    """Logits, labels and losses as the documentation of both functions composes them."""
    x, weights, bias, _ = layer(np.float64)
    rng = np.random.default_rng(5)
    true_classes = rng.integers(0, CLASSES, (ROWS, num_true))
    sampled = rng.permutation(CLASSES)[:35]
    counts = rng.uniform(0.05, 3.0, CLASSES)
    true_count, sampled_count = counts[true_classes], counts[sampled]

    true_logits = np.einsum("nd,ntd->nt", x, weights[true_classes]) + bias[true_classes]
    sampled_logits = x @ weights[sampled].T + bias[sampled]
    hits = (sampled[None, None, :] == true_classes[:, :, None]).any(1)
    assert 0 < hits.sum() < hits.size
    if remove_hits:
        sampled_logits[hits] = -np.finfo(np.float32).max
    logits = np.hstack([true_logits - np.log(true_count), sampled_logits - np.log(sampled_count)])
    labels = np.hstack([np.full((ROWS, num_true), 1 / num_true), np.zeros_like(sampled_logits)])
    log_softmax = logits - np.logaddexp.reduce(logits, 1, keepdims=True)
    softmax_losses = -(labels * log_softmax).sum(1)
    sigmoid = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))

    values = SampledValues(sampled, true_count if num_true > 1 else true_count[:, 0], sampled_count)
    targets = true_classes if num_true > 1 else true_classes[:, 0]
    options = {"num_true": num_true, "remove_hits": remove_hits, "reduction": "none"}
    arguments = (x, weights, targets, values, bias)
    found = fs.sampled_softmax_loss(*arguments, logq="all", **options)
    np.testing.assert_allclose(found, softmax_losses, rtol=1e-13)
    np.testing.assert_allclose(fs.nce_loss(*arguments, **options), sigmoid.sum(1), rtol=1e-13)


def test_all_classes_without_correction_are_the_full_softmax():
    x, weights, bias, targets = layer(np.float64)
    every = fs.Sample(np.arange(CLASSES)[::-1], np.zeros(CLASSES))
    sampled = fs.sampled_softmax_loss(x, weights, targets, every, bias, need_grad=True)
    full = fs.linear_cross_entropy(x, weights, targets, bias, need_grad=True)
    assert sampled.loss == pytest.approx(full.loss, rel=1e-13)
    np.testing.assert_allclose(sampled.grad_x, full.grad_x, atol=1e-14)
    np.testing.assert_allclose(sampled.grad_W.to_dense(), full.grad_W, atol=1e-14)
    np.testing.assert_allclose(sampled.grad_bias.to_dense(), full.grad_bias, atol=1e-14)


SAMPLERS = {
    "uniform": fs.UniformSampler(CLASSES),
    "log-uniform": fs.LogUniformSampler(CLASSES),
    "unigram": fs.UnigramSampler(np.arange(1, CLASSES + 1)),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(("unique", "size"), [(False, 8), (True, 30)])
def test_estimates_of_the_partition_and_its_gradient_are_unbiased(sampler, unique, size):
    """exp(loss + z_t) estimates the sum of e^z, and that times p, which gradients have, e^z."""
    x, weights, bias, targets = layer(np.float64)
    x, targets = x[:1], targets[:1]
    z = (x @ weights.T + bias)[0]
    sums, terms = [], []
    for seed in range(4000):
        sample = sampler.sample(size, unique=unique, seed=seed)
        result = fs.sampled_softmax_loss(x, weights, targets, sample, bias, need_grad=True)
        sums.append(np.exp(result.loss + z[targets[0]]))
        p = result.grad_bias.to_dense()
        p[targets[0]] += 1
        terms.append(sums[-1] * p)
    for estimates, expected in ((np.array(sums), np.exp(z).sum()), (np.array(terms), np.exp(z))):
        error = estimates.std(axis=0) / np.sqrt(len(estimates))
        assert (np.abs(estimates.mean(axis=0) - expected) < 4.5 * error + 1e-9).all()
    assert np.std(sums) < 1.3 * np.exp(z).sum()  # so that the mean's error is about 2 % of it


@pytest.mark.parametrize("size", [2, 4, 8])
def test_in_batch_estimates_of_the_partition_are_unbiased(size):
    """As above, for the first row of batches of random targets, one more of which is ignored."""
    x, weights, bias, _ = layer(np.float64)
    x = x[:1]
    z = (x @ weights.T + bias)[0]
    rng = np.random.default_rng(3)
    counts = rng.integers(5, 15, CLASSES)
    sampler = fs.InBatchSampler()
    sampler.update(counts)
    sums, terms = [], []
    for _ in range(8000):
        targets = rng.choice(CLASSES, size, p=counts / counts.sum())
        sample = sampler.sample([-100, *targets])
        own = targets[:1]
        result = fs.sampled_softmax_loss(x, weights, own, sample, bias, need_grad=True)
        sums.append(np.exp(result.loss + z[own[0]]))
        p = result.grad_bias.to_dense()
        p[own] += 1
        terms.append(sums[-1] * p)
    for estimates, expected in ((np.array(sums), np.exp(z).sum()), (np.array(terms), np.exp(z))):
        error = estimates.std(axis=0) / np.sqrt(len(estimates))
        assert (np.abs(estimates.mean(axis=0) - expected) < 4.5 * error + 1e-9).all()
        if estimates.ndim == 1:
            # So that the interval excludes counts of n p, by which negatives are (n - 1) / n.
            assert 4.5 * error < 0.5 / size * expected


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize(("unique", "sizes"), [(False, [8, 128, 2048]), (True, [8, 30, 59])])
def test_mean_gradients_point_where_the_full_one_does(sampler, unique, sizes):
    """The cosine of both tends to 1: intervals of 99.8 % by bootstrap lie above one another."""
    x, weights, bias, targets = layer(np.float64)
    x, targets = x[:1], targets[:1]
    full = fs.linear_cross_entropy(x, weights, targets, bias, need_grad=True).grad_x[0]
    rng = np.random.default_rng(1)
    highest = -1.0
    for size in sizes:
        gradients = np.array(
            [
                fs.sampled_softmax_loss(
                    x,
                    weights,
                    targets,
                    sampler.sample(size, unique=unique, seed=seed),
                    bias,
                    need_grad=True,
                ).grad_x[0]
                for seed in range(1000)
            ]
        )
        means = gradients[rng.integers(0, 1000, (400, 1000))].mean(axis=1)
        lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(full)
        low, high = np.quantile(means @ full / lengths, [0.001, 0.999])
        assert low > highest
        highest = high
    assert low > 0.999


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("remove_hits", [True, False])
@pytest.mark.parametrize("logq", ["negatives", "all"])
def test_which_gradients_tend_to_that_of_the_full_softmax(logq, remove_hits, unique):
    """As the docstring has it, of a target that has about half of the probability."""
    rng = np.random.default_rng(0)
    x, weights = np.array([[1.0, 0.5]]), rng.normal(size=(50, 2))
    weights[3] = [4.0, 1.0]
    full = fs.linear_cross_entropy(x, weights, [3], need_grad=True)
    assert 0.4 < np.exp(-full.loss) < 0.6
    sampler = fs.UnigramSampler(rng.integers(1, 20, 50), power=1.0)
    sample = sampler.sample(50 if unique else 10**6, unique=unique, seed=1)
    options = {"logq": logq, "remove_hits": remove_hits, "need_grad": True}
    sampled = fs.sampled_softmax_loss(x, weights, [3], sample, **options)
    error = np.abs(sampled.grad_x - full.grad_x).max() / np.abs(full.grad_x).max()
    if remove_hits == (logq == "negatives" or unique):
        assert error < 0.01
    else:
        assert error > 0.2


@pytest.mark.parametrize(("loss", "logq"), [kind[1:] for kind in KINDS])
def test_batches_do_not_matter(loss, logq):
    """A loss does not depend on other rows but by what a product makes of their number."""
    x, weights, bias, targets = layer(np.float64)
    sample = fs.UniformSampler(CLASSES).sample(30, seed=1)
    whole = call(loss, logq, x, weights, targets, sample, bias, reduction="none")
    for r in range(ROWS):
        one = call(
            loss, logq, x[r : r + 1], weights, targets[r : r + 1], sample, bias, reduction="none"
        )
        assert one[0] == pytest.approx(whole[r], rel=1e-13)


@pytest.mark.parametrize(("loss", "logq"), [kind[1:] for kind in KINDS])
def test_layouts_types_and_upstream(loss, logq):
    x, weights, bias, targets = layer(np.float32)
    sample = fs.UniformSampler(CLASSES).sample(30, seed=1)
    upstream = np.random.default_rng(2).normal(size=ROWS)
    options = {"reduction": "none", "need_grad": True, "grad_out": upstream}
    plain = call(loss, logq, x, weights, targets, sample, bias, **options)
    strided = np.zeros((CLASSES, 2 * DEPTH), np.float32)
    strided[:, ::2] = weights
    views = (np.asfortranarray(x), strided[:, ::2], targets, sample, bias[::-1].copy()[::-1])
    for other in (
        call(loss, logq, *views, **options),
        call(loss, logq, x, weights.astype(">f4"), targets, sample, bias, **options),
    ):
        np.testing.assert_array_equal(other.loss, plain.loss)
        np.testing.assert_array_equal(other.grad_W.values, plain.grad_W.values)
    half = call(loss, logq, x.astype(np.float16), weights, targets, sample, bias, **options)
    assert half.loss.dtype == np.float32
    unit = call(loss, logq, x, weights, targets, sample, bias, reduction="none", need_grad=True)
    np.testing.assert_allclose(plain.grad_x, unit.grad_x * upstream[:, None], rtol=1e-5, atol=1e-6)


def test_nothing_to_do():
    x, weights, bias, targets = layer(np.float64)
    nothing = fs.Sample(np.empty(0, np.int64), np.empty(0))
    alone = fs.sampled_softmax_loss(x, weights, targets, nothing, bias, need_grad=True)
    assert alone.loss == 0.0  # the target is all there is
    assert not alone.grad_x.any()
    sample = fs.UniformSampler(CLASSES).sample(5, seed=0)
    ignored = np.full(ROWS, -100)
    none = fs.sampled_softmax_loss(x, weights, ignored, sample, bias, need_grad=True)
    assert np.isnan(none.loss)
    assert not none.grad_x.any()
    assert not none.grad_W.values.any()
    empty = fs.nce_loss(x[:0], weights, targets[:0], sample, reduction="sum", need_grad=True)
    assert empty.loss == 0.0
    assert empty.grad_x.shape == (0, DEPTH)


@pytest.mark.parametrize(("loss", "logq"), [kind[1:] for kind in KINDS])
def test_samples_that_take_several_tiles(loss, logq):
    """Scores of all rows are more than a tile: gradients are the sums of those of the parts."""
    rows, classes = 1200, 9000
    rng = np.random.default_rng(4)
    x, weights = rng.normal(size=(rows, 3)), rng.normal(size=(classes, 3))
    bias, targets = rng.normal(size=classes), rng.integers(0, classes, rows)
    targets[:7] = -100
    sample = fs.LogUniformSampler(classes).sample(8000, seed=1)
    upstream = rng.normal(size=rows)

    def part(first, last):
        arrays = x[first:last], weights, targets[first:last], sample, bias
        options = {"reduction": "none", "need_grad": True, "grad_out": upstream[first:last]}
        return call(loss, logq, *arrays, **options)

    whole, parts = part(0, rows), [part(first, first + 300) for first in range(0, rows, 300)]
    for name in ("loss", "grad_x"):
        expected = np.concatenate([getattr(p, name) for p in parts])
        np.testing.assert_allclose(getattr(whole, name), expected, rtol=1e-12, atol=1e-12)
    for name in ("grad_W", "grad_bias"):
        expected = sum(getattr(p, name).to_dense() for p in parts)
        np.testing.assert_allclose(getattr(whole, name).to_dense(), expected, atol=1e-11)
    for threads in (1, 3):
        with fs.threads(threads):
            again = part(0, rows)
        np.testing.assert_array_equal(again.loss, whole.loss)
        np.testing.assert_array_equal(again.grad_x, whole.grad_x)
        np.testing.assert_array_equal(again.grad_W.values, whole.grad_W.values)
        np.testing.assert_array_equal(again.grad_bias.values, whole.grad_bias.values)


@pytest.mark.parametrize(("loss", "logq"), [kind[1:] for kind in KINDS])
def test_targets_that_are_none(loss, logq):
    x, weights, _, targets = layer(np.float64)
    sample = fs.UniformSampler(CLASSES).sample(5, seed=0)
    for wrong, num_true, error, match in (
        (0, 1, ValueError, r"targets must have shape \(N,\), not \(\)"),
        (targets[:, None, None], 1, ValueError, r"targets must have shape \(N,\)"),
        (np.empty((ROWS, 0), np.int64), 0, ValueError, "num_true must be positive, got 0"),
        (targets, 1.0, TypeError, "integer"),
        (targets.astype(float), 1, TypeError, "targets must be integers, not float64"),
        (np.ma.array(targets, mask=targets < 9), 1, TypeError, "targets is a MaskedArray"),
        (None, 1, TypeError, "targets must be integers, not None"),
        ([2**63, 1], 1, ValueError, "targets must fit in 64 bits"),
    ):
        with pytest.raises(error, match=match):
            call(loss, logq, x, weights, wrong, sample, num_true=num_true)
    assert np.isnan(call(loss, logq, x[:0], weights, [], sample))


def test_errors():
    x, weights, bias, targets = layer(np.float64)
    sample = fs.UniformSampler(CLASSES).sample(5, seed=0)
    with pytest.raises(TypeError, match="Sample"):
        fs.sampled_softmax_loss(x, weights, targets, (sample.ids, sample.log_expected_count))
    with pytest.raises(IndexError, match="target 60 of row 2 is out of bounds for classes 0 to 59"):
        fs.sampled_softmax_loss(x, weights, np.where(np.arange(ROWS) == 2, 60, 0), sample)
    with pytest.raises(IndexError, match="class 60 of the sample is out of bounds"):
        fs.sampled_softmax_loss(x, weights, targets, fs.Sample([60], [0.0]))
    with pytest.raises(ValueError, match="num_true is 2"):
        fs.nce_loss(x, weights, np.zeros((ROWS, 3), np.int64), sample, num_true=2)
    with pytest.raises(ValueError, match=r"targets must have shape \(N, 2\)"):
        fs.nce_loss(x, weights, targets, sample, num_true=2)
    with pytest.raises(ValueError, match="logq"):
        fs.sampled_softmax_loss(x, weights, targets, sample, logq="some")
    with pytest.raises(ValueError, match="differ in their last dimension"):
        fs.sampled_softmax_loss(x[:, 1:], weights, targets, sample)
    with pytest.raises(ValueError, match="bias has shape"):
        fs.sampled_softmax_loss(x, weights, targets, sample, bias[1:])
    with pytest.raises(ValueError, match="grad_out"):
        fs.sampled_softmax_loss(x, weights, targets, sample, grad_out=1.0)
    never = fs.UnigramSampler(np.where(np.arange(CLASSES) == 7, 0, 1)).sample(5, seed=0)
    with pytest.raises(ValueError, match=r"target 7 of row 0 .* never draws it"):
        fs.sampled_softmax_loss(x, weights, np.full(ROWS, 7), never, logq="all")
    with pytest.raises(ValueError, match="which is in the sample"):
        fs.sampled_softmax_loss(x, weights, targets, fs.Sample([1], [-np.inf]))


def test_against_torch():
    torch = pytest.importorskip("torch")
    x, weights, bias, targets = (torch.tensor(a) for a in layer(np.float64))
    sample = fs.UniformSampler(CLASSES).sample(30, unique=True, seed=1)
    leaves = [t.clone().requires_grad_() for t in (x, weights, bias)]
    kept = targets != -100
    scores = leaves[0][kept] @ leaves[1].T + leaves[2]
    candidates = torch.tensor(sample.ids)
    z = scores[:, candidates] - torch.tensor(sample.log_expected_count)
    z = z.masked_fill(targets[kept, None] == candidates, -torch.inf)
    own = scores.gather(1, targets[kept, None])
    loss = (torch.logsumexp(torch.cat([own, z], 1), 1) - own[:, 0]).mean()
    loss.backward()
    ours = fs.sampled_softmax_loss(x, weights, targets, sample, bias, need_grad=True)
    assert isinstance(ours.grad_x, torch.Tensor)
    assert float(ours.loss) == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(ours.grad_x, leaves[0].grad)
    np.testing.assert_allclose(ours.grad_W.to_dense(), leaves[1].grad.numpy(), atol=1e-14)
    np.testing.assert_allclose(ours.grad_bias.to_dense(), leaves[2].grad.numpy(), atol=1e-14)
