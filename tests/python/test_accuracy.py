"""Distance from the exact result: at most 4 ulp, and what must hold between results.

Exact means float64 for float32 rows and long double for float64 rows (where it is wider), with the
rounding error of x - max carried along; mpmath checks that reference. An ulp is the last place of
the exact result. For logsumexp, which adds the maximum to the logarithm of the sum, it is that of
the larger of these two: where they cancel, half a place of an input moves the result by more.

float16 and bfloat16 results are the float32 ones rounded once, which test_bits.py checks.
"""

from __future__ import annotations

from types import SimpleNamespace

import fastsoftmax as fs
import mpmath
import numpy as np
import pytest

MOST = 4.0
LENGTHS = [1, 2, 3, 10, 65, 1000, 4097, 32768, 262144]
DTYPES = [np.float32, np.float64]
by_name = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)


@pytest.fixture(autouse=True)
def _wide_reference(request):
    double = "dtype" in request.fixturenames and request.getfixturevalue("dtype") is np.float64
    if double and np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps:
        pytest.skip("long double is no wider than float64 here")


def exact(x):
    """Compute all three functions of rows in the wider type."""
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    z = x.astype(wide)
    first = z.argmax(axis=-1, keepdims=True)
    largest = np.take_along_axis(z, first, -1)
    with np.errstate(invalid="ignore"):
        d = z - largest
        back = d - z
        lost = (z - (d - back)) - (largest + back)
    lost[~np.isfinite(d)] = 0
    with np.errstate(under="ignore"):
        e = np.exp(d) * (1 + lost)
        np.put_along_axis(e, first, 0, -1)
        rest = e.sum(axis=-1, keepdims=True)
        np.put_along_axis(e, first, 1, -1)
        log_sum = np.log1p(rest)
        return SimpleNamespace(
            softmax=e / (1 + rest),
            log_softmax=d - (log_sum - lost),
            logsumexp=(largest + log_sum)[..., 0],
            scale=np.maximum(abs(largest), log_sum)[..., 0],
        )


def ulp(reference, dtype):
    """Last place of `reference` in `dtype`; of the smallest normal number below that one."""
    info = np.finfo(dtype)
    exponent = np.maximum(np.frexp(reference)[1] - 1, info.minexp)
    return np.ldexp(np.ones_like(reference), exponent - info.nmant)


def ulps(result, reference, dtype, scale=None):
    """Return the largest error, after taking out outputs that are rightly flushed to zero."""
    result, reference = np.atleast_1d(result), np.atleast_1d(reference)
    tiny = np.finfo(dtype).tiny
    may_flush = np.abs(reference) < tiny * (1 + 8 * np.finfo(dtype).eps)
    must_flush = np.abs(reference) < tiny * (1 - 8 * np.finfo(dtype).eps)
    assert np.all(result[must_flush] == 0)
    hidden = (result == reference) | (may_flush & (result == 0))
    with np.errstate(invalid="ignore"):
        error = np.abs(result - reference) / ulp(reference if scale is None else scale, dtype)
    return float(np.where(hidden, 0, error).max())


def check(x):
    """Compare rows with the exact result."""
    dtype = x.dtype.type
    reference = exact(x)
    worst = {}
    y = fs.softmax(x)
    worst["softmax"] = ulps(y, reference.softmax, dtype)
    assert y.max() <= 1
    assert y.min() >= 0
    off = np.abs(y.sum(axis=-1, dtype=np.longdouble) - 1).max()
    assert off <= MOST * np.finfo(dtype).eps + x.shape[-1] * np.finfo(dtype).tiny

    y = fs.log_softmax(x)
    assert y.max() <= 0
    worst["log_softmax"] = ulps(y, reference.log_softmax, dtype)
    y = fs.logsumexp(x)
    assert np.all(y >= x.max(axis=-1))
    worst["logsumexp"] = ulps(y, reference.logsumexp, dtype, reference.scale)
    assert max(worst.values()) <= MOST, worst


def language_model(n, rng):
    """Logits whose probabilities fall as 1 / rank, in random order, with noise."""
    return rng.permutation(-1.1 * np.log(np.arange(1, n + 1))) + 0.3 * rng.normal(size=n)


def one_dominates(n, rng):
    x = rng.normal(size=n)
    x[rng.integers(n)] = rng.uniform(5, 120)
    return x


def masked(value):
    def fill(n, rng):
        x = np.where(rng.random(n) < 0.5, value, 3 * rng.normal(size=n))
        x[n // 2] = 1.0
        return x

    return fill


def near_ties(n, rng):
    return rng.choice([0.0, 2.0**-20, -(2.0**-23), 2.0**-50], n)


INPUTS = {
    "sigma 1": lambda n, rng: rng.normal(size=n),
    "sigma 2": lambda n, rng: 2 * rng.normal(size=n),
    "sigma 5": lambda n, rng: 5 * rng.normal(size=n),
    "language model": language_model,
    "ascending": lambda n, rng: np.sort(4 * rng.normal(size=n)),
    "descending": lambda n, rng: -np.sort(4 * rng.normal(size=n)),
    "constant": lambda n, rng: np.full(n, 20 * rng.normal()),
    "one-hot": lambda n, rng: 10.0 * (np.arange(n) == rng.integers(n)),
    "masked with -inf": masked(-np.inf),
    "masked with -1e9": masked(-1e9),
    "masked with -1e4": masked(-1e4),
    "offset 1e4": lambda n, rng: 1e4 + rng.normal(size=n),
    "offset -1e4": lambda n, rng: -1e4 + 3 * rng.normal(size=n),
    "spread 1e2": lambda n, rng: 1e2 * rng.normal(size=n),
    "spread 1e5": lambda n, rng: 1e5 * rng.normal(size=n),
    "beyond the domain": lambda n, rng: 1e9 + 1e3 * rng.normal(size=n),
    "one dominates": one_dominates,
    "near-ties": near_ties,
    "uniform": lambda n, rng: rng.uniform(-30, 0, n),
    "two levels": lambda n, rng: np.where(rng.random(n) < 0.5, 0.0, -16.5),
}


@by_name
@pytest.mark.parametrize("name", INPUTS)
def test_within_four_ulps(dtype, name, rng):
    for n in LENGTHS:
        rows = [INPUTS[name](n, rng) for _ in range(max(1, min(300, 150_000 // n)))]
        check(np.array(rows, dtype))


@by_name
@pytest.mark.parametrize("name", ["sigma 5", "language model", "constant", "spread 1e5"])
def test_a_million(dtype, name, rng):
    check(INPUTS[name](1 << 20, rng).astype(dtype))


@pytest.mark.parametrize("name", ["sigma 2", "constant", "one dominates"])
def test_sixteen_million(name, rng):
    check(INPUTS[name](1 << 24, rng).astype(np.float32))


@by_name
@pytest.mark.parametrize("place", [0, 3, 7])
@pytest.mark.parametrize("lanes_filled", [1, 5, 1000])
def test_rows_whose_roundings_agree(dtype, place, lanes_filled):
    """Built against the order of summation, where random rows let roundings average out.

    A lane adds eight elements. One is at 0, seven lie about half its last place below, so that
    each plain addition would round in the same direction.
    """
    lanes, block = (64, 512) if dtype is np.float32 else (32, 256)
    half = -(np.finfo(dtype).nmant + 1) * np.log(2)
    for factor in (0.3, 0.49, 0.98, 1.0, 1.02, 1.49, 1.98, 2.9):
        rows = np.full((3, block), -np.inf, dtype)
        small = rows.reshape(3, -1, lanes)[:, :, :lanes_filled]
        small[...] = np.log(factor) + half
        small[0, place] = 0
        small[1, place] = np.linspace(0, -1e-3, small.shape[-1])
        small[2, place] = np.log(np.linspace(1, 1.9, small.shape[-1]))
        check(rows)


@by_name
def test_the_reference_itself(dtype, rng):
    """Against mpmath with 60 digits."""
    with mpmath.workdps(60):
        for name, fill in INPUTS.items():
            x = fill(40, rng).astype(dtype)
            values = [mpmath.mpf(float(v)) for v in x if v != -np.inf]
            log_sum = mpmath.log(mpmath.fsum(map(mpmath.exp, values)))
            reference = exact(x)
            eps = mpmath.mpf(float(np.finfo(dtype).eps))
            finite = np.isfinite(x)
            for op, function in (
                ("softmax", lambda v, s=log_sum: mpmath.exp(v - s)),
                ("log_softmax", lambda v, s=log_sum: v - s),
            ):
                for v, ours in zip(values, getattr(reference, op)[finite], strict=True):
                    theirs = function(v)
                    if abs(theirs) < float(np.finfo(dtype).tiny):
                        continue
                    assert abs(mpmath.mpf(str(ours)) - theirs) < 0.01 * eps * abs(theirs), name
            difference = abs(mpmath.mpf(str(reference.logsumexp)) - log_sum)
            assert difference < 0.01 * eps * mpmath.mpf(str(reference.scale))


@by_name
@pytest.mark.filterwarnings("ignore:.* encountered in (exp|subtract):RuntimeWarning")
@pytest.mark.parametrize("library", ["scipy.special", "torch"])
def test_agrees_with_others(dtype, library, rng):
    """As far as these libraries are exact: log_softmax of SciPy is off by an ulp of 1 near 0."""
    other = pytest.importorskip(library)
    tolerance = 40 * np.finfo(dtype).eps
    for name in ("sigma 1", "sigma 5", "language model", "offset 1e4", "masked with -inf"):
        for shape in ((1000,), (7, 130), (3, 50, 2)):
            x = INPUTS[name](int(np.prod(shape)), rng).reshape(shape).astype(dtype)
            for axis in range(-1, len(shape)):
                for op in ("softmax", "log_softmax", "logsumexp"):
                    if library == "torch":
                        theirs = getattr(other, op)(other.from_numpy(x), axis).numpy()
                    else:
                        theirs = getattr(other, op)(x, axis=axis)
                    ours = getattr(fs, op)(x, axis)
                    assert ours.dtype == theirs.dtype
                    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
