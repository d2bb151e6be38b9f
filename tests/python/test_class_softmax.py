"""ClassSoftmax: two softmaxes by their formula, in torch, and HierarchicalSoftmax as its peer."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest


def arrays_of(rng, layer, rows=25, columns=9, dtype=np.float64):
    words = layer.class_of.size
    shapes = [(rows, columns), (layer.num_classes, columns), (words, columns)]
    x, class_weights, weights = (0.7 * rng.normal(size=s) for s in shapes)
    class_bias, bias = rng.normal(size=layer.num_classes), rng.normal(size=words)
    return [a.astype(dtype) for a in (x, class_weights, weights, class_bias, bias)]


def layers():
    rng = np.random.default_rng(2)
    return {
        "shuffled": fs.ClassSoftmax(rng.permutation(np.arange(60) % 7)),
        "one class": fs.ClassSoftmax(np.zeros(9, int)),
        "a class each": fs.ClassSoftmax(np.arange(6)),
        "one word": fs.ClassSoftmax([0]),
        "frequencies": fs.ClassSoftmax.from_frequencies(10**6 // np.arange(1, 400)),
    }


LAYERS = layers()


@pytest.fixture(params=LAYERS, ids=str)
def layer(request):
    return LAYERS[request.param]


def log_prob(torch, layer, x, class_weights, weights, class_bias, bias):
    """Log-probabilities of all words, by the formula."""
    of_class = torch.log_softmax(x @ class_weights.T + class_bias, 1)
    of_word = x @ weights.T + bias
    columns = []
    for word, label in enumerate(layer.class_of):
        mates = np.flatnonzero(layer.class_of == label)
        within = torch.log_softmax(of_word[:, mates], 1)
        columns.append(of_class[:, label] + within[:, int(np.searchsorted(mates, word))])
    return torch.stack(columns, 1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_autograd(rng, layer, dtype, reduction):
    torch = pytest.importorskip("torch")
    arrays = arrays_of(rng, layer, dtype=dtype)
    targets = rng.integers(0, layer.class_of.size, 25)
    targets[[0, 7]] = -100
    upstream = rng.normal(size=25 if reduction == "none" else None)
    x, class_weights, weights, class_bias, bias = arrays
    options = {"reduction": reduction, "grad_out": upstream, "need_grad": True}
    result = layer.loss(x, class_weights, weights, targets, class_bias, bias, **options)
    assert type(result).__name__ == "ClassLoss"
    leaves = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in arrays]
    kept = np.flatnonzero(targets != -100)
    losses = torch.zeros(25, dtype=torch.float64)
    losses[kept] = -log_prob(torch, layer, *leaves)[kept, targets[kept]]
    loss = losses if reduction == "none" else losses.sum()
    loss = loss / kept.size if reduction == "mean" else loss
    (loss * torch.as_tensor(upstream, dtype=torch.float64)).sum().backward()
    tolerance = 1e-12 if dtype == np.float64 else 3e-5
    np.testing.assert_allclose(result.loss, loss.detach(), rtol=tolerance, atol=tolerance)
    gradients = (
        result.grad_x,
        result.grad_class_weights.to_dense(),
        result.grad_weights.to_dense(),
        result.grad_class_bias.to_dense(),
        result.grad_bias.to_dense(),
    )
    for got, want in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(got, want.grad, rtol=tolerance, atol=tolerance)
    touched = np.unique(layer.class_of[targets[kept]])
    words = np.flatnonzero(np.isin(layer.class_of, touched))
    np.testing.assert_array_equal(result.grad_weights.ids, words)
    np.testing.assert_array_equal(result.grad_class_weights.ids, np.arange(layer.num_classes))
    bare = layer.loss(x, class_weights, weights, targets, need_grad=True)
    assert bare.grad_class_bias is bare.grad_bias is None
    alone = layer.loss(x, class_weights, weights, targets, class_bias, bias, reduction=reduction)
    np.testing.assert_array_equal(alone, result.loss)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_prob_topk_and_sample(rng, sampling, layer, dtype):
    torch = pytest.importorskip("torch")
    arrays = x, class_weights, weights, class_bias, bias = arrays_of(rng, layer, dtype=dtype)
    log_p = layer.log_prob(x, class_weights, weights, None, class_bias, bias)
    wide = [torch.tensor(a.astype(np.float64)) for a in arrays]
    expected = log_prob(torch, layer, *wide)
    np.testing.assert_allclose(log_p, expected, rtol=1e-12 if dtype == np.float64 else 2e-5)
    words = layer.class_of.size
    ids = rng.integers(0, words, (25, 3))
    some = layer.log_prob(x, class_weights, weights, ids, class_bias, bias)
    np.testing.assert_array_equal(some, np.take_along_axis(log_p, ids, 1))
    order = np.argsort(-log_p, axis=1, kind="stable")
    for k in {0, 1, words // 2, words}:
        found = layer.topk(x, class_weights, weights, k, class_bias, bias)
        np.testing.assert_array_equal(found.indices, order[:, :k])
        np.testing.assert_array_equal(found.values, np.take_along_axis(log_p, order[:, :k], 1))
    few = layer.topk(x, class_weights, weights, words, class_bias, bias, min_log_prob=-2.0)
    np.testing.assert_array_equal((few.indices >= 0).sum(1), (log_p >= -2).sum(1))
    many = np.broadcast_to(x[0], (20000, 9))
    drawn = layer.sample(many, class_weights, weights, 4, class_bias, bias)
    p = np.exp(log_p[0].astype(np.float64))
    assert sampling.p_value(drawn, p / p.sum()) > 1e-5
    np.testing.assert_array_equal(
        layer.sample(many, class_weights, weights, 4, class_bias, bias), drawn
    )
    again = layer.sample(many, class_weights, weights, 4, class_bias, bias, position=1)
    assert words == 1 or (again != drawn).any()


def test_it_is_a_tree(rng, layer):
    """The same bits as HierarchicalSoftmax, vectors of words before those of classes."""
    x, class_weights, weights, class_bias, bias = arrays_of(rng, layer, dtype=np.float32)
    root = np.full((1, 9), np.nan, np.float32)
    tree = fs.HierarchicalSoftmax(layer.tree)
    together = np.concatenate([weights, class_weights, root])
    biases = np.concatenate([bias, class_bias, root[0, :1]])
    np.testing.assert_array_equal(
        layer.log_prob(x, class_weights, weights, None, class_bias, bias),
        tree.log_prob(x, together, node_bias=biases),
    )
    targets = rng.integers(0, layer.class_of.size, 25)
    got = layer.loss(x, class_weights, weights, targets, class_bias, bias, need_grad=True)
    want = tree.loss(x, together, targets, biases, need_grad=True)
    assert got.loss == want.loss
    np.testing.assert_array_equal(got.grad_x, want.grad_x)
    rows = np.concatenate([got.grad_weights.values, got.grad_class_weights.values])
    np.testing.assert_array_equal(rows, want.grad_weights.values)
    numbers = np.concatenate([got.grad_bias.values, got.grad_class_bias.values])
    np.testing.assert_array_equal(numbers, want.grad_bias.values)


def test_tensors_and_other_types(rng):
    torch = pytest.importorskip("torch")
    layer = LAYERS["shuffled"]
    arrays = arrays_of(rng, layer, dtype=np.float16)
    tensors = [torch.tensor(a) for a in arrays]
    log_p = layer.log_prob(*tensors[:3], None, *tensors[3:])
    assert type(log_p) is torch.Tensor
    assert log_p.dtype == torch.float32
    single = [a.astype(np.float32) for a in arrays]
    np.testing.assert_array_equal(log_p, layer.log_prob(*single[:3], None, *single[3:]))
    mixed = layer.log_prob(arrays[0], arrays[1], arrays[2].astype(np.float64))
    assert mixed.dtype == np.float64


def test_classes():
    layer = fs.ClassSoftmax([1, 0, 1, 2])
    assert layer.num_classes == 3
    assert layer.tree.num_leaves == 4
    np.testing.assert_array_equal(layer.class_of, [1, 0, 1, 2])
    with pytest.raises(ValueError, match="read-only"):
        layer.class_of[0] = 2
    assert repr(layer) == "ClassSoftmax(words=4, classes=3)"
    given = np.array([0, 1])
    layer = fs.ClassSoftmax(given)
    given[:] = 0
    assert layer.num_classes == 2
    np.testing.assert_array_equal(layer.class_of, [0, 1])


def test_classes_of_frequencies(rng):
    counts = rng.permutation(10**7 // np.arange(1, 20001))
    layer = fs.ClassSoftmax.from_frequencies(counts)
    p = counts / counts.sum()
    sizes = np.bincount(layer.class_of)

    def cost(class_of):
        return class_of.max() + 1 + (p * np.bincount(class_of)[class_of]).sum()

    assert cost(layer.class_of) < 1.05 * 2 * np.sqrt(p).sum()  # the least there can be
    equal = np.empty(20000, int)
    equal[np.argsort(-counts, kind="stable")] = np.arange(20000) // 141
    assert cost(layer.class_of) < cost(equal)
    means = np.bincount(layer.class_of, counts) / sizes
    assert (np.diff(means) <= 0).all()
    for classes in (1, 2, 50, 20000):
        numbers = fs.ClassSoftmax.from_frequencies(counts, classes).num_classes
        assert 0.5 * classes <= numbers <= classes
    zeros = fs.ClassSoftmax.from_frequencies(np.zeros(100, int))
    assert zeros.num_classes == 10
    np.testing.assert_array_equal(np.bincount(zeros.class_of), [10] * 10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fs.ClassSoftmax([]), ValueError, "at least one leaf"),
        (lambda: fs.ClassSoftmax([0, 2]), ValueError, "cluster 1 has no leaf"),
        (lambda: fs.ClassSoftmax([0, -1]), ValueError, "leaf 1 is -1"),
        (lambda: fs.ClassSoftmax([[0, 1]]), ValueError, "class_of"),
        (lambda: fs.ClassSoftmax([0.0, 1.0]), TypeError, "class_of"),
        (lambda: fs.ClassSoftmax.from_frequencies([]), ValueError, "no counts"),
        (lambda: fs.ClassSoftmax.from_frequencies([3, -1]), ValueError, "word 1 is negative"),
        (lambda: fs.ClassSoftmax.from_frequencies([0.5]), TypeError, "counts"),
        (lambda: fs.ClassSoftmax.from_frequencies([1, 2], 3), ValueError, r"in \[1, 2\], got 3"),
        (lambda: fs.ClassSoftmax.from_frequencies([1, 2], 0), ValueError, "got 0"),
        (lambda: fs.ClassSoftmax.from_frequencies([1, 2], 1.5), TypeError, "integer"),
    ],
)
def test_errors_of_classes(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda s, x, c, w: s.loss(x, c[1:], w, [0] * 3),
            ValueError,
            r"class_weights must .*\(7, D",
        ),
        (lambda s, x, c, w: s.loss(x, c, w[1:], [0] * 3), ValueError, r"weights must .*\(60, D\)"),
        (lambda s, x, c, w: s.loss(x, c, w[0], [0] * 3), ValueError, r"not \(9,\)"),
        (lambda s, x, c, w: s.loss(x[:, 1:], c, w, [0] * 3), ValueError, "expected"),
        (
            lambda s, x, c, w: s.loss(x, c, w, [0] * 3, c[:, 0]),
            ValueError,
            "together or not at all",
        ),
        (lambda s, x, c, w: s.loss(x, c, w, [0] * 3, None, w[:, 0]), ValueError, "together"),
        (
            lambda s, x, c, w: s.loss(x, c, w, [0] * 3, c[1:, 0], w[:, 0]),
            ValueError,
            r"class_bias must have shape \(7,\), not \(6,\)",
        ),
        (
            lambda s, x, c, w: s.loss(x, c, w, [0] * 3, c[:, 0], w[:, :1]),
            ValueError,
            r"^bias must have shape \(60,\), not \(60, 1\)",
        ),
        (
            lambda s, x, c, w: s.loss(x, np.ma.array(c, mask=c > 0), w, [0] * 3),
            TypeError,
            "class_weights is a MaskedArray",
        ),
        (
            lambda s, x, c, w: s.log_prob(x, c, np.ma.array(w, mask=w > 0)),
            TypeError,
            "^weights is a MaskedArray",
        ),
        (lambda s, x, c, w: s.loss(x, c, w, [0, 0, 60]), IndexError, "id 60 of row 2"),
        (lambda s, x, c, w: s.log_prob(x, c, w, [0]), ValueError, "ids have shape"),
        (lambda s, x, c, w: s.topk(x, c, w, 61), ValueError, "got 61"),
        (lambda s, x, c, w: s.topk(x, c, w, 1, min_log_prob=np.nan), ValueError, "NaN"),
        (lambda s, x, c, w: s.sample(x, c, w, position=-1), ValueError, "position"),
    ],
)
def test_errors_of_arrays(rng, call, error, message):
    layer = LAYERS["shuffled"]
    x, class_weights, weights, *_ = arrays_of(rng, layer, rows=3)
    with pytest.raises(error, match=message):
        call(layer, x, class_weights, weights)
