"""The promise of one set of bits: a row's result depends on its values and options alone.

Every result is compared, as integers, with the canonical one: the rows taken one at a time, on one
thread, each a contiguous array of the type that the arithmetic is done in, already divided by the
temperature and with -inf where a mask excludes.

FASTSOFTMAX_TEST_EXAMPLES sets the number of examples and draws other ones in every run.
"""

from __future__ import annotations

import os
from math import prod

import fastsoftmax as fs
import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

REDUCED = ["softmax", "log_softmax"]
OPS = [*REDUCED, "logsumexp"]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
DTYPES = [np.dtype(d) for d in [*FLOATS, *FLOATS, np.int8, np.int64, np.uint16, np.bool_]]
ALGORITHMS = [
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
]
# Around the widths of registers, lanes and blocks.
LENGTHS = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 130, 255, 256, 257]
LENGTHS += [300, 511, 512, 513, 700, 1024, 1025, 1600]

EXAMPLES = os.environ.get("FASTSOFTMAX_TEST_EXAMPLES")


def examples(number):
    return settings(
        deadline=None,
        database=None,
        derandomize=EXAMPLES is None,
        max_examples=int(EXAMPLES or number),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def same(result, expected):
    """Compare bit by bit."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    bits = f"u{result.dtype.itemsize}"
    differ = np.ascontiguousarray(result).view(bits) != np.ascontiguousarray(expected).view(bits)
    assert not differ.any(), (
        f"{differ.sum()} of {differ.size} elements, first at {np.argwhere(differ)[0]}"
    )


def result_type(dtype):
    native = dtype.newbyteorder("=")
    return native if native in FLOATS else np.dtype(np.float64)


def reduced_axes(axis, ndim):
    if axis is None:
        return list(range(ndim))
    return [a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))]


def canonical(op, x, axis, temperature=1.0, where=True, **options):
    """Compute the result row by row, with keepdims for logsumexp."""
    dtype = result_type(x.dtype)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    z = x.astype(arithmetic) / np.asarray(temperature, arithmetic)
    z = np.where(where, z, arithmetic(-np.inf))
    axes = sorted(reduced_axes(axis, x.ndim))
    kept = [a for a in range(x.ndim) if a not in axes]
    z = z.transpose(kept + axes)
    rows = z.reshape(prod(z.shape[: len(kept)]), prod(z.shape[len(kept) :]))
    with fs.threads(1):
        results = [getattr(fs, op)(row.copy(), **options) for row in rows]
    shape = [x.shape[a] for a in kept]
    shape += [1] * len(axes) if op == "logsumexp" else [x.shape[a] for a in axes]
    with np.errstate(over="ignore"):
        y = np.array(results, arithmetic).astype(dtype).reshape(shape)
    return y.transpose(np.argsort(kept + axes))


@st.composite
def shapes(draw):
    shape = draw(st.lists(st.integers(1, 4), max_size=4))
    if draw(st.integers(0, 15)) == 0:
        shape.append(0)
    shape.insert(draw(st.integers(0, len(shape))), draw(st.sampled_from(LENGTHS)))
    return tuple(shape) if draw(st.integers(0, 20)) else ()


@st.composite
def axes_of(draw, ndim):
    if ndim == 0:
        return draw(st.sampled_from([None, ()]))
    if draw(st.booleans()):
        return draw(st.integers(-ndim, ndim - 1))
    if draw(st.integers(0, 3)) == 0:
        return None
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim))
    return tuple(a - ndim * draw(st.booleans()) for a in chosen)


def fill(rng, pattern, shape, dtype):
    """Make an array of values whose reduction takes different paths."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = (info.min, info.max) if pattern == "spread" else (0, 20)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    x = rng.normal(size=shape)
    if pattern == "spread":
        x *= 1e3
    elif pattern == "extreme":
        x *= 1e30
    elif pattern == "offset":
        x += 1e4
    elif pattern == "ties":
        x = np.round(x)
    elif pattern == "masked":
        x = np.where(rng.random(shape) < 0.5, -np.inf, x)
    elif pattern == "special":
        x = np.where(rng.random(shape) < 0.02, rng.choice([np.nan, np.inf, -np.inf], shape), x)
    elif pattern == "steps":
        x += 90 * (np.arange(x.size).reshape(shape) // 512)
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(dtype)


PATTERNS = ["normal", "spread", "extreme", "offset", "ties", "masked", "special", "steps"]


@st.composite
def layouts(draw, values, readable_only=True):
    """Copy `values` to a view with other strides, at another address, in another byte order."""
    dtype = values.dtype
    strange = draw(st.booleans())
    if strange and draw(st.booleans()) and dtype != ml_dtypes.bfloat16:
        dtype = dtype.newbyteorder()
    order = range(values.ndim)
    if draw(st.booleans()):
        order = draw(st.permutations(order))
    sizes = [1, 1, 2, -1, -3] if strange else [1]
    steps = [draw(st.sampled_from(sizes)) for _ in order]
    shape = [values.shape[a] * abs(steps[a]) for a in order]
    offset = draw(st.integers(0, 2 * dtype.itemsize)) if strange else 0
    memory = np.full(prod(shape) * dtype.itemsize + offset, 0xA5, np.uint8)
    view = np.ndarray(shape, dtype, memory, offset).transpose(np.argsort(order))
    view = view[(..., *(slice(None, None, step) for step in steps))]
    view[...] = values
    for a in range(values.ndim):
        if readable_only and strange and values.shape[a] > 1 and draw(st.integers(0, 7)) == 0:
            first = view[tuple(slice(0, 1) if b == a else slice(None) for b in range(view.ndim))]
            view = np.broadcast_to(first, view.shape)
    return view


def broadcastable(draw, shape, ones=()):
    """Draw a shape that broadcasts to `shape`, of length 1 along the axes `ones`."""
    sizes = [1 if a in ones or draw(st.booleans()) else n for a, n in enumerate(shape)]
    leading = next((a for a, n in enumerate(sizes) if n != 1), len(sizes))
    return tuple(sizes[draw(st.integers(0, leading)) :])


@examples(400)
@given(data=st.data())
def test_equal_to_one_row_at_a_time(data):
    draw = data.draw
    op = draw(st.sampled_from(OPS))
    shape = draw(shapes())
    axis = draw(axes_of(len(shape)))
    reduced = reduced_axes(axis, len(shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(DTYPES))
    x = draw(layouts(fill(rng, draw(st.sampled_from(PATTERNS)), shape, dtype)))

    options = {}
    kind = draw(st.sampled_from(["one", "one", "one", "scalar", "per row"]))
    if kind == "scalar":
        options["temperature"] = draw(st.sampled_from([0.5, 0.7, 1.3, 2, 100.0, 1e-3]))
    elif kind == "per row":
        options["temperature"] = 2 ** rng.normal(size=broadcastable(draw, shape, reduced))
    if draw(st.integers(0, 3)) == 0:
        mask = rng.random(broadcastable(draw, shape)) < draw(st.sampled_from([0.0, 0.5, 0.9]))
        options["where"] = draw(layouts(mask))
    empty = {"empty": draw(st.sampled_from(["nan", "zero"]))} if op in REDUCED else {}
    expected = canonical(op, x, axis, **options, **empty)

    run = getattr(fs, op)
    if op in REDUCED:
        event(f"layout {fs.explain(x, axis, op=op, **options).layout}")
        for algorithm in ALGORITHMS:
            same(run(x, axis, algorithm=algorithm, **options, **empty), expected)
        options["algorithm"] = draw(st.sampled_from(ALGORITHMS))
    else:
        options["keepdims"] = True
    target = draw(st.sampled_from(["new", "new", "given", "itself"]))
    if target == "given":
        options["out"] = draw(layouts(expected, readable_only=False))
        options["out"][...] = 42
    elif target == "itself" and op in REDUCED and dtype in FLOATS and x.flags.writeable:
        options["out"] = x
    event(f"{op} into {target}")
    with fs.threads(draw(st.integers(1, 4))):
        y = run(x, axis, **options, **empty)
    assert "out" not in options or y is options["out"]
    same(y.astype(expected.dtype), expected)


@examples(100)
@given(data=st.data())
def test_padding_with_minus_infinity_changes_no_bits(data):
    """Pad a row with -inf to any length; its own part keeps its bits.

    A padded element weighs an exact zero in the sum: the lane it is added to keeps its value, as
    does the exact sum of the blocks, a block of nothing but padding included. Lanes and blocks are
    counted from the start of the row, so that what follows does not move what went before. Hence
    it holds exactly for log_softmax and logsumexp too, but for padding at the end only.
    """
    op = data.draw(st.sampled_from(OPS))
    n, more = (data.draw(st.sampled_from(LENGTHS[1:])) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = np.dtype(data.draw(st.sampled_from(FLOATS)))
    x = fill(rng, data.draw(st.sampled_from(PATTERNS)), (n,), dtype)
    padded = np.concatenate([x, np.full(more, -np.inf, dtype)])
    options = {}
    if op in REDUCED:
        options["algorithm"] = data.draw(st.sampled_from(ALGORITHMS))
    y = getattr(fs, op)(padded, **options)
    expected = getattr(fs, op)(x)
    if op == "logsumexp":
        same(y, expected)
        return
    same(y[:n], expected)
    rest = 0 if op == "softmax" else -np.inf
    assert np.isnan(expected).all() or (y[n:] == rest).all()
