"""HierarchicalSoftmax against autograd in float64, a sort of all leaves, and its own promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest
from tree_reference import Reference, chain, random_tree, trees

TREES = trees()
LEAST = 1e-5


@pytest.fixture(params=TREES, ids=str)
def tree(request):
    return TREES[request.param]


def layer_of(rng, tree, rows, columns, dtype=np.float64, scale=0.7):
    x = rng.normal(size=(rows, columns)).astype(dtype)
    w = (scale * rng.normal(size=(tree.num_weights, columns))).astype(dtype)
    b = rng.normal(size=tree.num_weights).astype(dtype)
    return x, w, b


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


def strided(a):
    """Views of the same numbers that lie differently."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    yield wide[..., ::2]
    yield a[::-1].copy()[::-1]
    yield np.asfortranarray(a)
    yield a.astype(a.dtype.newbyteorder()) if a.dtype.kind == "f" and a.dtype.isnative else a
    memory = np.zeros(a.nbytes + 1, np.uint8)
    odd = memory[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    yield odd


def results(layer, x, w, b, targets):
    loss = layer.loss(x, w, targets, b, need_grad=True)
    found = layer.topk(x, w, layer.tree.num_leaves, b)
    return [
        np.asarray(part)
        for part in (
            loss.loss,
            loss.grad_x,
            loss.grad_weights.ids,
            loss.grad_weights.values,
            loss.grad_bias.values,
            layer.log_prob(x, w, node_bias=b),
            *found,
            layer.sample(x, w, 7, b),
        )
    ]


def test_layouts_and_dtypes(rng, tree, dtype):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 9, 5, dtype)
    targets = rng.integers(0, tree.num_leaves, 9)
    wanted = results(layer, x, w, b, targets)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    assert wanted[1].dtype == wanted[3].dtype == wanted[5].dtype == arithmetic
    for other in (
        *zip(strided(x), strided(w), strided(b), strict=True),
        tuple(a.astype(arithmetic) for a in (x, w, b)),
    ):
        for got, want in zip(
            results(layer, *other, targets[::-1].copy()[::-1]), wanted, strict=True
        ):
            np.testing.assert_array_equal(got, want)


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


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_batches(rng, tree, threads):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 200, 130, np.float32, 0.2)
    targets = rng.integers(0, tree.num_leaves, 200)
    with fs.threads(1):
        one = results(layer, x, w, b, targets)
    with fs.threads(threads):
        several = results(layer, x, w, b, targets)
        for got, want in zip(several, one, strict=True):
            np.testing.assert_array_equal(got, want)
        order = rng.permutation(200)[:77]
        losses = layer.loss(x, w, targets, b, reduction="none", need_grad=True)
        part = layer.loss(x[order], w, targets[order], b, reduction="none", need_grad=True)
        np.testing.assert_array_equal(part.loss, losses.loss[order])
        np.testing.assert_array_equal(part.grad_x, losses.grad_x[order])
        np.testing.assert_array_equal(layer.log_prob(x[order], w, node_bias=b), one[5][order])
        np.testing.assert_array_equal(layer.topk(x[order], w, 1, b).values, one[6][order, :1])


CORPUS = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import fastsoftmax as fs
import numpy as np
from test_hierarchical_softmax import TREES, layer_of, results
digests = {}
for name, tree in TREES.items():
    for dtype in (np.float16, np.float32, np.float64):
        rng = np.random.default_rng(3)
        for rows, columns, scale in ((1, 3, 0.7), (37, 50, 0.7), (40, 17, 1e3), (9, 5, 1e5)):
            x, w, b = layer_of(rng, tree, rows, columns, np.float64, scale)
            if scale == 1e5:
                w[rng.random(w.shape) < 0.05] = np.nan
            with np.errstate(over="ignore"):
                x, w, b = x.astype(dtype), w.astype(dtype), b.astype(dtype)
            targets = rng.integers(0, tree.num_leaves, rows)
            for i, part in enumerate(results(fs.HierarchicalSoftmax(tree), x, w, b, targets)):
                digest = hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()
                digests[f"{name} {np.dtype(dtype)} {rows} {scale} part {i}"] = digest
print(json.dumps([fs.isa_in_use(), digests]))
"""


@pytest.fixture(scope="module")
def digests_of():
    def run(isa):
        done = subprocess.run(
            [sys.executable, "-c", CORPUS, os.path.dirname(__file__)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"FASTSOFTMAX_ISA": isa},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        used, digests = json.loads(done.stdout)
        assert used == isa
        return digests

    return run


def test_instruction_sets(digests_of):
    supported = fs.isas_supported()
    scalar = digests_of("scalar")
    assert len(scalar) == len(TREES) * 3 * 4 * 9
    for isa in supported:
        digests = digests_of(isa)
        assert not [key for key in scalar if digests[key] != scalar[key]]


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
