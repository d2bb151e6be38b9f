"""linear_cross_entropy: the scores' cross-entropy, PyTorch, finite differences, shards, memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap

import fastsoftmax as fs
import numpy as np
import pytest

INF, NAN = np.inf, np.nan
IGNORED = -100
OPTIONS = {
    "plain": {},
    "weight": {"weight": True},
    "smoothing": {"label_smoothing": 0.2},
    "weighted smoothing": {"weight": True, "label_smoothing": 0.1},
    "z loss": {"z_loss": 1e-2, "weight": True},
    "softcap": {"softcap": 1.5},
    "all": {"weight": True, "label_smoothing": 0.1, "z_loss": 1e-3, "softcap": 2.0},
}
# Gradients in forward, in chunks of 16 rows, and with scores computed twice.
SCHEDULES = {"one chunk": 48 << 20, "chunks": 16 * 2500 * 8, "recompute": 0}


def problem(rng, rows=70, depth=6, classes=2500, dtype=np.float64):
    x = rng.normal(size=(rows, depth)).astype(dtype)
    w = rng.normal(size=(classes, depth)).astype(dtype)
    b = rng.normal(size=classes).astype(dtype)
    targets = rng.integers(0, classes, rows)
    targets[1::4] = IGNORED
    return x, w, targets, b


def options_of(rng, name, classes=2500):
    options = dict(OPTIONS[name])
    if "weight" in options:
        options["weight"] = rng.random(classes) + 0.1
    return options


def expected_of(x, w, targets, b, **options):
    """Loss and gradients by way of the scores."""
    x, w, b = (np.asarray(a, np.float64) for a in (x, w, b))
    scores = fs.cross_entropy(x @ w.T + b, targets, need_grad=True, **options)
    return scores.loss, scores.grad @ w, scores.grad.T @ x, scores.grad.sum(0)


def gradients_of(result):
    return result.grad_x, result.grad_W, result.grad_bias


def assert_close(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, tolerance, tolerance * np.abs(e).max(initial=1e-300))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("biased", [True, False])  # without, scores are row-major
def test_loss_and_gradients(rng, name, reduction, schedule, biased):
    x, w, targets, b = problem(rng)
    bias, b = (b, b) if biased else (None, 0 * b)
    options = options_of(rng, name) | {"reduction": reduction}
    grad_out = rng.normal(size=70) if reduction == "none" else 2.5
    loss, *gradients = expected_of(x, w, targets, b, grad_out=grad_out, **options)
    actual = fs.linear_cross_entropy(
        x,
        w,
        targets,
        bias,
        grad_out=grad_out,
        need_grad=True,
        tile_bytes=SCHEDULES[schedule],
        **options,
    )
    np.testing.assert_allclose(actual.loss, loss, 1e-12)
    count = 3 if biased else 2
    assert_close(gradients_of(actual)[:count], gradients[:count], 1e-12)
    later = fs.linear_cross_entropy_backward(
        actual, x, w, targets, bias, grad_out=grad_out, **options
    )
    assert_close(later[:count], gradients[:count], 1e-12)
    alone = fs.linear_cross_entropy(x, w, targets, bias, **options)
    np.testing.assert_array_equal(alone.loss, actual.loss)
    assert gradients_of(alone) == (None, None, None)


@pytest.mark.parametrize("name", ["plain", "weighted smoothing"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_torch_agrees(rng, name, reduction):
    torch = pytest.importorskip("torch")
    x, w, targets, b = problem(rng)
    options = options_of(rng, name) | {"reduction": reduction}
    leaves = [torch.from_numpy(a).clone().requires_grad_() for a in (x, w, b)]
    theirs = {k: torch.tensor(v) if k == "weight" else v for k, v in options.items()}
    loss = torch.nn.functional.cross_entropy(
        leaves[0] @ leaves[1].T + leaves[2], torch.from_numpy(targets), **theirs
    )
    expected = [g.numpy() for g in torch.autograd.grad(loss, leaves)]
    actual = fs.linear_cross_entropy(x, w, targets, b, need_grad=True, **options)
    np.testing.assert_allclose(actual.loss, loss.item(), 1e-12)
    assert_close(gradients_of(actual), expected, 1e-11)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_by_finite_differences(rng, name):
    x, w, targets, b = problem(rng, 6, 3, 9)
    options = options_of(rng, name, 9)
    actual = gradients_of(fs.linear_cross_entropy(x, w, targets, b, need_grad=True, **options))
    step = 1e-6
    for array, gradient in zip((x, w, b), actual, strict=True):
        for at in np.ndindex(array.shape):
            kept = array[at]
            losses = []
            for value in (kept + step, kept - step):
                array[at] = value
                losses.append(fs.linear_cross_entropy(x, w, targets, b, **options).loss)
            array[at] = kept
            assert abs((losses[0] - losses[1]) / (2 * step) - gradient[at]) < 2e-9


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_dtypes(rng, dtype, schedule):
    x, w, targets, b = problem(rng, 40, 8, 1500, np.float32)
    x, w, b = (a.astype(dtype) for a in (x, w, b))
    actual = fs.linear_cross_entropy(
        x, w, targets, b, need_grad=True, tile_bytes=SCHEDULES[schedule]
    )
    loss, *gradients = expected_of(x, w, targets, b)
    result = np.float64 if dtype == np.float64 else np.float32
    assert actual.loss.dtype == result
    assert all(g.dtype == result for g in gradients_of(actual))
    assert all(a.dtype == np.float64 for a in (actual.max, actual.logsum, actual.target_logit))
    np.testing.assert_allclose(actual.loss, loss, 1e-6)
    assert_close(gradients_of(actual), gradients, 2e-5)


def test_statistics_of_rows(rng):
    x, w, targets, b = problem(rng)
    z = x @ w.T + b
    actual = fs.linear_cross_entropy(x, w, targets, b, reduction="none")
    counts = targets != IGNORED
    rows = np.flatnonzero(counts)
    np.testing.assert_allclose(actual.max[counts], z[counts].max(axis=1), 1e-14)
    np.testing.assert_allclose((actual.max + actual.logsum)[counts], fs.logsumexp(z)[counts], 1e-14)
    np.testing.assert_allclose(actual.target_logit[counts], z[rows, targets[rows]], 1e-13)
    loss = actual.logsum - (actual.target_logit - actual.max)
    np.testing.assert_array_equal(actual.loss[counts], loss[counts])
    for field, value in (("max", -INF), ("logsum", 0), ("target_logit", 0), ("loss", 0)):
        np.testing.assert_array_equal(getattr(actual, field)[~counts], value)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_only_rows_that_count_are_multiplied(rng, monkeypatch, schedule):
    x, w, targets, b = problem(rng)
    targets[:] = IGNORED
    targets[[3, 30]] = 7
    rows = set()
    matmul = np.matmul

    def counting(a, b, out):
        rows.update({a.shape[0], b.shape[1]} - {2500, 2048, 452, 6})
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counting)
    actual = fs.linear_cross_entropy(
        x, w, targets, b, need_grad=True, tile_bytes=SCHEDULES[schedule]
    )
    monkeypatch.undo()
    assert rows == {2}
    loss, *gradients = expected_of(x, w, targets, b)
    np.testing.assert_allclose(actual.loss, loss, 1e-13)
    assert_close(gradients_of(actual), gradients, 1e-13)


@pytest.mark.parametrize("rows", [0, 5])
def test_nothing_to_learn(rng, rows):
    x, w, targets, b = problem(rng, rows)
    targets[:] = IGNORED
    actual = fs.linear_cross_entropy(x, w, targets, b, need_grad=True)
    assert np.isnan(actual.loss)
    assert fs.linear_cross_entropy(x, w, targets, b, reduction="sum").loss == 0
    for gradient, array in zip(gradients_of(actual), (x, w, b), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros_like(array))


def test_a_single_class():
    actual = fs.linear_cross_entropy([[2.0]], [[3.0]], [0], [1.0], need_grad=True)
    assert actual.loss == 0
    assert actual.max == 7
    assert [g.item() for g in gradients_of(actual)] == [0, 0, 0]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("biased", [True, False])
def test_rows_without_softmax_and_beyond_the_domain(rng, schedule, biased):
    x, w, targets, b = problem(rng, 40)
    bias, b = (b, b) if biased else (None, 0 * b)
    targets[:] = np.arange(40)
    x[0], x[7, 1], x[20] = NAN, INF, 1e9
    with np.errstate(invalid="ignore"):
        z = x @ w.T + b
    expected = fs.cross_entropy(z, targets, reduction="none", need_grad=True)
    actual = fs.linear_cross_entropy(
        x, w, targets, bias, reduction="none", need_grad=True, tile_bytes=SCHEDULES[schedule]
    )
    np.testing.assert_allclose(actual.loss, expected.loss, 1e-9)
    assert np.isfinite(actual.loss[20])
    good = np.isfinite(actual.loss)
    assert list(np.flatnonzero(~good)) == [0, 7]
    np.testing.assert_allclose(actual.grad_x[good], expected.grad[good] @ w, 1e-6, 1e-9)
    assert np.isnan(actual.grad_x[~good]).all()


def test_no_cancellation_where_the_target_is_all_but_certain():
    x = np.ones((1, 1), np.float32)
    w = np.zeros((3000, 1), np.float32)
    b = np.zeros(3000, np.float32)
    b[1234] = 40
    actual = fs.linear_cross_entropy(x, w, [1234], b + 1000, need_grad=True)
    np.testing.assert_allclose(actual.loss, 2999 * np.exp(-40.0), 1e-6)
    np.testing.assert_allclose(actual.grad_bias[1234], -2999 * np.exp(-40.0), 1e-6)


@pytest.mark.parametrize("cuts", [[], [1], [900, 2048], [100, 100, 2499]])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_shards(rng, cuts, reduction):
    x, w, targets, b = problem(rng)
    options = {"z_loss": 1e-2, "weight": rng.random(2500) + 0.1, "reduction": reduction}
    whole = fs.linear_cross_entropy(x, w, targets, b, need_grad=True, **options)
    bounds = [0, *cuts, 2500]
    parts = list(itertools.pairwise(bounds))
    shards = [
        fs.linear_cross_entropy(x, w[i:j], targets, b[i:j], vocab_start=i, vocab_size=2500)
        for i, j in parts
    ]
    assert all(shard.loss is None for shard in shards)
    merged = fs.merge_shards(shards, targets, **options)
    np.testing.assert_array_equal(merged.max, whole.max)
    np.testing.assert_array_equal(merged.target_logit, whole.target_logit)
    np.testing.assert_allclose(merged.logsum, whole.logsum, 1e-14)
    np.testing.assert_allclose(merged.loss, whole.loss, 1e-13)
    gradients = [
        fs.linear_cross_entropy_backward(
            merged, x, w[i:j], targets, b[i:j], vocab_start=i, vocab_size=2500, **options
        )
        for i, j in parts
    ]
    assert_close([sum(g.grad_x for g in gradients)], [whole.grad_x], 1e-12)
    assert_close([np.concatenate([g.grad_W for g in gradients])], [whole.grad_W], 1e-12)
    assert_close([np.concatenate([g.grad_bias for g in gradients])], [whole.grad_bias], 1e-12)


def test_shards_lose_nothing_where_one_dominates():
    x = np.ones((1, 1))
    b = np.array([1000.0, 960.0, 960.0, -INF])
    shards = [
        fs.linear_cross_entropy(x, np.zeros((1, 1)), [0], b[[v]], vocab_start=v, vocab_size=4)
        for v in range(4)
    ]
    np.testing.assert_allclose(fs.merge_shards(shards).loss, 2 * np.exp(-40.0), 1e-14)
    np.testing.assert_allclose(fs.merge_shards(shards[::-1]).loss, 2 * np.exp(-40.0), 1e-14)


@pytest.mark.parametrize("schedule", ["one chunk", "chunks", "recompute"])
@pytest.mark.parametrize("tol", [1e-4, 1e-2])
def test_gradient_filter_keeps_its_bound(rng, schedule, tol):
    # Frequent classes first, as in a vocabulary sorted by frequency.
    rows, depth, classes = 64, 6, 6000
    x, w = rng.normal(size=(rows, depth)), rng.normal(size=(classes, depth)) / 3
    b = -2.5 * np.log1p(np.arange(classes))
    targets = rng.integers(0, 400, rows)
    tile_bytes = {"chunks": 16 * classes * 8}.get(schedule, SCHEDULES[schedule])
    exact = fs.linear_cross_entropy(x, w, targets, b, need_grad=True)
    actual = fs.linear_cross_entropy(
        x, w, targets, b, need_grad=True, tile_bytes=tile_bytes, grad_mass_tol=tol
    )
    assert actual.loss == exact.loss
    assert not actual.grad_W[-512:].any()
    assert actual.grad_W[:512].any(axis=1).all()
    factor = tol / rows
    off_x = np.linalg.norm(actual.grad_x - exact.grad_x, axis=1)
    assert 0 < off_x.max() <= factor * np.linalg.norm(w, axis=1).max() * 1.001
    off_w = np.linalg.norm(actual.grad_W - exact.grad_W, axis=1).sum()
    assert off_w <= factor * np.linalg.norm(x, axis=1).sum() * 1.001
    left_out = ~actual.grad_bias.astype(bool)
    p = fs.softmax(x @ w.T + b)
    assert p[:, left_out].sum(axis=1).max() <= tol * 1.001
    # Never a block with a target.
    targets[5] = classes - 1
    kept = fs.linear_cross_entropy(x, w, targets, b, need_grad=True, grad_mass_tol=tol)
    assert kept.grad_W[-300:].any(axis=1).all()
    # Nothing with label smoothing, whose gradient is not small anywhere.
    smooth = {"label_smoothing": 0.1, "need_grad": True}
    np.testing.assert_array_equal(
        fs.linear_cross_entropy(x, w, targets, b, grad_mass_tol=tol, **smooth).grad_W,
        fs.linear_cross_entropy(x, w, targets, b, **smooth).grad_W,
    )


@pytest.mark.parametrize("biased", [True, False])
def test_the_same_bits_from_any_number_of_threads(rng, biased):
    x, w, targets, b = problem(rng, 600, 8, 5000, np.float32)
    bias = b if biased else None
    with fs.threads(1):
        one = fs.linear_cross_entropy(x, w, targets, bias, need_grad=True)
    with fs.threads(3):
        three = fs.linear_cross_entropy(x, w, targets, bias, need_grad=True)
    for a, e in zip(three, one, strict=True):
        np.testing.assert_array_equal(a, e)


MEMORY = """
    import resource
    import numpy as np
    import fastsoftmax as fs

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    rng = np.random.default_rng(0)
    rows, depth, classes = 600, 48, 128_000
    x = rng.standard_normal((rows, depth), np.float32)
    w = rng.standard_normal((classes, depth), np.float32)
    targets = rng.integers(0, classes, rows)
    fs.linear_cross_entropy(x[:9], w[:9], targets[:9] % 9, need_grad=True)
    x[:512] @ w[:9000].T  # BLAS takes its own memory
    before = peak()
    result = fs.linear_cross_entropy(x, w, targets, **OPTIONS)
    gradients = sum(g.nbytes for g in result[4:] if g is not None)
    print(peak() - before - gradients)
"""


@pytest.mark.parametrize(
    ("options", "most"),
    [("", 16e6), ("need_grad=True", 64e6), ("need_grad=True, tile_bytes=0", 24e6)],
)
def test_peak_memory(options, most):
    code = textwrap.dedent(MEMORY).replace("**OPTIONS", options)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < most  # the scores alone would take 307 MB


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": [0, 9, 0]}, IndexError, "target 9 of row 1 is out of bounds for classes 0 to"),
        ({"targets": [0, 0, -1]}, IndexError, "target -1 of row 2"),
        ({"targets": [0, 1]}, ValueError, r"targets have shape \(2,\), expected \(3,\)"),
        ({"targets": [0.0, 1, 2]}, TypeError, "targets must be"),
        ({"weight": [1.0]}, ValueError, r"weight has shape \(1,\), expected \(9,\)"),
        ({"label_smoothing": 2}, ValueError, "label_smoothing must be between 0 and 1"),
        ({"z_loss": -1}, ValueError, "z_loss"),
        ({"softcap": 0}, ValueError, "softcap"),
        ({"reduction": "max"}, ValueError, "reduction must be"),
        ({"grad_mass_tol": 2}, ValueError, "grad_mass_tol must be between 0 and 1"),
        ({"tile_bytes": -1}, ValueError, "tile_bytes must not be negative"),
        ({"vocab_start": -1}, ValueError, "vocab_start must not be negative"),
        ({"vocab_start": 1}, IndexError, "target 0 of row 0 is out of bounds for classes 1 to 9"),
        ({"vocab_size": 8}, ValueError, "more than vocab_size 8"),
        ({"vocab_size": 9, "label_smoothing": 0.1}, ValueError, "label_smoothing must be 0"),
        ({"vocab_size": 9, "need_grad": True}, ValueError, "see merge_shards"),
        ({"grad_out": 1.0}, ValueError, "grad_out is of use with need_grad only"),
        ({"grad_out": [1.0], "need_grad": True}, ValueError, "grad_out has shape"),
    ],
)
def test_errors(rng, options, error, message):
    x, w, targets, b = problem(rng, 3, 2, 9)
    targets = options.pop("targets", [0, 1, 2])
    with pytest.raises(error, match=message):
        fs.linear_cross_entropy(x, w, targets, b, **options)


def test_errors_of_backward_and_shards(rng):
    x, w, targets, b = problem(rng, 3, 2, 9)
    result = fs.linear_cross_entropy(x, w, targets, b)
    with pytest.raises(TypeError, match="expected a LinearCrossEntropy, not float"):
        fs.linear_cross_entropy_backward(1.0, x, w, targets, b)
    with pytest.raises(ValueError, match=r"max has shape \(3,\), expected \(2,\)"):
        fs.linear_cross_entropy_backward(result, x[:2], w, targets[:2], b)
    with pytest.raises(ValueError, match="no shards"):
        fs.merge_shards([])
    with pytest.raises(TypeError, match="expected a LinearCrossEntropy"):
        fs.merge_shards([3])
    with pytest.raises(TypeError, match="sequence"):
        fs.merge_shards(3)
    other = fs.linear_cross_entropy(x[:2], w, targets[:2], b)
    with pytest.raises(ValueError, match="shape"):
        fs.merge_shards([result, other])
    with pytest.raises(ValueError, match="class weights need the targets"):
        fs.merge_shards([result], weight=np.ones(9))
    with pytest.raises(IndexError, match="out of bounds for 1 classes"):
        fs.merge_shards([result], [5, 0, 0], weight=[1.0])


@pytest.mark.parametrize("seed", range(6))
def test_rows_beyond_the_domain_have_the_scores_of_one_product(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    x = rng.standard_normal((n, 256), dtype=np.float32)
    weights = rng.standard_normal((2000, 256), dtype=np.float32)
    row = int(rng.integers(n))
    x[row] *= 10.0 ** (4 + seed)
    t = (x @ weights.T).argmax(1)
    assert fs.linear_topk(x, weights, 1).values[row] == 1
    assert fs.linear_log_prob(x, weights, t)[row] == 0
    for tile_bytes in (0, 48 << 20):
        result = fs.linear_cross_entropy(
            x, weights, t, reduction="none", need_grad=True, tile_bytes=tile_bytes
        )
        assert result.loss[row] == 0
        assert not result.grad_x[row].any()
        assert np.isfinite(result.grad_W).all()
    shards = [
        fs.linear_cross_entropy(x, weights[a:b], t, vocab_start=a, vocab_size=2000)
        for a, b in ((0, 700), (700, 2000))
    ]
    assert fs.merge_shards(shards, reduction="none").loss[row] == 0


def test_mistaken_shards():
    x, weights = np.ones((3, 2), np.float32), np.ones((4, 2), np.float32)
    shard = fs.linear_cross_entropy(x, weights, [0, 1, 2], vocab_size=9)
    with pytest.raises(TypeError, match="not one of them"):
        fs.merge_shards(shard)
    with pytest.raises(TypeError, match="expected a LinearCrossEntropy, not numpy"):
        fs.merge_shards([x])
    with pytest.raises(TypeError, match="expected a LinearCrossEntropy, not numpy"):
        fs.linear_cross_entropy_backward(x, x, weights, [0, 1, 2])
    with pytest.raises(ValueError, match=r"targets have shape \(1,\), expected \(3,\)"):
        fs.merge_shards([shard], [0], weight=np.ones(9))
    with pytest.raises(ValueError, match="vocab_size"):
        fs.linear_cross_entropy(x, weights, [-100] * 3, vocab_start=10, vocab_size=-(2**63))
    with pytest.raises(IndexError, match="no classes"):
        fs.linear_cross_entropy(x, weights[:0], [0, 1, 2])
    with pytest.raises(ValueError, match="65536"):
        fs.linear_cross_entropy(x, weights, [0, 1, 2], softcap=1e6)
