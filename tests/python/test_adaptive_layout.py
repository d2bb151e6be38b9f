"""AdaptiveSoftmax without inputs: shapes, initial weights, cutoffs by the cost model."""

from __future__ import annotations

import itertools

import fastsoftmax as fs
import numpy as np
import pytest


def arrays_of(weights):
    bias = [] if weights.head_bias is None else [weights.head_bias]
    return [weights.head, *weights.projections, *weights.tails, *bias]


def test_shapes_are_those_of_torch():
    torch = pytest.importorskip("torch")
    for depth, div in itertools.product((5, 64, 100), (1.0, 2.5, 4.0)):
        layer = fs.AdaptiveSoftmax([2, 5, 9], div, head_bias=True)
        shapes = layer.shapes(depth, 20)
        reduced = [max(int(depth // div ** (i + 1)), 1) for i in range(3)]
        assert [s[0] for s in shapes.projections] == reduced
        if depth // div**3 < 1:
            continue
        module = torch.nn.AdaptiveLogSoftmaxWithLoss(depth, 20, [2, 5, 9], div, True)
        state = module.state_dict()
        assert shapes.head == tuple(state["head.weight"].shape)
        assert shapes.head_bias == tuple(state["head.bias"].shape)
        for i in range(3):
            assert shapes.projections[i] == tuple(state[f"tail.{i}.0.weight"].shape)
            assert shapes.tails[i] == tuple(state[f"tail.{i}.1.weight"].shape)


def test_init_weights():
    layer = fs.AdaptiveSoftmax([4, 8], head_bias=True)
    weights = layer.init_weights(64, 50, seed=3)
    shapes = layer.shapes(64, 50)
    assert [a.shape for a in arrays_of(weights)] == arrays_of(shapes)
    assert all(a.dtype == np.float32 for a in arrays_of(weights))
    again = layer.init_weights(64, 50, seed=3, dtype=np.float64)
    for a, b in zip(arrays_of(weights), arrays_of(again), strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))
    assert 0.1 < np.abs(weights.head).max() <= 0.125
    assert fs.AdaptiveSoftmax([4]).init_weights(8, 5).head_bias is None


def test_cutoffs_from_counts():
    counts = 1 / np.arange(1, 100_001)
    layer = fs.AdaptiveSoftmax.from_counts(counts, 512, clusters=3, head_bias=True)
    assert layer.n_clusters == 3
    assert layer.head_bias
    assert layer.shapes(512, 100_000).head[0] == layer.cutoffs[0] + 3

    def cost_of(ends, cost, depth, div):
        ends = (*ends, counts.size)
        mass = np.concatenate([[0], np.cumsum(counts / counts.sum())])

        def product(n, k, d):
            return cost.call + max(cost.least, (n + cost.weights) * k) * (d + cost.score)

        total = product(cost.rows, ends[0] + len(ends) - 1, depth)
        for i, (a, b) in enumerate(itertools.pairwise(ends)):
            d = max(depth // div ** (i + 1), 1)
            n = cost.rows * (mass[b] - mass[a])
            total += product(n, b - a, d) + n * d * depth
        return total

    cost = fs.AdaptiveCost()
    best = cost_of(layer.cutoffs, cost, 512, 4.0)
    for i, factor in itertools.product(range(3), (0.5, 0.9, 0.999, 1.001, 1.1, 2)):
        other = list(layer.cutoffs)
        other[i] = int(other[i] * factor)
        if other == sorted(other) and other[-1] < counts.size:
            assert cost_of(other, cost, 512, 4.0) >= best * (1 - 1e-12)
    many = fs.AdaptiveSoftmax.from_counts(counts, 512, clusters=1, cost=cost._replace(rows=1e6))
    assert many.cutoffs[0] > layer.cutoffs[0]
    assert fs.AdaptiveSoftmax.from_counts([3, 2, 1, 0], 4, clusters=3).cutoffs == (1, 2, 3)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([1, 2, 3], {"clusters": 1}, "counts must descend, but class 1"),
        ([3, 2, -1], {"clusters": 1}, "not negative"),
        ([3, 2, np.nan], {"clusters": 1}, "must be finite"),
        ([0, 0, 0], {"clusters": 1}, "all counts are 0"),
        ([3, 2, 1], {"clusters": 3}, "3 classes for 3 clusters"),
        ([3, 2, 1], {"clusters": 0}, "clusters must be positive"),
        ([[3, 2, 1]], {"clusters": 1}, "1 dimension"),
        ([3, 2, 1], {"clusters": 1, "div_value": 0.5}, "div_value"),
        ([3, 2, 1], {"clusters": 1, "cost": fs.AdaptiveCost(rows=0)}, "rows must be"),
    ],
)
def test_bad_counts(counts, options, message):
    with pytest.raises(ValueError, match=message):
        fs.AdaptiveSoftmax.from_counts(counts, 8, **options)


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [3, 3], [5, 4], [-1]])
def test_bad_cutoffs(cutoffs):
    with pytest.raises(ValueError, match="cutoffs must"):
        fs.AdaptiveSoftmax(cutoffs)


def test_repr_and_properties():
    layer = fs.AdaptiveSoftmax(np.array([2, 5]), 2, True)
    assert repr(layer) == "AdaptiveSoftmax([2, 5], div_value=2, head_bias=True)"
    assert (layer.cutoffs, layer.div_value, layer.head_bias) == ((2, 5), 2.0, True)
