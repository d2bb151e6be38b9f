"""HierarchicalSoftmax against autograd in float64, a sort of all leaves, and chi-square."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from tree_reference import TREES, Reference, chain, layer_of, random_tree

LEAST = 1e-5


@pytest.fixture(params=TREES, ids=str)
def tree(request):
    return TREES[request.param]


def check_loss(tree, x, w, b, targets, tolerance, **options):
    torch = pytest.importorskip("torch")
    result = fs.HierarchicalSoftmax(tree).loss(x, w, targets, b, need_grad=True, **options)
    reduction = options.pop("reduction", "mean")
    expected = Reference(tree, torch).loss(x, w, b, targets, reduction, **options)
    for got, want in zip(result, expected, strict=True):
        dense = got.to_dense() if isinstance(got, fs.SparseRows) else got
        scale = np.abs(want).max(initial=0.1)
        np.testing.assert_allclose(dense, want, rtol=tolerance, atol=tolerance * scale)
    alone = fs.HierarchicalSoftmax(tree).loss(
        x,
        w,
        targets,
        b,
        reduction=reduction,
        **{k: v for k, v in options.items() if k == "ignore_index"},
    )
    np.testing.assert_array_equal(alone, result.loss)
    return result


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_autograd(rng, tree, dtype, reduction):
    for columns in (1, 7, 40):
        x, w, b = layer_of(rng, tree, 31, columns, dtype)
        targets = rng.integers(0, tree.num_leaves, 31)
        targets[[0, 30]] = -100
        tolerance = 1e-12 if dtype == np.float64 else 2e-5
        check_loss(tree, x, w, b, targets, tolerance, reduction=reduction)


def test_autograd_of_a_deep_tree(rng):
    tree = chain(3000)
    x, w, b = layer_of(rng, tree, 5, 3, scale=0.3)
    check_loss(tree, x, w, b, [3000, 17, 0, 2999, 1500], 1e-11)


def test_grad_out_and_ignore_index(rng, tree):
    x, w, b = layer_of(rng, tree, 12, 5)
    targets = rng.integers(0, tree.num_leaves, 12)
    upstream = rng.normal(size=12)
    check_loss(tree, x, w, b, targets, 1e-12, reduction="none", grad_out=upstream)
    check_loss(tree, x, w, b, targets, 1e-12, reduction="sum", grad_out=-2.5)
    if (targets != targets[3]).any():
        check_loss(tree, x, w, b, targets, 1e-12, ignore_index=int(targets[3]))


def test_scores_far_apart(rng, tree):
    """Beyond the domain of the exponential, where terms vanish, and where a probability is 1."""
    for scale in (30.0, 1e3, 1e6):
        x, w, b = layer_of(rng, tree, 9, 4, scale=scale)
        check_loss(tree, x, w, b, rng.integers(0, tree.num_leaves, 9), 1e-12, reduction="none")


def test_gradients_are_of_the_vectors_that_were_touched(rng):
    tree = TREES["huffman"]
    x, w, _ = layer_of(rng, tree, 3, 4)
    result = fs.HierarchicalSoftmax(tree).loss(x, w, [5, 5, 80], need_grad=True)
    nodes, _, offsets = tree.paths()
    on_the_way = np.union1d(nodes[offsets[5] : offsets[6]], nodes[offsets[80] : offsets[81]])
    np.testing.assert_array_equal(result.grad_weights.ids, on_the_way)
    assert result.grad_weights.shape == (tree.num_weights, 4)
    tree = TREES["clusters"]
    x, w, b = layer_of(rng, tree, 1, 4)
    result = fs.HierarchicalSoftmax(tree).loss(x, w, [5], b, need_grad=True)
    parents = np.asarray(tree.parents())
    siblings = np.flatnonzero(np.isin(parents, [parents[5], parents[parents[5]]]))
    np.testing.assert_array_equal(result.grad_weights.ids, siblings)
    np.testing.assert_array_equal(result.grad_bias.ids, siblings)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_leaves(rng, tree, dtype):
    torch = pytest.importorskip("torch")
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 40, 9, dtype)
    log_p = layer.log_prob(x, w, node_bias=b)
    assert log_p.dtype == dtype
    assert log_p.shape == (40, tree.num_leaves)
    wide = [torch.tensor(a.astype(np.float64)) for a in (x, w, b)]
    expected = Reference(tree, torch).log_prob(*wide).numpy()
    np.testing.assert_allclose(log_p, expected, rtol=1e-12 if dtype == np.float64 else 3e-5)
    total = fs.logsumexp(log_p.astype(np.float64), 1)
    np.testing.assert_allclose(total, 0, atol=1e-14 if dtype == np.float64 else 1e-6)
    # The same bits for one, for several, and for the loss.
    ids = rng.integers(0, tree.num_leaves, (40, 6))
    rows = np.arange(40)
    np.testing.assert_array_equal(layer.log_prob(x, w, ids, b), log_p[rows[:, None], ids])
    np.testing.assert_array_equal(layer.log_prob(x, w, ids[:, 0], b), log_p[rows, ids[:, 0]])
    losses = layer.loss(x, w, ids[:, 1], b, reduction="none")
    np.testing.assert_array_equal(losses, -log_p[rows, ids[:, 1]])
    assert layer.log_prob(x, w, ids[:, :0], b).shape == (40, 0)


def sorted_leaves(log_p):
    """Leaves in descending order, NaN first, ties by id."""
    ids = np.broadcast_to(np.arange(log_p.shape[1]), log_p.shape)
    return np.lexsort((ids, np.where(np.isnan(log_p), 0, -log_p), ~np.isnan(log_p)))


def same_as_sorted(layer, x, w, b, k, beam=None):
    log_p = layer.log_prob(x, w, node_bias=b)
    order = sorted_leaves(log_p)[:, :k]
    values, indices = layer.topk(x, w, k, b, beam=beam)
    np.testing.assert_array_equal(values, np.take_along_axis(log_p, indices, 1))
    # The search comes to a leaf that is NaN when it comes to the node that makes it so.
    plain = np.flatnonzero(~np.isnan(log_p).any(1)) if beam is None else slice(None)
    np.testing.assert_array_equal(indices[plain], order[plain])
    for row in range(len(log_p)):
        assert np.unique(indices[row]).size == k
        numbers = indices[row][~np.isnan(values[row])]
        all_numbers = sorted_leaves(log_p[row : row + 1])[0][np.isnan(log_p[row]).sum() :]
        np.testing.assert_array_equal(numbers, all_numbers[: numbers.size])


@pytest.mark.parametrize("weights", ["random", "equal", "zero", "few", "large", "special"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_topk(rng, tree, dtype, weights):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 11, 5, dtype)
    if weights == "equal":
        w[:] = w[:1]
        b = None
    elif weights == "zero":
        w[:] = 0
        b = None
    elif weights == "few":
        w = np.round(w)
        x = np.round(x)
        b = None
    elif weights == "large":
        w *= dtype(1e5)
    elif weights == "special":
        w[rng.random(w.shape) < 0.02] = np.nan
        w[rng.random(w.shape) < 0.02] = np.inf
        x[3, 1] = -np.inf
        x[4] = np.nan
    for k in {0, 1, tree.num_leaves // 2, tree.num_leaves}:
        same_as_sorted(layer, x, w, b, k)
        same_as_sorted(layer, x, w, b, k, beam=tree.num_leaves)
    found = layer.topk(x, w, 1, b, return_visited=True)
    assert found.visited.shape == (11,)
    assert (found.visited <= tree.num_nodes).all()


def test_least_log_prob(rng, tree):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 8, 5, np.float32)
    log_p = layer.log_prob(x, w, node_bias=b)
    for least in (-1.0, -5.0, 0.5, float(np.median(log_p)), np.inf, -np.inf):
        for beam in (None, tree.num_leaves):
            found = layer.topk(x, w, tree.num_leaves, b, min_log_prob=least, beam=beam)
            counts = (log_p >= least).sum(1)
            np.testing.assert_array_equal((found.indices >= 0).sum(1), counts)
            for row, count in enumerate(counts):
                assert (found.indices[row, count:] == -1).all()
                assert (found.values[row, count:] == -np.inf).all()
                assert (log_p[row, found.indices[row, :count]] >= least).all()


def test_beam_keeps_the_best(rng):
    tree = TREES["huffman"]
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 20, 5)
    best = layer.topk(x, w, 1, b)
    for beam in (1, 3, 20):
        found = layer.topk(x, w, 2, b, beam=beam, return_visited=True)
        assert (found.visited <= beam * tree.max_depth).all()
        kept = found.indices >= 0
        assert kept[:, 0].all()
        assert kept[:, 1].all() == (beam > 1)
        log_p = layer.log_prob(x, w, np.maximum(found.indices, 0), b)
        np.testing.assert_array_equal(found.values[kept], log_p[kept])
        assert (found.values[:, 0] <= best.values[:, 0]).all()
    np.testing.assert_array_equal(layer.topk(x, w, 1, b, beam=40).indices, best.indices)


def test_few_nodes_are_visited_where_few_matter(rng):
    tree = fs.Tree.huffman(10**6 // np.arange(1, 5001))
    layer = fs.HierarchicalSoftmax(tree)
    x, w, _ = layer_of(rng, tree, 10, 4, scale=6.0)
    found = layer.topk(x, w, 5, return_visited=True)
    assert (found.visited < 0.05 * tree.num_nodes).all()


@pytest.mark.parametrize("name", ["huffman", "clusters", "one to five children", "chain"])
@pytest.mark.parametrize("by", ["row", "position", "seed"])
def test_draws(rng, sampling, name, by):
    tree = TREES[name]
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 1, 4, np.float32)
    p = np.exp(layer.log_prob(x, w, node_bias=b)[0].astype(np.float64))
    if by == "row":
        drawn = layer.sample(np.broadcast_to(x, (20000, 4)), w, 3, b)
    elif by == "position":
        drawn = [layer.sample(x, w, 3, b, position=i)[0] for i in range(3000)]
    else:
        drawn = [layer.sample(x, w, i, b)[0] for i in range(3000)]
    assert sampling.p_value(np.asarray(drawn), p / p.sum()) > LEAST


def test_draws_belong_to_seed_position_and_row(rng, tree):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 300, 4)
    drawn = layer.sample(x, w, 5, b, position=9)
    assert drawn.dtype == np.int64
    assert ((drawn >= 0) & (drawn < tree.num_leaves)).all()
    np.testing.assert_array_equal(layer.sample(x, w, 5, b, position=9), drawn)
    np.testing.assert_array_equal(layer.sample(x[:40], w, 5, b, position=9), drawn[:40])
    if tree.num_leaves > 2:
        for seed, position in ((6, 9), (5, 10), (5 + 2**32, 9)):
            assert (layer.sample(x, w, seed, b, position=position) != drawn).any()
        assert (layer.sample(x, w, None, b) != layer.sample(x, w, None, b)).any()
    with fs.threads(3):
        np.testing.assert_array_equal(layer.sample(x, w, 5, b, position=9), drawn)
    first = layer.sample(x, w, np.random.default_rng(4), b)
    np.testing.assert_array_equal(layer.sample(x, w, np.random.default_rng(4), b), first)


def test_special_scores():
    layer = fs.HierarchicalSoftmax(fs.Tree.balanced(2))
    w = np.ones((1, 1))
    x = np.array([[np.inf], [-np.inf], [np.nan], [0.0]])
    half = np.log(0.5)
    expected = [[0, -np.inf], [-np.inf, 0], [np.nan, np.nan], [half, half]]
    np.testing.assert_array_equal(layer.log_prob(x, w), expected)
    result = layer.loss(x, w, [0, 0, 0, 0], reduction="none", need_grad=True)
    np.testing.assert_array_equal(result.loss, [0, np.inf, np.nan, -half])
    np.testing.assert_array_equal(result.grad_x[:, 0], [0, -1, np.nan, -0.5])
    np.testing.assert_array_equal(layer.topk(x, w, 2).indices, [[0, 1], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(layer.sample(x, w, 1)[:2], [0, 1])


@pytest.mark.parametrize("seed", range(8))
def test_random_trees(seed):
    rng = np.random.default_rng(seed)
    least, most = ((2, 2), (1, 4))[seed % 2]
    tree = random_tree(seed, int(rng.integers(1, 60)), least, most)
    dtype = (np.float32, np.float64)[seed % 3 % 2]
    rows, columns = int(rng.integers(1, 70)), int(rng.integers(0, 50))
    x, w, b = layer_of(rng, tree, rows, columns, dtype)
    targets = rng.integers(0, tree.num_leaves, rows)
    check_loss(tree, x, w, b, targets, 1e-11 if dtype == np.float64 else 3e-5)
    same_as_sorted(fs.HierarchicalSoftmax(tree), x, w, b, int(rng.integers(0, tree.num_leaves + 1)))


def test_empty_lists_are_integers():
    layer = fs.HierarchicalSoftmax(fs.Tree.huffman([5, 3, 2]))
    x, weights = np.ones((0, 4)), np.ones((2, 4))
    assert np.isnan(layer.loss(x, weights, []))
    assert layer.log_prob(x, weights, []).shape == (0,)
    with pytest.raises(TypeError, match="float64"):
        layer.log_prob(x, weights, np.empty(0))
