"""cross_entropy: PyTorch in float64, finite differences, special values, layouts, errors."""

from __future__ import annotations

import itertools

import fastsoftmax as fs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

INF, NAN = np.inf, np.nan
TARGETS = ["classes", "probabilities"]
REDUCTIONS = ["mean", "sum", "none"]
IGNORED = -100


def formula(
    z,
    targets,
    *,
    weight=None,
    ignore_index=IGNORED,
    label_smoothing=0.0,
    z_loss=0.0,
    softcap=None,
    reduction="mean",
    grad_out=1.0,
):
    """Loss, gradient and logsumexp of rows by their definition, in extended precision."""
    x = np.asarray(z, np.longdouble)
    rows, classes = x.shape
    tanh = None if softcap is None else np.tanh(x / softcap)
    scores = x if tanh is None else softcap * tanh
    w = np.ones(classes, np.longdouble) if weight is None else np.asarray(weight, np.longdouble)
    targets = np.asarray(targets)
    if targets.dtype.kind == "f":
        q = targets.astype(np.longdouble)
        of_row, counts = np.ones(rows, np.longdouble), np.ones(rows, bool)
        divisor = np.longdouble(rows)
    else:
        counts = targets != ignore_index
        t = np.where(counts, targets, 0)
        q = np.eye(classes, dtype=np.longdouble)[t]
        of_row = np.where(counts, w[t], 0)
        divisor = of_row.sum()
    q = (1 - label_smoothing) * q * w + label_smoothing / classes * w
    if targets.dtype.kind != "f":  # the weight of the smoothing part is that of its classes
        q = np.where(counts[:, None], q, 0)
    top = scores.max(axis=1)
    logs = np.log(np.exp(scores - top[:, None]).sum(axis=1))
    lse = top + logs
    distance = logs[:, None] - (scores - top[:, None])
    loss = (q * distance).sum(axis=1) + z_loss * of_row * lse**2
    upstream = np.broadcast_to(np.asarray(grad_out, np.longdouble), (rows,))
    if reduction == "mean":
        upstream = upstream / divisor
    softmax = np.exp(-distance)
    grad = softmax * (q.sum(axis=1) + 2 * z_loss * of_row * lse)[:, None] - q
    grad = grad * upstream[:, None]
    if tanh is not None:
        grad = grad * (1 - tanh**2)
    if reduction == "sum":
        loss = loss.sum()
    elif reduction == "mean":
        loss = loss.sum() / divisor
    return loss, grad, lse


def problem(rng, rows, classes, kind="classes", dtype=np.float32):
    logits = (3 * rng.normal(size=(rows, classes))).astype(dtype)
    if kind == "probabilities":
        return logits, rng.dirichlet(np.ones(classes), rows)
    targets = rng.integers(0, classes, rows)
    targets[1::4] = IGNORED
    return logits, targets


def close(actual, expected, dtype, scale=1.0):
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 52}[np.dtype(dtype).name]
    tolerance = scale * 2.0 ** (4 - bits)
    np.testing.assert_allclose(
        np.asarray(actual).astype(np.longdouble), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("classes", [1, 2, 10, 63, 64, 65, 512, 513, 1024, 1025, 3000])
def test_formula(kind, classes, dtype, rng):
    logits, targets = problem(rng, 5, classes, kind, dtype)
    loss, grad, lse = formula(logits, targets)
    result = fs.cross_entropy(logits, targets, need_grad=True)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    assert result.grad.dtype == dtype
    assert result.loss.dtype == result.logsumexp.dtype == arithmetic
    close(result.loss, loss, arithmetic)
    close(result.logsumexp, lse, arithmetic)
    close(result.grad, grad, dtype)
    assert fs.cross_entropy(logits, targets) == result.loss


OPTIONS = list(
    itertools.product([False, True], [0.0, 0.1, 1.0], [0.0, 1e-2], [None, 5.0], REDUCTIONS)
)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("weighted", "smoothing", "z_loss", "softcap", "reduction"), OPTIONS)
def test_options(kind, weighted, smoothing, z_loss, softcap, reduction, rng):
    for dtype, classes in ((np.float32, 40), (np.float64, 1100)):
        logits, targets = problem(rng, 6, classes, kind, dtype)
        options = {
            "weight": rng.uniform(0.1, 2, classes) if weighted else None,
            "label_smoothing": smoothing,
            "z_loss": z_loss,
            "softcap": softcap,
            "reduction": reduction,
            "grad_out": rng.normal(size=6) if reduction == "none" else 1.7,
        }
        expected = formula(logits, targets, **options)
        result = fs.cross_entropy(logits, targets, need_grad=True, **options)
        for actual, wanted in zip(result, (expected[0], expected[1], expected[2]), strict=True):
            close(actual, wanted, dtype, scale=4)
        in_place = logits.copy()
        again = fs.cross_entropy(in_place, targets, inplace_grad=True, **options)
        assert again.grad is in_place
        assert in_place.tobytes() == result.grad.tobytes()


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("weighted", "smoothing", "reduction"), [
    (w, s, r) for w in (False, True) for s in (0.0, 0.2) for r in REDUCTIONS
])  # fmt: skip
def test_against_pytorch(kind, weighted, smoothing, reduction, rng):
    torch = pytest.importorskip("torch")
    shape = (4, 7, 5, 3)
    logits = rng.normal(size=shape)
    if kind == "classes":
        targets = rng.integers(0, 7, (4, 5, 3))
        targets[0, 2] = IGNORED
    else:
        targets = fs.softmax(rng.normal(size=shape), 1)
    weight = rng.uniform(0.1, 2, 7) if weighted else None
    leaf = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        leaf,
        torch.tensor(targets),
        weight=None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing,
        reduction=reduction,
    )
    upstream = rng.normal(size=loss.shape)
    loss.backward(torch.tensor(upstream))
    result = fs.cross_entropy(
        logits,
        targets,
        1,
        weight=weight,
        label_smoothing=smoothing,
        reduction=reduction,
        grad_out=upstream,
        need_grad=True,
    )
    np.testing.assert_allclose(result.loss, loss.detach(), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(result.grad, leaf.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", TARGETS)
def test_finite_differences(kind, rng):
    logits, targets = problem(rng, 3, 6, kind, np.float64)
    options = {"label_smoothing": 0.1, "z_loss": 0.05, "softcap": 4.0, "weight": rng.random(6)}
    grad = fs.cross_entropy(logits, targets, need_grad=True, **options).grad
    step = 1e-6
    for index in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        slope = fs.cross_entropy(up, targets, **options) - fs.cross_entropy(
            down, targets, **options
        )
        assert abs(slope / (2 * step) - grad[index]) < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_offsets_and_certain_targets(dtype):
    row = np.array([0.0, 1.0, -3.0], dtype)
    for offset in (0.0, 1e6, -1e6, 3e5):
        result = fs.cross_entropy(row + dtype(offset), 0, need_grad=True)
        exact, grad, _ = formula(row[None], [0])
        np.testing.assert_allclose(result.loss, exact, rtol=np.finfo(dtype).eps)
        np.testing.assert_allclose(result.grad, grad[0], rtol=8 * np.finfo(dtype).eps)
    # A target of probability 1: its loss and gradient keep their relative accuracy.
    for gap in (20.0, 40.0, 80.0):
        sure = np.array([gap, 0.0, 0.0], dtype)
        result = fs.cross_entropy(sure, 0, need_grad=True)
        rest = 2 * np.exp(-np.longdouble(gap))
        np.testing.assert_allclose(result.loss, np.log1p(rest), rtol=4 * np.finfo(dtype).eps)
        share = rest / (1 + rest)
        np.testing.assert_allclose(result.grad[0], -share, rtol=4 * np.finfo(dtype).eps)


SPECIAL = [
    ([0.0, NAN, 1.0], 0, NAN, NAN),
    ([0.0, INF, 1.0], 0, NAN, INF),
    ([-INF, -INF, -INF], 1, NAN, -INF),
    ([0.0, -INF, 0.0], 1, INF, np.log(2)),
    ([0.0, -INF, 0.0], 2, np.log(2), np.log(2)),
    ([1e30, 0.0, -1e30], 0, 0.0, 1e30),
    ([1e30, 0.0, -1e30], 2, 2e30, 1e30),
    ([-1e30, -1e30, -INF], 0, np.log(2), -1e30),
]


@pytest.mark.parametrize(("row", "target", "loss", "lse"), SPECIAL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", [0, 40, 2000])
def test_special_rows(row, target, loss, lse, dtype, padding):
    z = np.array(row + padding * [-INF], dtype)
    result = fs.cross_entropy(z, target, need_grad=True)
    np.testing.assert_allclose(result.loss, dtype(loss), rtol=1e-6)
    np.testing.assert_allclose(result.logsumexp, dtype(lse), rtol=1e-6)
    if np.isnan(loss):
        assert np.isnan(result.grad).all()
    else:
        assert np.isfinite(result.grad).all()
        assert abs(result.grad.astype(np.float64).sum()) < 1e-6


def test_classes_without_weight_add_nothing():
    z = np.array([[0.0, -INF, 1.0]])
    q = np.array([[0.5, 0.0, 0.5]])
    assert np.isfinite(fs.cross_entropy(z, q))
    assert fs.cross_entropy(z, [0], label_smoothing=0.1) == INF
    weighted = fs.cross_entropy(z, [0], label_smoothing=0.1, weight=[1.0, 0.0, 1.0], need_grad=True)
    assert np.isfinite(weighted.loss)
    assert np.isfinite(weighted.grad).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ignored_rows(reduction, rng):
    logits = rng.normal(size=(4, 9)).astype(np.float32)
    logits[1] = NAN
    targets = np.array([2, -5, 3, -5])
    result = fs.cross_entropy(logits, targets, ignore_index=-5, reduction=reduction, need_grad=True)
    alone = fs.cross_entropy(logits[[0, 2]], targets[[0, 2]], reduction=reduction, need_grad=True)
    assert not result.grad[[1, 3]].any()
    assert np.array_equal(result.grad[[0, 2]], alone.grad)
    if reduction == "none":
        assert not result.loss[[1, 3]].any()
    else:
        assert result.loss == alone.loss
    assert np.isnan(result.logsumexp[1])
    assert result.logsumexp[3] == fs.logsumexp(logits[3])
    assert fs.cross_entropy(logits, targets, ignore_index=-5, reduction="sum") == (
        fs.cross_entropy(logits[[0, 2]], targets[[0, 2]], reduction="sum")
    )


def test_no_rows_and_all_rows_ignored():
    empty = np.zeros((0, 5))
    assert np.isnan(fs.cross_entropy(empty, np.zeros(0, int)))
    assert fs.cross_entropy(empty, np.zeros(0, int), reduction="sum") == 0
    assert fs.cross_entropy(empty, [], reduction="sum") == 0
    assert fs.cross_entropy(empty, np.zeros(0, int), reduction="none").shape == (0,)
    assert fs.cross_entropy(empty, np.zeros(0, int), need_grad=True).grad.shape == (0, 5)
    ignored = fs.cross_entropy(np.ones((2, 5)), [IGNORED, IGNORED], need_grad=True)
    assert np.isnan(ignored.loss)
    assert not ignored.grad.any()
    assert fs.cross_entropy(np.zeros((0, 5)), np.zeros((0, 5)), reduction="sum") == 0


@pytest.mark.parametrize(("shape", "axis"), [
    ((5, 7, 33), 1), ((1030, 40), 0), ((3, 21, 8, 9), 1), ((2000, 17), 0), ((64, 5, 3), 0),
    ((2, 3, 400), -3), ((3, 1, 5), 1),
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"softcap": 3.0}])
def test_layouts_have_the_same_bits(shape, axis, options, dtype, rng):
    logits = (3 * rng.normal(size=shape)).astype(dtype)
    rows = tuple(np.delete(shape, axis))
    targets = rng.integers(0, shape[axis], rows)
    targets.flat[-1] = IGNORED
    last = np.ascontiguousarray(np.moveaxis(logits, axis, -1))
    expected = fs.cross_entropy(last, targets, need_grad=True, **options)
    views = [logits, np.asfortranarray(logits), np.repeat(logits, 2, axis=0)[::2]]
    swapped = logits.astype(dtype.newbyteorder(">")) if dtype.isbuiltin else logits
    for view in (*views, swapped):
        result = fs.cross_entropy(view, targets, axis, need_grad=True, **options)
        assert np.array_equal(result.loss, expected.loss)
        assert np.array_equal(result.logsumexp, expected.logsumexp)
        assert np.ascontiguousarray(np.moveaxis(result.grad, axis, -1)).tobytes() == (
            expected.grad.tobytes()
        )
        target = view.copy("K")
        fs.cross_entropy(target, targets, axis, inplace_grad=True, **options)
        assert np.array_equal(target, result.grad)


def test_kinds_of_targets(rng):
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    targets = rng.integers(0, 4, 6)
    expected = fs.cross_entropy(logits, targets)
    for integers in (np.int8, np.uint8, np.int32, np.uint64, ">i4"):
        assert fs.cross_entropy(logits, targets.astype(integers)) == expected
    assert fs.cross_entropy(logits, targets.tolist()) == expected
    assert fs.cross_entropy(logits, np.repeat(targets, 2)[::2]) == expected
    one_hot = np.eye(4, dtype=np.float16)[targets]
    np.testing.assert_allclose(fs.cross_entropy(logits, one_hot), expected, rtol=1e-6)
    integers = np.array([[1, 2, 3]])
    assert fs.cross_entropy(integers, [1]) == fs.cross_entropy(integers.astype(float), [1])


def test_soft_targets_that_are_the_logits(rng):
    x = fs.softmax(rng.normal(size=(3, 40)))
    expected = fs.cross_entropy(x.copy(), x, need_grad=True)
    result = fs.cross_entropy(x, x, inplace_grad=True)
    assert np.array_equal(result.grad, expected.grad)


def test_threads_have_the_same_bits(rng):
    logits, targets = problem(rng, 300, 700)
    with fs.threads(1):
        one = fs.cross_entropy(logits, targets, need_grad=True)
    with fs.threads(2):
        two = fs.cross_entropy(logits, targets, need_grad=True)
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 6),
    classes=st.integers(1, 80),
    scale=st.floats(0.1, 50),
)
def test_gradients_add_up_to_nothing(seed, rows, classes, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(rows, classes))
    targets = rng.integers(0, classes, rows)
    result = fs.cross_entropy(logits, targets, reduction="none", need_grad=True)
    assert (result.loss >= 0).all()
    np.testing.assert_allclose(result.grad.sum(axis=1), 0, atol=1e-14 * classes)
    np.testing.assert_allclose(result.logsumexp, fs.logsumexp(logits), rtol=1e-15)


LOGITS = np.zeros((2, 3))
CALLS = [
    (IndexError, "target 3 of row 1 is out of bounds for 3 classes", ([0, 3],), {}),
    (IndexError, "target -1 of row 0", ([-1, 0],), {}),
    (ValueError, "integers of shape \\(2,\\)", ([[0, 1]],), {}),
    (ValueError, "float64 have shape \\(2,\\), expected integers", ([0.0, 1.0],), {}),
    (ValueError, "softcap must be a normal number of float64", ([0, 1],), {"softcap": 1e-310}),
    (TypeError, "array of bool", ([True, False],), {}),
    (ValueError, "weight has shape \\(2,\\)", ([0, 1],), {"weight": [1.0, 2.0]}),
    (ValueError, "weight has shape \\(\\)", ([0, 1],), {"weight": 1.0}),
    (ValueError, "between 0 and 1, got 1.5", ([0, 1],), {"label_smoothing": 1.5}),
    (ValueError, "z_loss", ([0, 1],), {"z_loss": -1.0}),
    (ValueError, "softcap", ([0, 1],), {"softcap": 0.0}),
    (ValueError, "softcap", ([0, 1],), {"softcap": -2.0}),
    (ValueError, "'avg'", ([0, 1],), {"reduction": "avg"}),
    (ValueError, "need_grad", ([0, 1],), {"grad_out": 2.0}),
    (ValueError, "grad_out has shape", ([0, 1],), {"grad_out": [1.0, 2.0], "need_grad": True}),
    (TypeError, "ignore_index", ([0, 1],), {"ignore_index": 1.0}),
    (np.exceptions.AxisError, "axis 2", ([0, 1], 2), {}),
]


@pytest.mark.parametrize(("error", "message", "arguments", "options"), CALLS)
def test_errors(error, message, arguments, options):
    with pytest.raises(error, match=message):
        fs.cross_entropy(LOGITS, *arguments, **options)


def test_errors_of_logits():
    read_only = np.zeros((1, 3))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="logits is read-only"):
        fs.cross_entropy(read_only, [0], inplace_grad=True)
    with pytest.raises(TypeError, match="floating dtype"):
        fs.cross_entropy(np.array([[1, 2]]), [0], inplace_grad=True)
    with pytest.raises(TypeError, match="DLPack"):
        fs.cross_entropy([[1.0, 2.0]], [0], inplace_grad=True)
    with pytest.raises(ValueError, match="no classes"):
        fs.cross_entropy(np.zeros((2, 0)), [0, 0])
    with pytest.raises(IndexError, match="target 5 is out of bounds"):
        fs.cross_entropy(np.zeros(3), 5)
    with pytest.raises(IndexError, match="row \\(1, 0\\)"):
        fs.cross_entropy(np.zeros((2, 2, 2)), [[0, 0], [7, 1]], axis=1)
    kept = np.ones((2, 3))
    with pytest.raises(IndexError):
        fs.cross_entropy(kept, [0, 5], inplace_grad=True)
    assert (kept == 1).all()


def test_confident_probabilities():
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for dtype, offset in itertools.product([np.float32, np.float64], [0, 100, 1e3, 1e4]):
            z = np.zeros(20, dtype)
            z[3] = 40 if dtype == np.float64 else 15
            q = fs.softmax(z)
            exact = [mpmath.mpf(float(v)) for v in z + dtype(offset)]
            lse = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in exact))
            loss = mpmath.fsum(float(p) * (lse - v) for p, v in zip(q, exact, strict=True))
            result = fs.cross_entropy(z + dtype(offset), q)
            assert abs(result / loss - 1) < 8 * np.finfo(dtype).eps, (dtype, offset)


@pytest.mark.parametrize("options", [
    {"label_smoothing": 1e-6}, {"label_smoothing": 1e-12}, {"z_loss": 1e-10}, {"z_loss": 1e-4},
])  # fmt: skip
def test_gradients_of_sure_targets_keep_what_options_add(options):
    mpmath = pytest.importorskip("mpmath")
    smoothing, z_loss = (options.get(name, 0.0) for name in ("label_smoothing", "z_loss"))
    with mpmath.workdps(60):
        for gap, axis in itertools.product([10.0, 26.0, 40.0], [0, -1]):
            z = np.zeros((8, 32))
            z[2] = gap
            top = mpmath.mpf(gap)
            rest = 7 / mpmath.exp(top)
            p = 1 / (1 + rest)
            lse = top + mpmath.log1p(rest)
            wanted = p * (1 + 2 * mpmath.mpf(z_loss) * lse) - (
                1 - mpmath.mpf(smoothing) + mpmath.mpf(smoothing) / 8
            )
            scores = z if axis == 0 else np.ascontiguousarray(z.T)
            grad = fs.cross_entropy(
                scores, np.full(32, 2), axis, need_grad=True, reduction="sum", **options
            ).grad
            value = grad[2, 5] if axis == 0 else grad[5, 2]
            terms = p * mpmath.exp(-top) * 7 + smoothing + 2 * z_loss * lse
            assert abs(value - wanted) < 20 * 2.0**-53 * terms


def test_mean_of_many_weights():
    n = 1 << 20
    loss = fs.cross_entropy(np.zeros((n, 2)), np.zeros(n, int), weight=[0.1, 0.1])
    assert abs(loss / np.log(2) - 1) < 4e-16


def test_targets_in_the_memory_of_the_logits():
    a = np.zeros((2, 3))
    expected = fs.cross_entropy(np.zeros((2, 3)), [0, 0], need_grad=True).grad
    fs.cross_entropy(a, a.view(np.int64)[:, 0], inplace_grad=True)
    assert np.array_equal(a, expected)


def test_nan_of_logsumexp_has_one_bit_pattern():
    z = np.array([[0xFFC00001, 0]], np.uint32).view(np.float32)
    assert fs.cross_entropy(z, [0], need_grad=True).logsumexp.view(np.uint32)[0] == 0x7FC00000


def test_tensors():
    torch = pytest.importorskip("torch")
    logits = torch.randn(4, 5, dtype=torch.bfloat16)
    result = fs.cross_entropy(logits, torch.tensor([1, 2, 3, 0]), need_grad=True)
    assert isinstance(result.loss, torch.Tensor)
    assert result.loss.dtype == torch.float32
    assert result.grad.dtype == torch.bfloat16
    expected = torch.nn.functional.cross_entropy(logits.double(), torch.tensor([1, 2, 3, 0]))
    assert abs(result.loss - expected) < 1e-6
