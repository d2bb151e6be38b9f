"""softmax_stats: values against float64 formulas, bits against softmax and logsumexp."""

from __future__ import annotations

import math

import fastsoftmax as fs
import numpy as np
import pytest

INF, NAN = np.inf, np.nan


def exact(row):
    """Entropy of the softmax of a row of finite or -inf numbers, by long sums."""
    z = np.sort(np.asarray(row, np.float64))[::-1]
    e = np.exp(z - z[0])
    rest = math.fsum(e[1:])
    finite = e > 0
    return math.log1p(rest) + math.fsum(e[finite] * (z[0] - z[finite])) / (1 + rest)


def ulps(a, b, dtype):
    return abs(float(a) - b) / float(np.spacing(dtype(abs(b))))


@pytest.fixture(params=[np.float16, np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64, 65, 512, 1024, 1025, 5000])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_values(dtype, n, scale, rng):
    x = (scale * rng.standard_normal((6, n))).astype(dtype)
    x[1] = np.sort(x[1])
    x[2] = x[2][::-1].copy()
    x[3, n // 2] = np.float64(x[3].max()) + 1
    x[4] = 1
    x[5, ::2] = -INF
    x[5, 0] = 0
    p = fs.softmax(x)
    stats = fs.softmax_stats(x)
    top = p.max(-1)
    np.testing.assert_array_equal(stats.max, x.max(-1))
    assert stats.logsumexp.tobytes() == fs.logsumexp(x).tobytes()
    assert stats.top1.tobytes() == top.tobytes()
    wide = fs.softmax(x.astype(np.float32)) if dtype == np.float16 else p
    wide = -np.sort(-wide, axis=-1)
    margin = wide[:, 0] - (wide[:, 1] if n > 1 else 0)
    assert stats.margin.tobytes() == margin.astype(dtype).tobytes()
    limit = 21 if dtype != np.float16 else 1
    for i, row in enumerate(x):
        expected = exact(row)
        if expected > 1e-30:
            assert ulps(stats.entropy[i], expected, dtype) <= limit, (i, stats.entropy[i], expected)
        else:
            assert stats.entropy[i] == pytest.approx(expected, abs=1e-30)


def test_entropy_keeps_its_digits_where_one_element_dominates():
    for gap in (5.0, 20.0, 60.0, 85.0):
        row = np.float32([0.0, gap, -3.0])
        stats = fs.softmax_stats(row)
        assert ulps(stats.entropy, exact(row), np.float32) <= 21


def test_special_rows(dtype):
    base = np.zeros((6, 700), dtype)
    base[0, 5] = NAN
    base[1, [3, 9]] = INF
    base[2] = -INF
    base[3, [1, 2]] = [NAN, INF]
    base[4] = np.finfo(dtype).max / 2
    base[4, 7] *= 1.5
    base[5, 1:] = -INF
    stats = fs.softmax_stats(base)
    np.testing.assert_array_equal(stats.max, base.max(-1))
    assert stats.logsumexp.tobytes() == fs.logsumexp(base).tobytes()
    for field in ("entropy", "top1", "margin"):
        values = getattr(stats, field)
        assert np.isnan(values[:4]).all()
        assert np.isfinite(values[4:]).all()
    for field, value in (("entropy", 0), ("top1", 1), ("margin", 1)):
        np.testing.assert_array_equal(getattr(stats, field)[4:], value)


def test_temperature_where_axis_and_layout(dtype, rng):
    x = (3 * rng.standard_normal((5, 90, 7))).astype(dtype)
    where = rng.random(x.shape) < 0.7
    temperature = rng.uniform(0.5, 2, (5, 1, 7))
    expected = fs.softmax_stats(
        np.moveaxis(x, 1, -1).copy(),
        temperature=np.moveaxis(temperature, 1, -1),
        where=np.moveaxis(where, 1, -1),
    )
    for view in (x, np.asfortranarray(x), x[:, ::-1][:, ::-1], x.astype(x.dtype.newbyteorder())):
        stats = fs.softmax_stats(view, 1, temperature=temperature, where=where)
        for a, b in zip(stats, expected, strict=True):
            assert a.shape == (5, 7)
            assert a.tobytes() == b.tobytes()


def test_threads_and_batches_change_nothing(rng):
    x = rng.standard_normal((400, 1500)).astype(np.float32)
    x[3, 4] = NAN
    alone = [fs.softmax_stats(row) for row in x[:20]]
    for threads in (1, 3):
        with fs.threads(threads):
            stats = fs.softmax_stats(x)
        for field in stats._fields:
            batch = getattr(stats, field)[:20]
            single = np.array([getattr(row, field) for row in alone])
            assert batch.tobytes() == single.tobytes()


def test_results():
    stats = fs.softmax_stats([1, 2, 3])
    assert isinstance(stats, fs.SoftmaxStats)
    assert all(isinstance(value, np.float64) for value in stats)
    assert fs.softmax_stats(np.zeros((0, 3))).entropy.shape == (0,)
    empty = fs.softmax_stats(np.zeros((2, 0)))
    np.testing.assert_array_equal(empty.logsumexp, [-INF, -INF])
    assert np.isnan(empty.entropy).all()


def test_errors():
    with pytest.raises(np.exceptions.AxisError):
        fs.softmax_stats(np.zeros(3), 1)
    with pytest.raises(TypeError, match="axis must be an int, not tuple"):
        fs.softmax_stats(np.zeros(3), (0,))
    with pytest.raises(ValueError, match="temperature must be positive"):
        fs.softmax_stats(np.zeros(3), temperature=-1.0)
    with pytest.raises(TypeError, match="booleans"):
        fs.softmax_stats(np.zeros(3), where=[1, 1, 0])
