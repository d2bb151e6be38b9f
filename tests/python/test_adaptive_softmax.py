"""AdaptiveSoftmax: PyTorch's class with the same weights, autograd, its own log-probabilities."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import fastsoftmax as fs
import numpy as np
import pytest

IGNORED = -100
CUTOFFS = (30, 100, 1500)
CLASSES = 4000
DEPTH = 32


def problem(rng, rows=64, cutoffs=CUTOFFS, head_bias=True, dtype=np.float64, scale=3.0):
    layer = fs.AdaptiveSoftmax(cutoffs, 3.0, head_bias)
    weights = layer.init_weights(DEPTH, CLASSES, rng, np.float64)
    cast = lambda a: (scale * a).astype(dtype)  # noqa: E731
    head, projections, tails, bias = weights
    weights = fs.AdaptiveWeights(
        cast(head),
        tuple(map(cast, projections)),
        tuple(map(cast, tails)),
        None if bias is None else cast(bias),
    )
    x = rng.normal(size=(rows, DEPTH)).astype(dtype)
    p = 1 / np.arange(1, CLASSES + 1)
    targets = rng.choice(CLASSES, rows, p=p / p.sum())
    return layer, weights, x, targets


def arrays(weights):
    bias = [] if weights.head_bias is None else [weights.head_bias]
    return [weights.head, *weights.projections, *weights.tails, *bias]


def log_prob_of(layer, weights, x):
    """By the formula, in float64."""
    to64 = lambda a: np.asarray(a, np.float64)  # noqa: E731
    z = to64(x) @ to64(weights.head).T
    if weights.head_bias is not None:
        z = z + to64(weights.head_bias)
    head = fs.log_softmax(z)
    parts = [head[:, : layer.cutoffs[0]]]
    for i, (p, t) in enumerate(zip(weights.projections, weights.tails, strict=True)):
        inside = fs.log_softmax(to64(x) @ to64(p).T @ to64(t).T)
        parts.append(inside + head[:, [layer.cutoffs[0] + i]])
    return np.concatenate(parts, axis=1)


def torch_module(torch, layer, weights):
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(
        DEPTH, CLASSES, list(layer.cutoffs), layer.div_value, layer.head_bias
    ).to(torch.from_numpy(weights.head).dtype)
    state = {"head.weight": weights.head}
    if layer.head_bias:
        state["head.bias"] = weights.head_bias
    for i in range(layer.n_clusters):
        state[f"tail.{i}.0.weight"] = weights.projections[i]
        state[f"tail.{i}.1.weight"] = weights.tails[i]
    module.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})
    return module


@pytest.mark.parametrize("cutoffs", [CUTOFFS, (30,), (1, 2), (3999,)])
@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_agrees(rng, cutoffs, head_bias, dtype):
    torch = pytest.importorskip("torch")
    layer, weights, x, targets = problem(rng, 64, cutoffs, head_bias, dtype)
    module = torch_module(torch, layer, weights)
    leaf = torch.from_numpy(x).requires_grad_()
    output, loss = module(leaf, torch.from_numpy(targets))
    loss.backward()
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    actual = layer.loss(x, weights, targets, need_grad=True)
    assert actual.loss.dtype == dtype
    np.testing.assert_allclose(actual.loss, loss.item(), tolerance)
    np.testing.assert_array_equal(actual.loss, layer.loss(x, weights, targets))
    chosen = layer.log_prob(x, weights, targets)
    np.testing.assert_allclose(chosen, output.detach().numpy(), tolerance)
    every = module.log_prob(leaf).detach().numpy()
    np.testing.assert_allclose(layer.log_prob(x, weights), every, 10 * tolerance)
    np.testing.assert_array_equal(layer.predict(x, weights), module.predict(leaf).numpy())
    expected = [leaf.grad, module.head.weight.grad, *(t[0].weight.grad for t in module.tail)]
    expected += [t[1].weight.grad for t in module.tail]
    expected += [module.head.bias.grad] if head_bias else []
    given = [actual.grad_x, *arrays(actual.grad_weights)]
    for a, e in zip(given, expected, strict=True):
        if e is None:  # of a cluster that no target is in
            np.testing.assert_array_equal(a, 0)
            continue
        scale = np.abs(e.numpy()).max()
        np.testing.assert_allclose(a, e.numpy(), 10 * tolerance, 10 * tolerance * scale)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_and_ignored_rows(rng, reduction):
    torch = pytest.importorskip("torch")
    layer, weights, x, targets = problem(rng)
    targets[::3] = IGNORED
    counts = targets != IGNORED
    upstream = rng.normal(size=64) if reduction == "none" else 2.5
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, *arrays(weights))]
    module = torch_module(torch, layer, weights)
    leaf = leaves[0]
    output = -module(leaf[counts], torch.from_numpy(targets[counts])).output
    total = output.mean() if reduction == "mean" else output.sum()
    factor = torch.from_numpy(upstream[counts]) if reduction == "none" else upstream
    (grad_x,) = torch.autograd.grad((total if reduction != "none" else output * factor).sum(), leaf)
    actual = layer.loss(x, weights, targets, reduction=reduction, grad_out=upstream, need_grad=True)
    grad_x = grad_x.numpy() * (upstream if reduction != "none" else 1)
    np.testing.assert_allclose(actual.grad_x, grad_x, 1e-11, 1e-13)
    np.testing.assert_array_equal(actual.grad_x[~counts], 0)
    expected = output.detach().numpy() if reduction == "none" else total.item()
    loss = actual.loss[counts] if reduction == "none" else actual.loss
    np.testing.assert_allclose(loss, expected, 1e-12)
    if reduction == "none":
        np.testing.assert_array_equal(actual.loss[~counts], 0)
    # Another number for the same, one that is the class of a cluster and an entry of the head.
    other = np.where(counts & (targets != 31), targets, 31)
    renamed = layer.loss(x, weights, np.where(targets == 31, IGNORED, targets), reduction="sum")
    np.testing.assert_array_equal(
        layer.loss(x, weights, other, reduction="sum", ignore_index=31), renamed
    )


def test_gradients_by_finite_differences(rng):
    layer, weights, x, _ = problem(rng, 6)
    targets = np.array([0, 29, 30, 99, 1500, IGNORED])
    result = layer.loss(x, weights, targets, need_grad=True)
    step = 1e-6
    for array, gradient in zip(
        [x, *arrays(weights)], [result.grad_x, *arrays(result.grad_weights)], strict=True
    ):
        flat = array.reshape(-1)
        for i in rng.choice(flat.size, min(flat.size, 40), replace=False):
            kept = flat[i]
            losses = []
            for value in (kept + step, kept - step):
                flat[i] = value
                losses.append(layer.loss(x, weights, targets))
            flat[i] = kept
            assert abs((losses[0] - losses[1]) / (2 * step) - gradient.reshape(-1)[i]) < 1e-8


def test_dtypes(rng, dtype):
    layer, weights, x, targets = problem(rng, dtype=np.float32)
    head, projections, tails, bias = weights
    cast = lambda a: a.astype(dtype)  # noqa: E731
    weights = fs.AdaptiveWeights(
        cast(head), tuple(map(cast, projections)), tuple(map(cast, tails)), cast(bias)
    )
    x = cast(x)
    wide = fs.AdaptiveWeights(
        *(
            tuple(b.astype(np.float64) for b in a) if isinstance(a, tuple) else a.astype(np.float64)
            for a in weights
        )
    )
    result = layer.loss(x, weights, targets, need_grad=True)
    expected = layer.loss(x.astype(np.float64), wide, targets, need_grad=True)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    np.testing.assert_allclose(result.loss, expected.loss, 1e-5)
    for a, e in zip(
        [result.grad_x, *arrays(result.grad_weights)],
        [expected.grad_x, *arrays(expected.grad_weights)],
        strict=True,
    ):
        assert a.dtype == arithmetic
        np.testing.assert_allclose(a, e, 1e-4, 2e-5 * np.abs(e).max())
    logs = layer.log_prob(x, weights)
    assert logs.dtype == arithmetic
    np.testing.assert_allclose(logs, log_prob_of(layer, weights, x), 1e-4)


@pytest.mark.parametrize("wide", range(8))
def test_one_array_of_float64_makes_everything_float64(rng, wide):
    layer, weights, x, targets = problem(rng, dtype=np.float32)
    given = [x, *arrays(weights)]
    given[wide] = given[wide].astype(np.float64)
    weights = fs.AdaptiveWeights(given[1], given[2:5], given[5:8], given[8])
    expected = log_prob_of(layer, weights, given[0])
    logs = layer.log_prob(given[0], weights)
    assert logs.dtype == np.float64
    np.testing.assert_allclose(logs, expected, 1e-12)
    np.testing.assert_allclose(
        layer.loss(given[0], weights, targets, reduction="none"),
        -expected[np.arange(64), targets],
        1e-12,
    )
    values, indices = layer.topk(given[0], weights, 3)
    np.testing.assert_allclose(values, np.sort(expected)[:, :-4:-1], 1e-12)
    assert layer.sample(given[0], weights, 1).dtype == indices.dtype == np.int64


def test_strides_and_byte_order(rng):
    layer, weights, x, targets = problem(rng)
    expected = layer.loss(x, weights, targets, need_grad=True)

    def spread(a):
        wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype.newbyteorder())
        view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
        view[...] = a
        return view

    for change in (spread, np.asfortranarray, lambda a: a[::-1].copy()[::-1]):
        changed = fs.AdaptiveWeights(
            change(weights.head),
            [change(a) for a in weights.projections],
            [change(a) for a in weights.tails],
            change(weights.head_bias),
        )
        actual = layer.loss(change(x), changed, change(targets), need_grad=True)
        np.testing.assert_allclose(actual.loss, expected.loss, 1e-13)
        for a, e in zip(
            [actual.grad_x, *arrays(actual.grad_weights)],
            [expected.grad_x, *arrays(expected.grad_weights)],
            strict=True,
        ):
            np.testing.assert_allclose(a, e, 1e-10, 1e-13)
        np.testing.assert_allclose(
            layer.log_prob(change(x), changed), layer.log_prob(x, weights), 1e-12
        )


@pytest.mark.parametrize("ids", ["vector", "matrix", "none"])
def test_log_prob_of_some_classes(rng, ids):
    layer, weights, x, _ = problem(rng)
    logs = layer.log_prob(x, weights)
    np.testing.assert_allclose(fs.logsumexp(logs), 0, atol=1e-13)
    np.testing.assert_allclose(logs, log_prob_of(layer, weights, x), 1e-12)
    shape = {"vector": (64,), "matrix": (64, 7), "none": (64, 0)}[ids]
    wanted = rng.integers(0, CLASSES, shape)
    actual = layer.log_prob(x, weights, wanted)
    expected = np.take_along_axis(logs, wanted.reshape(64, -1), 1).reshape(shape)
    np.testing.assert_allclose(actual, expected, 1e-12)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("k", [0, 1, 10, 31, 150, CLASSES])
def test_topk_is_a_sort_of_log_prob(rng, k, scale):
    layer, weights, x, _ = problem(rng, scale=scale)
    logs = layer.log_prob(x, weights)
    values, indices = layer.topk(x, weights, k)
    assert values.shape == indices.shape == (64, k)
    if k == 0:
        return
    expected = np.argsort(-logs, axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(values, np.take_along_axis(logs, expected, 1), 1e-12)
    np.testing.assert_allclose(values, np.take_along_axis(logs, indices, 1), 1e-12)
    distinct = np.abs(np.diff(values, axis=1)) > 1e-9
    clear = np.pad(distinct, ((0, 0), (1, 0)), constant_values=True)
    clear[:, :-1] &= distinct
    if k < CLASSES:
        following = np.take_along_axis(
            logs, np.argsort(-logs, axis=1, kind="stable")[:, k : k + 1], 1
        )
        clear[:, -1:] &= values[:, -1:] - following > 1e-9
    np.testing.assert_array_equal(indices[clear], expected[clear])
    assert all(np.unique(row).size == k for row in indices)


def test_topk_of_equal_classes(rng):
    layer = fs.AdaptiveSoftmax([3, 5])
    weights = layer.init_weights(8, 10)
    zeros = fs.AdaptiveWeights(
        np.zeros_like(weights.head), weights.projections, [np.zeros_like(t) for t in weights.tails]
    )
    values, indices = layer.topk(rng.normal(size=(4, 8)), zeros, 10)
    np.testing.assert_array_equal(indices, np.tile(np.arange(10), (4, 1)))
    np.testing.assert_allclose(np.exp(values[0]), [0.2] * 3 + [0.1] * 2 + [0.04] * 5)


def test_sample_is_distributed_as_log_prob(rng, sampling):
    layer, weights, x, _ = problem(rng, 3, scale=1.5)
    for row in x:
        rows = np.tile(row, (40_000, 1))
        p = np.exp(layer.log_prob(row[None], weights)[0])
        drawn = layer.sample(rows, weights, seed=17)
        assert drawn.shape == (40_000,)
        assert sampling.p_value(drawn, p / p.sum()) > 1e-4


def test_sample_depends_on_seed_position_and_row_id_alone(rng):
    layer, weights, x, _ = problem(rng, 300)
    drawn = layer.sample(x, weights, 5)
    with fs.threads(2):
        np.testing.assert_array_equal(layer.sample(x, weights, 5), drawn)
    ids = rng.permutation(300)
    shuffled = layer.sample(x[ids], weights, 5, row_ids=ids[:, None])
    np.testing.assert_array_equal(shuffled, drawn[ids])
    assert (layer.sample(x, weights, 6) != drawn).any()
    assert (layer.sample(x, weights, 5, position=1) != drawn).any()
    # The head's draw is that of `sample`.
    z = x @ weights.head.T + weights.head_bias
    entries = fs.sample(z, seed=5)
    np.testing.assert_array_equal(entries[drawn < 30], drawn[drawn < 30])
    np.testing.assert_array_equal(
        np.searchsorted(CUTOFFS, drawn[drawn >= 30], "right"), entries[drawn >= 30] - 30 + 1
    )


@pytest.mark.parametrize("cluster", range(3))
def test_all_rows_in_one_cluster(rng, cluster):
    layer, weights, x, _ = problem(rng)
    ends = (*CUTOFFS, CLASSES)
    targets = rng.integers(ends[cluster], ends[cluster + 1], 64)
    result = layer.loss(x, weights, targets, need_grad=True)
    logs = log_prob_of(layer, weights, x)
    np.testing.assert_allclose(result.loss, -logs[np.arange(64), targets].mean(), 1e-12)
    for i in range(3):
        for gradient in (result.grad_weights.projections[i], result.grad_weights.tails[i]):
            assert (gradient != 0).any() == (i == cluster)


def test_no_rows_and_ignored_ones(rng):
    layer, weights, x, _ = problem(rng)
    none = np.zeros(0, np.int64)
    for rows, targets in ((x[:0], none), (x, np.full(64, IGNORED))):
        result = layer.loss(rows, weights, targets, need_grad=True)
        assert np.isnan(result.loss)
        assert layer.loss(rows, weights, targets, reduction="sum") == 0
        for gradient in [result.grad_x, *arrays(result.grad_weights)]:
            np.testing.assert_array_equal(gradient, 0)
    assert layer.log_prob(x[:0], weights).shape == (0, CLASSES)
    assert layer.topk(x[:0], weights, 3).indices.shape == (0, 3)
    assert layer.sample(x[:0], weights, 1).shape == (0,)
    assert layer.predict(x[:0], weights).shape == (0,)


def test_rows_with_nan_keep_to_themselves(rng):
    layer, weights, x, targets = problem(rng)
    clean = layer.loss(x, weights, targets, reduction="none")
    x[5, 3] = np.nan
    loss = layer.loss(x, weights, targets, reduction="none")
    assert np.isnan(loss[5])
    np.testing.assert_allclose(np.delete(loss, 5), np.delete(clean, 5), 1e-12)
    assert np.isnan(layer.log_prob(x, weights)[5]).all()
    values, indices = layer.topk(x, weights, 40)
    assert np.isnan(values[5]).all()
    np.testing.assert_array_equal(indices[5], np.arange(40))
    targets[5] = IGNORED
    result = layer.loss(x, weights, targets, need_grad=True)
    assert all(np.isfinite(g).all() for g in [result.grad_x, *arrays(result.grad_weights)])


def test_large_offsets_cancel(rng):
    layer, weights, x, targets = problem(rng)
    moved = weights._replace(head_bias=weights.head_bias + 1e6)
    np.testing.assert_allclose(layer.loss(x, moved, targets), layer.loss(x, weights, targets), 1e-9)


def test_tensors_come_back_as_tensors(rng):
    torch = pytest.importorskip("torch")
    layer, weights, x, targets = problem(rng, dtype=np.float32)
    state = torch_module(torch, layer, weights).state_dict()
    copied = fs.AdaptiveWeights(
        state["head.weight"],
        [state[f"tail.{i}.0.weight"] for i in range(3)],
        [state[f"tail.{i}.1.weight"] for i in range(3)],
        state.get("head.bias"),
    )
    result = layer.loss(torch.from_numpy(x), copied, torch.from_numpy(targets), need_grad=True)
    expected = layer.loss(x, weights, targets, need_grad=True)
    for a, e in zip(
        [result.loss, result.grad_x, *arrays(result.grad_weights)],
        [expected.loss, expected.grad_x, *arrays(expected.grad_weights)],
        strict=True,
    ):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.numpy(), e)
    assert isinstance(layer.predict(torch.from_numpy(x), copied), torch.Tensor)


def test_errors(rng):
    layer, weights, x, targets = problem(rng)
    with pytest.raises(TypeError):
        fs.AdaptiveSoftmax([1.5])
    with pytest.raises(ValueError, match="div_value"):
        fs.AdaptiveSoftmax([3], 0.5)
    with pytest.raises(ValueError, match="n_classes must exceed"):
        layer.shapes(8, 1500)
    with pytest.raises(ValueError, match="in_features"):
        layer.shapes(0, 5000)

    def fails(error, message, **fields):
        with pytest.raises(error, match=message):
            layer.loss(x, weights._replace(**fields), targets)

    fails(ValueError, r"head has shape \(32, 32\), expected \(33, 32\)", head=weights.head[1:])
    fails(ValueError, r"head must have 2 dimensions", head=weights.head[0])
    projections, tails = list(weights.projections), list(weights.tails)
    fails(ValueError, "projections must be 3 arrays", projections=projections[1:])
    fails(
        ValueError,
        r"projections\[0\] has shape \(10, 31\)",
        projections=[projections[0][:, 1:], *projections[1:]],
    )
    fails(
        ValueError,
        r"tails\[1\] has shape \(1399, 3\), expected \(1400, 3\)",
        tails=[tails[0], tails[1][1:], tails[2]],
    )
    fails(ValueError, "n_classes must exceed", tails=[*tails[:2], tails[2][:0]])
    fails(ValueError, "head_bias is missing", head_bias=None)
    fails(ValueError, "head_bias has shape", head_bias=weights.head_bias[1:])
    fails(TypeError, "tails\\[1\\]", tails=[tails[0], tails[1].astype(complex), tails[2]])
    with pytest.raises(ValueError, match="made without"):
        fs.AdaptiveSoftmax(CUTOFFS, 3.0).loss(x, weights, targets)
    with pytest.raises(ValueError, match="columns as x"):
        layer.loss(x[:, 1:], weights, targets)
    with pytest.raises(ValueError, match="x must have 2 dimensions"):
        layer.loss(x[0], weights, targets)
    for bad in (CLASSES, -1):
        with pytest.raises(IndexError, match=f"target {bad} of row 0"):
            layer.loss(x, weights, [bad, *targets[1:]])
        with pytest.raises(IndexError, match=f"id {bad} of row 0"):
            layer.log_prob(x, weights, [bad, *targets[1:]])
    with pytest.raises(TypeError, match="targets"):
        layer.loss(x, weights, targets * 1.0)
    with pytest.raises(ValueError, match="targets have shape"):
        layer.loss(x, weights, targets[1:])
    with pytest.raises(ValueError, match="reduction must be"):
        layer.loss(x, weights, targets, reduction="max")
    with pytest.raises(ValueError, match="grad_out"):
        layer.loss(x, weights, targets, grad_out=2.0)
    for k in (-1, CLASSES + 1):
        with pytest.raises(ValueError, match="k "):
            layer.topk(x, weights, k)
    with pytest.raises(ValueError, match="position must be below"):
        layer.sample(x, weights, 1, position=2**32)


def test_memory_does_not_grow_with_rows_times_classes():
    script = textwrap.dedent(
        """
        import resource
        import numpy as np, fastsoftmax as fs
        layer = fs.AdaptiveSoftmax([1000, 10_000])
        weights = layer.init_weights(32, 200_000, seed=0)
        x = np.ones((4096, 32), np.float32)
        targets = np.arange(4096) * 48
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        layer.loss(x, weights, targets, need_grad=True)
        layer.topk(x, weights, 5)
        layer.sample(x, weights, 1)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    scores = 4096 * 190_000 * 4 / 1024
    assert int(done.stdout) < scores / 10
