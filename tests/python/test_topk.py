"""softmax_topk and topk: exact selection in a stated order, values with the bits of softmax."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

INF, NAN = np.inf, np.nan
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


def expected_order(z, admitted=None, largest=True):
    """Indices of a row in the order that the documentation states, by Python's own sort."""
    admitted = np.ones(len(z), bool) if admitted is None else admitted

    def rank(i):
        v = z[i]
        if not admitted[i]:
            return (2, 0, i)
        if v != v:
            return (0 if largest else 1, 0, i)
        v = int(v) if np.issubdtype(z.dtype, np.integer) or z.dtype == bool else float(v)
        return (1 if largest else 0, -v if largest else v, i)

    return np.array(sorted(range(len(z)), key=rank), np.int64)


def same_bits(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def check(x, k, axis=-1, where=None, temperature=1.0, empty="nan", orders=None):
    """Compare all outcomes with softmax, log_softmax and logsumexp at the expected indices."""
    options = {"temperature": temperature, "where": where}
    arithmetic = np.float64 if fs.softmax(x[..., :0]).dtype == np.float64 else np.float32
    z = x.astype(arithmetic) / np.asarray(temperature, arithmetic)
    if orders is None:
        rows = np.moveaxis(z, axis, -1)
        mask = np.moveaxis(np.broadcast_to(True if where is None else where, x.shape), axis, -1)
        orders = np.empty(rows.shape, np.int64)
        for at in np.ndindex(rows.shape[:-1]):
            orders[at] = expected_order(rows[at], mask[at])
        orders = np.moveaxis(orders, -1, axis)
    expected = np.take(orders, range(k), axis)
    for log in (False, True):
        whole = (fs.log_softmax if log else fs.softmax)(x, axis, empty=empty, **options)
        values, indices, logsumexp = fs.softmax_topk(
            x, k, axis, log=log, empty=empty, return_logsumexp=True, **options
        )
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(indices, expected)
        same_bits(values, np.take_along_axis(whole, expected, axis))
        same_bits(logsumexp, fs.logsumexp(x, axis, **options))
        plain = fs.softmax_topk(x, k, axis, log=log, empty=empty, **options)
        same_bits(plain.values, values)
        np.testing.assert_array_equal(plain.indices, expected)
        selected = np.take_along_axis(x, expected, axis)
        admitted = np.broadcast_to(True if where is None else where, x.shape)
        renormalized = (fs.log_softmax if log else fs.softmax)(
            selected,
            axis,
            temperature=temperature,
            where=np.take_along_axis(admitted, expected, axis),
            empty=empty,
        )
        for with_sum in (False, True):
            result = fs.softmax_topk(
                x,
                k,
                axis,
                log=log,
                empty=empty,
                normalize="topk",
                return_logsumexp=with_sum,
                **options,
            )
            np.testing.assert_array_equal(result.indices, expected)
            same_bits(result.values, renormalized)
            if with_sum:
                same_bits(result.logsumexp, logsumexp)


def values_of(rng, shape):
    """Rows that are easy, tied, sorted, far apart, masked, or out of the exponential's domain."""
    x = 3 * rng.standard_normal(shape)
    ramp = np.arange(shape[-1]) * 0.03125
    yield x
    yield np.round(x)
    yield np.broadcast_to(ramp, shape).copy()
    yield np.broadcast_to(-ramp, shape).copy()
    yield np.zeros(shape)
    yield np.where(rng.random(shape) < 0.5, 0.0, -0.0)
    yield np.where(rng.random(shape) < 0.7, -INF, x)
    yield 1e4 * x
    yield 1e30 * x


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 15, 16, 17, 33, 63, 64, 65, 100])
def test_every_k_of_short_rows(dtype, n, rng):
    for x in values_of(rng, (3, n)):
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        for k in range(n + 1):
            check(x, k)


@pytest.mark.parametrize("n", [257, 512, 513, 1024, 1025, 4096, 5000])
def test_some_k_of_longer_rows(dtype, n, rng):
    for x in values_of(rng, (2, n)):
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        orders = np.array([expected_order(row) for row in x.astype(np.float64)])
        for k in (1, 2, 5, 11, 12, 49, 64, 65, 192, 193, n // 2, n - 1, n):
            if k <= n:
                check(x, k, orders=orders)


@pytest.mark.parametrize("n", [20_000, 131_072])
def test_no_input_is_hard(n, rng):
    """Selections from sorted, constant and adversarial rows, against NumPy's stable sort."""
    steps = np.repeat(np.arange(n // 1024 + 1), 1024)[:n]
    inputs = [
        rng.standard_normal(n),
        np.arange(n),
        -np.arange(n),
        np.zeros(n),
        np.where(np.arange(n) == n // 3, 5, 0),
        np.round(rng.standard_normal(n)),
        steps,
        -steps,
        np.arange(n) % 64,
        np.where(np.arange(n) % 1024 == 17, np.arange(n), -np.arange(n)),
        np.cumsum(rng.standard_normal(n)),
    ]
    for x in inputs:
        x = x.astype(np.float32)
        order = np.argsort(-x, kind="stable")
        p = fs.softmax(x)
        for k in (1, 3, 50, 256, 1024, 5000, n // 10, n // 2, n):
            values, indices = fs.softmax_topk(x, k)
            np.testing.assert_array_equal(indices, order[:k])
            same_bits(values, p[order[:k]])
            same_bits(fs.topk(x, k).values, x[order[:k]])


def test_temperature_and_where(dtype, rng):
    x = (3 * rng.standard_normal((4, 700))).astype(dtype)
    x[1] = np.round(x[1])
    x[2, ::3] = -INF
    per_row = np.array([[0.5], [1.0], [2.5], [0.01]])
    where = rng.random((4, 700)) < 0.6
    for k in (1, 7, 300, 450, 700):
        check(x, k, temperature=0.7)
        check(x, k, temperature=per_row)
        check(x, k, where=where)
        check(x, k, where=where[2], temperature=per_row)
        check(x, k, where=where[:, :1], empty="zero")


def test_masked_elements_come_last():
    x = np.float32([-INF, 5, -INF, 1, 9])
    where = np.array([False, True, True, True, False])
    values, indices = fs.softmax_topk(x, 5, where=where)
    np.testing.assert_array_equal(indices, [1, 3, 2, 0, 4])
    same_bits(values, fs.softmax(x, where=where)[indices])


@pytest.mark.parametrize("n", [5, 64, 700, 3000])
@pytest.mark.parametrize("empty", ["nan", "zero"])
def test_special_rows(dtype, n, empty, rng):
    base = rng.standard_normal((8, n)).astype(dtype)
    base[0, n // 2] = NAN
    base[1, [0, n - 1]] = INF
    base[2] = -INF
    base[3] = NAN
    base[4, [1, 3]] = [NAN, INF]
    base[5, : n - 2] = -INF
    base[6, ::2] = NAN
    for k in (1, 2, n // 2, n):
        check(base, k, empty=empty)
        where = np.ones((8, n), bool)
        where[:, ::2] = False
        where[7] = False
        check(base, k, where=where, empty=empty)


@pytest.mark.parametrize("n", [1, 33, 700, 3000])
def test_selection_of_floats(dtype, n, rng):
    for x in values_of(rng, (2, n)):
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        spoiled = x.copy()
        spoiled[0, rng.integers(n, size=n // 5 + 1)] = NAN
        spoiled[1, rng.integers(n, size=n // 5 + 1)] = -INF
        spoiled[1, rng.integers(n, size=2)] = INF
        for data in (x, spoiled):
            for largest in (True, False):
                order = [expected_order(row, largest=largest) for row in data]
                for k in (0, 1, n // 3, n):
                    values, indices = fs.topk(data, k, largest=largest)
                    expected = np.array([row[:k] for row in order])
                    np.testing.assert_array_equal(indices, expected)
                    same_bits(values, np.take_along_axis(data, expected, -1))


@pytest.mark.parametrize("name", INTEGERS)
def test_selection_of_integers(name, rng):
    """Exactly: neighbouring int64 that float64 cannot tell apart among them."""
    if name == "bool":
        x = rng.random((3, 900)) < 0.3
    else:
        low, high = np.iinfo(name).min, np.iinfo(name).max
        x = rng.integers(low, high, (3, 900), dtype=name, endpoint=True)
        x[0, 5:9] = [high, high - 1, low, low + 1]
        x[1] = high - (np.arange(900) % 7).astype(name)
    for largest in (True, False):
        for k in (1, 10, 900):
            values, indices = fs.topk(x, k, largest=largest)
            expected = np.array([expected_order(row, largest=largest)[:k] for row in x])
            np.testing.assert_array_equal(indices, expected)
            same_bits(values, np.take_along_axis(x, expected, -1))


def test_integers_are_scores_too(rng):
    x = rng.integers(-9, 9, (4, 300), dtype=np.int16)
    values, indices = fs.softmax_topk(x, 20)
    expected = fs.softmax_topk(x.astype(np.float64), 20)
    same_bits(values, expected.values)
    np.testing.assert_array_equal(indices, expected.indices)


@pytest.mark.parametrize("shape", [(40, 6, 5), (7, 130, 3), (3, 4, 1100), (1, 1, 9), (70, 1, 40)])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_axes_and_layouts(dtype, shape, axis, rng):
    x = rng.standard_normal(shape).astype(dtype)
    k = min(5, shape[axis])
    order = np.argsort(-x.astype(np.float64), axis=axis, kind="stable")
    expected = np.take(order, range(k), axis)
    whole = np.take_along_axis(fs.softmax(x, axis), expected, axis)
    padded = np.zeros((*shape[:2], shape[2] + 3), dtype)
    padded[..., 3:] = x
    views = [x, np.asfortranarray(x), x[::-1].copy()[::-1], padded[..., 3:], x[:, ::-1][:, ::-1]]
    views.append(np.repeat(x, 2, axis=1)[:, ::2])
    if dtype.kind == "f":
        views.append(x.astype(dtype.newbyteorder()))
    for view in views:
        values, indices = fs.softmax_topk(view, k, axis)
        np.testing.assert_array_equal(indices, expected)
        same_bits(values, whole)
        assert values.flags.c_contiguous
        picked = fs.topk(view, k, axis)
        np.testing.assert_array_equal(picked.indices, expected)
        same_bits(picked.values, np.take_along_axis(x, expected, axis))
        smallest = fs.topk(view, k, axis, largest=False).indices
        ascending = np.argsort(x.astype(np.float64), axis=axis, kind="stable")
        np.testing.assert_array_equal(smallest, np.take(ascending, range(k), axis))


def test_rows_do_not_see_each_other(dtype, rng):
    x = (3 * rng.standard_normal((37, 90))).astype(dtype)
    x[5, 7] = NAN
    x[6] = 1.0
    for k in (1, 2, 8, 40, 90):
        together = fs.softmax_topk(x, k)
        for i, row in enumerate(x):
            alone = fs.softmax_topk(row, k)
            np.testing.assert_array_equal(together.indices[i], alone.indices)
            same_bits(together.values[i], alone.values)


@pytest.mark.parametrize("name", ["float32", "float64", "int64"])
def test_threads_change_nothing(name, rng):
    shared = np.round(1e3 * rng.standard_normal((1, 1_000_000))).astype(name)
    many = np.round(1e3 * rng.standard_normal((600, 1000))).astype(name)
    broken = shared.copy()
    if name != "int64":
        broken[0, 777_777] = NAN
    for x in (shared, many, broken):
        for k in (3, 500):
            results = []
            for threads in (1, 2, 5):
                with fs.threads(threads):
                    full = fs.softmax_topk(x, k, return_logsumexp=True)
                    results.append([*full, *fs.topk(x, k), *fs.topk(x, k, largest=False)])
            for other in results[1:]:
                for a, b in zip(results[0], other, strict=True):
                    same_bits(a, b)
            for i in range(0, len(x), 97):
                order = expected_order(x[i])[:k] if len(x) > 1 else np.argsort(-x[i], kind="stable")
                if x is not broken:
                    np.testing.assert_array_equal(results[0][1][i], order[:k])


def test_no_elements():
    for x, k in ((np.zeros((3, 0)), 0), (np.zeros((0, 4)), 2), (np.zeros((2, 5)), 0)):
        values, indices, logsumexp = fs.softmax_topk(x, k, return_logsumexp=True)
        assert values.shape == indices.shape == (x.shape[0], k)
        np.testing.assert_array_equal(logsumexp, fs.logsumexp(x))
        assert fs.topk(x, k).values.shape == (x.shape[0], k)


def test_named_tuples():
    result = fs.softmax_topk([1.0, 3.0, 2.0], 2)
    assert isinstance(result, fs.SoftmaxTopK)
    assert result._fields == ("values", "indices")
    result = fs.softmax_topk([1.0, 3.0, 2.0], 2, return_logsumexp=True)
    assert isinstance(result, fs.SoftmaxTopKLogsumexp)
    assert isinstance(result.logsumexp, np.float64)
    assert isinstance(fs.topk([1, 2], 1), fs.TopK)


def test_results_are_of_the_kind_of_the_input(rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((3, 50)).astype(np.float32))
    for t in (x, x.bfloat16(), x.double().T):
        values, indices = fs.softmax_topk(t, 3)
        assert isinstance(values, torch.Tensor)
        assert values.dtype == t.dtype
        assert indices.dtype == torch.int64
        expected = torch.topk(t, 3)
        torch.testing.assert_close(fs.topk(t, 3).values, expected.values, rtol=0, atol=0)


@pytest.mark.parametrize("function", [fs.softmax_topk, fs.topk])
def test_errors(function):
    x = np.zeros((2, 5))
    with pytest.raises(ValueError, match="k is 6, but rows have only 5 elements"):
        function(x, 6)
    with pytest.raises(ValueError, match="k must not be negative, got -1"):
        function(x, -1)
    with pytest.raises(ValueError, match="only 2 elements"):
        function(x, 3, 0)
    with pytest.raises(ValueError, match="only 5 elements"):
        function(x, 10**30)
    with pytest.raises(TypeError, match="k must be an int, not float"):
        function(x, 2.0)
    with pytest.raises(TypeError, match="missing required argument 'k'"):
        function(x)
    for axis in (None, (0,), 1.5):
        with pytest.raises(TypeError, match="axis must be an int, not"):
            function(x, 1, axis)
    with pytest.raises(np.exceptions.AxisError):
        function(x, 1, 2)
    with pytest.raises(np.exceptions.AxisError):
        function(1.0, 0)
    with pytest.raises(TypeError, match="complex"):
        function(np.zeros(3, complex), 1)
    with pytest.raises(TypeError, match="MaskedArray"):
        function(np.ma.zeros(3), 1)


def test_errors_of_options():
    x = np.zeros((2, 5))
    with pytest.raises(ValueError, match="normalize must be 'full' or 'topk', not 'all'"):
        fs.softmax_topk(x, 2, normalize="all")
    with pytest.raises(ValueError, match="temperature must be positive"):
        fs.softmax_topk(x, 2, temperature=0.0)
    with pytest.raises(ValueError, match="broadcast"):
        fs.softmax_topk(x, 2, where=np.ones(4, bool))
    with pytest.raises(ValueError, match="empty must be"):
        fs.softmax_topk(x, 2, empty="none")
    with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
        fs.topk(x, 2, out=x)
