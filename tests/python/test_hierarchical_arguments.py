"""HierarchicalSoftmax: arguments of every kind, nothing to do, and what is refused."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from tree_reference import TREES, layer_of


@pytest.fixture(params=TREES, ids=str)
def tree(request):
    return TREES[request.param]


def test_nothing_to_do(rng, tree):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 4, 3, np.float32)
    result = layer.loss(x, w, [-100] * 4, b, need_grad=True)
    assert np.isnan(result.loss)
    assert not result.grad_x.any()
    assert result.grad_weights.ids.size == result.grad_bias.ids.size == 0
    assert layer.loss(x, w, [-100] * 4, reduction="sum") == 0
    none = layer.loss(x[:0], w, np.empty(0, int), b, reduction="none", need_grad=True)
    assert none.loss.shape == (0,)
    assert none.grad_x.shape == (0, 3)
    assert layer.log_prob(x[:0], w).shape == (0, tree.num_leaves)
    assert layer.log_prob(x[:0], w, np.empty((0, 5), int)).shape == (0, 5)
    assert layer.topk(x[:0], w, 1).indices.shape == (0, 1)
    assert layer.sample(x[:0], w, 1).shape == (0,)
    # Without columns only biases are left.
    log_p = layer.log_prob(x[:, :0], w[:, :0], node_bias=b)
    np.testing.assert_allclose(fs.logsumexp(log_p, 1), 0, atol=1e-6)
    assert (log_p == log_p[0]).all()
    assert layer.loss(x[:, :0], w[:, :0], [0] * 4, b, need_grad=True).grad_x.shape == (4, 0)


def test_integers_and_lists(rng):
    layer = fs.HierarchicalSoftmax(TREES["clusters"])
    w = rng.integers(-3, 4, (layer.tree.num_weights, 3))
    x = rng.integers(-3, 4, (4, 3))
    expected = layer.log_prob(x.astype(float), w.astype(float))
    for given in ((x, w), (x.tolist(), w.tolist()), (x.astype(np.int8), w.astype(np.float32))):
        log_p = layer.log_prob(*given)
        assert log_p.dtype == np.float64
        np.testing.assert_array_equal(log_p, expected)
    for ids in ([1, 2, 3, 4], np.array([1, 2, 3, 4], np.uint8), np.array([1, 2, 3, 4], ">i4")):
        np.testing.assert_array_equal(layer.log_prob(x, w, ids), expected[range(4), [1, 2, 3, 4]])


def test_tensors(rng):
    torch = pytest.importorskip("torch")
    for name in ("huffman", "clusters"):
        tree = TREES[name]
        layer = fs.HierarchicalSoftmax(tree)
        arrays = layer_of(rng, tree, 6, 4, np.float32)
        targets = rng.integers(0, tree.num_leaves, 6)
        x, w, b, t = map(torch.tensor, (*arrays, targets))
        log_p = layer.log_prob(x, w, node_bias=b)
        assert type(log_p) is torch.Tensor
        np.testing.assert_array_equal(log_p, layer.log_prob(*arrays[:2], node_bias=arrays[2]))
        result = layer.loss(x, w, t, b, reduction="none", need_grad=True)
        assert type(result.loss) is type(result.grad_x) is torch.Tensor
        found = layer.topk(x, w, 2, b)
        assert type(found.values) is type(found.indices) is torch.Tensor
        assert type(layer.sample(x, w, 1, b)) is torch.Tensor
        transposed = layer.log_prob(x.T.contiguous().T, w.T.contiguous().T, t, b)
        assert torch.equal(transposed, log_p[range(6), targets])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda h, x, w: h.loss(x, w[1:], [0] * 3),
            ValueError,
            r"tree.num_weights = 7, not \(6, 4",
        ),
        (lambda h, x, w: h.loss(x, w[0], [0] * 3), ValueError, r"not \(4,\)"),
        (lambda h, x, w: h.loss(x, w[:, 1:], [0] * 3), ValueError, "node weights have shape"),
        (lambda h, x, w: h.loss(x[0], w, [0]), ValueError, r"x must have 2 dim.*\(4,\)"),
        (lambda h, x, w: h.loss(x, w, [0] * 3, w[0]), ValueError, r"shape \(7,\), not \(4,\)"),
        (
            lambda h, x, w: h.loss(x, w, [0, 8, 0]),
            IndexError,
            "id 8 of row 1 is out of bounds for 8",
        ),
        (lambda h, x, w: h.loss(x, w, [0, 0, -1]), IndexError, "id -1 of row 2"),
        (lambda h, x, w: h.loss(x, w, [0] * 2), ValueError, r"targets have shape \(2,\) for 3"),
        (lambda h, x, w: h.loss(x, w, [[0] * 3]), ValueError, "targets have shape"),
        (lambda h, x, w: h.loss(x, w, [0.0] * 3), TypeError, "targets must be"),
        (lambda h, x, w: h.loss(x, w, [0] * 3, reduction="max"), ValueError, "reduction must be"),
        (lambda h, x, w: h.loss(x, w, [0] * 3, ignore_index=0.5), TypeError, "ignore_index"),
        (lambda h, x, w: h.loss(x, w, [0] * 3, grad_out=1.0), ValueError, "need_grad only"),
        (
            lambda h, x, w: h.loss(x, w, [0] * 3, grad_out=[1.0], need_grad=True),
            ValueError,
            "grad_out has shape",
        ),
        (lambda h, x, w: h.loss(x + 0j, w, [0] * 3), TypeError, "x has dtype complex128"),
        (lambda h, x, w: h.loss(x, w + 0j, [0] * 3), TypeError, "dtype complex128"),
        (lambda h, x, w: h.log_prob(x, w, [0] * 2), ValueError, r"ids have shape \(2,\) for 3"),
        (lambda h, x, w: h.log_prob(x, w, 0), ValueError, "ids have shape"),
        (lambda h, x, w: h.log_prob(x, w, [[[0]]] * 3), ValueError, r"expected \(N,\) or \(N, M\)"),
        (lambda h, x, w: h.log_prob(x, w, [0, 1, -100]), IndexError, "id -100 of row 2"),
        (lambda h, x, w: h.log_prob(x, w, [[0, 9]] * 3), IndexError, "id 9 of row 0"),
        (
            lambda h, x, w: h.topk(x, w, 9),
            ValueError,
            "between 0 and the number of leaves, 8, got 9",
        ),
        (lambda h, x, w: h.topk(x, w, -1), ValueError, "got -1"),
        (lambda h, x, w: h.topk(x, w, 1.5), TypeError, "k"),
        (lambda h, x, w: h.topk(x, w, 1, beam=0), ValueError, "beam must be positive, got 0"),
        (lambda h, x, w: h.topk(x, w, 1, beam=-3), ValueError, "beam must be positive, got -3"),
        (lambda h, x, w: h.topk(x, w, 1, min_log_prob=np.nan), ValueError, "must not be NaN"),
        (lambda h, x, w: h.topk(x, w, 1, min_log_prob="a"), TypeError, "min_log_prob"),
        (lambda h, x, w: h.sample(x, w, 1, position=-1), ValueError, "position must be in"),
        (lambda h, x, w: h.sample(x, w, 1, position=2**32), ValueError, "got 4294967296"),
        (lambda h, x, w: h.sample(x, w, [1, 2, 3]), TypeError, "seed must be"),
        (lambda h, x, w: h.sample(x, w, -1), ValueError, "seed"),
        (lambda h, x, w: h.sample(x, w, 1.5), TypeError, "seed"),
    ],
)
def test_errors(rng, call, error, message):
    tree = fs.Tree.balanced(8)
    x, w, _ = layer_of(rng, tree, 3, 4)
    with pytest.raises(error, match=message):
        call(fs.HierarchicalSoftmax(tree), x, w)


def test_what_a_layer_is():
    tree = fs.Tree.balanced(8)
    layer = fs.HierarchicalSoftmax(tree)
    assert layer.tree is tree
    assert repr(layer) == f"HierarchicalSoftmax({tree!r})"
    with pytest.raises(TypeError, match="tree must be a Tree, not list"):
        fs.HierarchicalSoftmax([1, 2])
    with pytest.raises(AttributeError):
        layer.tree = tree
