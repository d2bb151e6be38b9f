"""linear_logsumexp, linear_log_prob, linear_topk: the same as of complete scores."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

INF, NAN = np.inf, np.nan
SHAPES = [(7, 5, 11), (513, 3, 2049), (17, 20, 4100), (1, 1, 1), (0, 3, 5), (4, 0, 6)]


def layer(rng, rows, depth, classes, dtype=np.float64):
    x = rng.normal(size=(rows, depth)).astype(dtype)
    w = rng.normal(size=(classes, depth)).astype(dtype)
    return x, w, rng.normal(size=classes).astype(dtype)


def scores_of(x, w, b=0.0, temperature=1.0):
    return (np.asarray(x, np.float64) @ np.asarray(w, np.float64).T + b) / temperature


@pytest.mark.parametrize(("rows", "depth", "classes"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logsumexp_and_log_prob(rng, dtype, rows, depth, classes, temperature):
    x, w, b = layer(rng, rows, depth, classes, dtype)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for bias in (None, b):
        z = scores_of(x, w, 0 if bias is None else b, temperature)
        actual = fs.linear_logsumexp(x, w, bias, temperature=temperature)
        assert actual.dtype == dtype
        assert actual.shape == (rows,)
        np.testing.assert_allclose(actual, fs.logsumexp(z), tolerance, tolerance)
        logs = fs.log_softmax(z)
        ids = rng.integers(0, classes, (rows, 3))
        many = fs.linear_log_prob(x, w, ids, bias, temperature=temperature)
        np.testing.assert_allclose(many, np.take_along_axis(logs, ids, 1), tolerance, tolerance)
        single = fs.linear_log_prob(x, w, ids[:, 1], bias, temperature=temperature)
        np.testing.assert_array_equal(single, many[:, 1])


@pytest.mark.parametrize(("rows", "depth", "classes"), SHAPES)
@pytest.mark.parametrize("log", [False, True])
def test_topk(rng, rows, depth, classes, log):
    x, w, b = layer(rng, rows, depth, classes)
    z = scores_of(x, w, b, 1.5)
    for k in {0, 1, min(classes, 10), classes}:
        actual = fs.linear_topk(x, w, k, b, temperature=1.5, log=log)
        expected = fs.softmax_topk(z, k, log=log, return_logsumexp=True)
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_allclose(actual.values, expected.values, 1e-11, 1e-300)
        np.testing.assert_allclose(actual.logsumexp, expected.logsumexp, 1e-12, 1e-12)


def test_topk_prefers_the_lower_class_among_equals(rng):
    # Whole numbers, so that scores are exact; classes far apart repeat each other.
    x = rng.integers(-3, 4, (40, 4)).astype(np.float32)
    w = rng.integers(-3, 4, (5000, 4)).astype(np.float32)
    actual = fs.linear_topk(x, w, 1500)
    expected = fs.softmax_topk(x @ w.T, 1500)
    np.testing.assert_array_equal(actual.indices, expected.indices)
    np.testing.assert_allclose(actual.values, expected.values, 1e-6)


def test_rows_without_softmax_are_as_those_of_scores(rng):
    x, w, _ = layer(rng, 6, 1, 3000)
    w = np.abs(w) + 0.5
    x[:] = 1.0
    b = np.zeros(3000)
    b[[5, 2500]] = -INF
    x[0], x[1], x[2], x[3] = NAN, INF, -INF, 1e5
    with np.errstate(invalid="ignore"):
        z = scores_of(x, w, b)
    np.testing.assert_allclose(fs.linear_logsumexp(x, w, b), fs.logsumexp(z), 1e-13)
    top = fs.linear_topk(x, w, 4, b)
    expected = fs.softmax_topk(z, 4)
    np.testing.assert_allclose(top.values, expected.values, 1e-10)
    np.testing.assert_array_equal(top.indices, expected.indices)
    ids = np.full(6, 5)
    np.testing.assert_array_equal(fs.linear_log_prob(x, w, ids, b), fs.log_softmax(z)[:, 5])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("told", ["ignore", "warn", "raise"])
def test_numpy_neither_warns_nor_raises(rng, told):
    """Products of infinities, of NaNs and beyond the largest number are results like others."""
    x, w, b = layer(rng, 6, 4, 30)
    x[0], x[1, 2], x[2], x[3] = NAN, INF, 1e300, -1e-300
    w[3], w[5], w[9, 0] = 1e300, -1e-300, -INF
    targets = np.arange(6)
    sample = fs.UniformSampler(30).sample(20, seed=1)
    calls = [
        lambda: fs.linear_logsumexp(x, w, b),
        lambda: fs.linear_log_prob(x, w, targets, b),
        lambda: fs.linear_topk(x, w, 3, b),
        lambda: fs.linear_cross_entropy(x, w, targets, b, need_grad=True),
        lambda: fs.sampled_softmax_loss(x, w, targets, sample, b, need_grad=True),
        lambda: fs.nce_loss(x, w, targets, sample, b, need_grad=True),
        lambda: fs.partial_fc_loss(x, w, targets, 1.0, normalize=False, need_grad=True),
        lambda: fs.AugmentReduce(6, "probit").step(x, w, targets, sample, targets, b),
    ]
    with np.errstate(all=told):
        for call in calls:
            call()
        assert set(np.geterr().values()) == {told}
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        x @ w.T


def test_a_common_offset_costs_nothing(rng):
    # Scores of 1e6 have a spacing of 0.0625 in float32: exact ones stay so.
    x = np.ones((3, 1), np.float32)
    w = rng.integers(-40, 40, (2500, 1)).astype(np.float32)
    plain = fs.linear_log_prob(x, w, [0, 1, 2])
    offset = fs.linear_log_prob(x, w, [0, 1, 2], np.full(2500, 1e6, np.float32))
    np.testing.assert_allclose(offset, plain, 3e-7)
    sure = fs.linear_log_prob(x, w, [9] * 3, np.where(np.arange(2500) == 9, 1e3, 0.0))
    assert (sure <= 0).all()


def test_dtypes(rng, dtype):
    x, w, b = (a.astype(dtype) for a in layer(rng, 9, 8, 1500))
    z = scores_of(*(a.astype(np.float64) for a in (x, w, b)))
    result = np.float64 if dtype == np.float64 else np.float32
    sums = fs.linear_logsumexp(x, w, b)
    assert sums.dtype == result
    np.testing.assert_allclose(sums, fs.logsumexp(z), 2e-6)
    mixed = fs.linear_topk(x.astype(np.float32), w, 3, b.astype(np.float64))
    assert mixed.values.dtype == result
    np.testing.assert_array_equal(mixed.indices, fs.softmax_topk(z, 3).indices)


def test_layouts_have_the_same_results(rng):
    x, w, b = layer(rng, 30, 12, 2500)
    expected = fs.linear_logsumexp(x, w, b)

    def layouts(a):
        wide = np.zeros((a.shape[0], 2 * a.shape[1]))
        wide[:, ::2] = a
        yield np.asfortranarray(a)
        yield wide[:, ::2]
        yield wide.astype(">f8")[:, ::2]
        yield np.ascontiguousarray(a[::-1])[::-1]
        yield np.ascontiguousarray(a[:, ::-1])[:, ::-1]
        yield np.pad(a, ((0, 0), (3, 4)))[:, 3:-4]

    for first in layouts(x):
        np.testing.assert_allclose(fs.linear_logsumexp(first, w, b), expected, 1e-14)
    for second in layouts(w):
        np.testing.assert_allclose(fs.linear_logsumexp(x, second, b[::-1][::-1]), expected, 1e-14)
    same = np.broadcast_to(x[:1], x.shape)
    np.testing.assert_allclose(fs.linear_logsumexp(same, w, b), expected[:1].repeat(30), 1e-14)


def test_integers_count_as_float64():
    sums = fs.linear_logsumexp([[1, 0]], [[2, 0], [0, 1]])
    np.testing.assert_allclose(sums, [np.log(np.exp(2.0) + 1)], 1e-15)


def test_tensors(rng):
    torch = pytest.importorskip("torch")
    x, w, b = layer(rng, 5, 4, 40, np.float32)
    tensors = [torch.from_numpy(a) for a in (x, w, b)]
    top = fs.linear_topk(tensors[0], tensors[1], 3, tensors[2])
    assert all(isinstance(field, torch.Tensor) for field in top)
    np.testing.assert_array_equal(top.indices.numpy(), fs.linear_topk(x, w, 3, b).indices)
    half = fs.linear_logsumexp(tensors[0].bfloat16(), tensors[1].bfloat16())
    assert half.dtype == torch.float32


class Failing:
    """numpy.matmul for a while."""

    def __init__(self, after):
        self.after, self.matmul = after, np.matmul

    def __call__(self, *args, **kwargs):
        self.after -= 1
        if self.after < 0:
            raise FloatingPointError("no product")
        return self.matmul(*args, **kwargs)


@pytest.mark.parametrize("after", [0, 1])
def test_what_the_product_raises_comes_out_as_it_is(rng, monkeypatch, after):
    x, w, _ = layer(rng, 5, 2, 150_000)
    monkeypatch.setattr(np, "matmul", Failing(after))
    with pytest.raises(FloatingPointError, match="no product"):
        fs.linear_logsumexp(x, w)
    monkeypatch.undo()
    np.testing.assert_allclose(fs.linear_logsumexp(x, w), fs.logsumexp(x @ w.T), 1e-13)


def test_a_call_inside_the_product_of_another(rng, monkeypatch):
    x, w, _ = layer(rng, 5, 2, 150_000)
    expected = fs.linear_logsumexp(x, w)
    matmul, inner = np.matmul, []

    def nested(*args, **kwargs):
        monkeypatch.setattr(np, "matmul", matmul)
        inner.append(fs.linear_logsumexp(x, w))
        monkeypatch.setattr(np, "matmul", nested)
        return matmul(*args, **kwargs)

    monkeypatch.setattr(np, "matmul", nested)
    np.testing.assert_array_equal(fs.linear_logsumexp(x, w), expected)
    assert len(inner) == 3
    np.testing.assert_array_equal(inner[0], expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w: fs.linear_logsumexp(x[0], w), ValueError, "x must have 2 dimensions"),
        (lambda x, w: fs.linear_logsumexp(x, w[0]), ValueError, "W must have 2 dimensions"),
        (lambda x, w: fs.linear_logsumexp(x, w[:, 1:]), ValueError, "differ in their last"),
        (lambda x, w: fs.linear_logsumexp(x, w, w[0]), ValueError, "bias has 3 elements for 8"),
        (lambda x, w: fs.linear_logsumexp(x, w, w), ValueError, "bias must have 1 dimension"),
        (lambda x, w: fs.linear_logsumexp(x * 1j, w), TypeError, "x has dtype complex128"),
        (lambda x, w: fs.linear_logsumexp(x, w, temperature=0), ValueError, "temperature must be"),
        (lambda x, w: fs.linear_logsumexp(x, w, temperature=[1]), TypeError, "temperature must be"),
        (lambda x, w: fs.linear_log_prob(x, w, [0, 8]), IndexError, "id 8 of row 1"),
        (lambda x, w: fs.linear_log_prob(x, w, [[0, 1], [0, -1]]), IndexError, "id -1 of row 1"),
        (lambda x, w: fs.linear_log_prob(x, w, [0]), ValueError, r"ids have shape \(1,\)"),
        (lambda x, w: fs.linear_log_prob(x, w, [0.0, 1.0]), TypeError, "ids must be"),
        (lambda x, w: fs.linear_topk(x, w, 9), ValueError, "k is 9, but there are only 8"),
        (lambda x, w: fs.linear_topk(x, w, -1), ValueError, "k must not be negative"),
        (lambda x, w: fs.linear_topk(x, w, 1.0), TypeError, "k must be an int"),
    ],
)
def test_errors(rng, call, error, message):
    x, w, _ = layer(rng, 2, 3, 8)
    with pytest.raises(error, match=message):
        call(x, w)
