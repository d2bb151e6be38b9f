"""The same bits for a row in any batch, at any address, on any number of threads.

Cases by name, on purpose; test_bits.py draws them at random.
"""

from __future__ import annotations

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

REDUCED = ["softmax", "log_softmax"]
OPS = [*REDUCED, "logsumexp"]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
ALGORITHMS = [
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
]


def same(result, expected):
    """Compare bit by bit."""
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("temperature", [0.1, 0.3, 0.7, 1.1, 3, 10, 1e5, 1e-4])
def test_temperature_divides_first(dtype, op, temperature, rng):
    """The definition: x / temperature, rounded once to the type the row is computed in."""
    for shape, axis in (((5, 700), -1), ((700, 5), 0), ((3, 1500), None)):
        x = (5 * rng.normal(size=shape)).astype(dtype)
        y = getattr(fs, op)(x, axis, temperature=temperature)
        same(y, getattr(fs, op)(x / dtype(temperature), axis))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("op", OPS)
def test_batch_position_and_address_do_not_show(dtype, op, rng):
    for n in (1, 5, 16, 33, 64, 100, 257, 513, 1300):
        row = (3 * rng.normal(size=n)).astype(dtype)
        alone = getattr(fs, op)(row)
        for rows, at in ((2, 0), (2, 1), (9, 4), (64, 63), (200, 101)):
            batch = (50 * rng.normal(size=(rows, n))).astype(dtype)
            batch[at] = row
            same(getattr(fs, op)(batch)[at], alone)
            columns = np.ascontiguousarray(batch.T)
            same(getattr(fs, op)(columns, 0).T[at], alone)
        memory = np.zeros(row.nbytes + 128, np.uint8)
        out_memory = np.zeros(row.nbytes + 128, np.uint8)
        for offset in range(0, 66, 3 if n > 100 else 1):
            moved = memory[offset : offset + row.nbytes].view(dtype)
            moved[...] = row
            same(getattr(fs, op)(moved), alone)
            out = out_memory[66 - offset :][: np.asarray(alone).nbytes].view(dtype)
            out = out.reshape(alone.shape)
            same(getattr(fs, op)(row, out=out), alone)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_threads_that_share_a_row(dtype, op, rng):
    x = (3 * rng.normal(size=1_000_003)).astype(dtype)
    expected = {}
    for threads in (1, 2, 3, 4):
        with fs.threads(threads):
            plan = fs.explain(x, op=op)
            assert plan.threads == threads
            assert plan.share_row == (threads > 1)
            results = [getattr(fs, op)(x)]
            if op in REDUCED:
                results += [getattr(fs, op)(x, algorithm=a) for a in ALGORITHMS]
            for y in results:
                same(y, expected.setdefault("bits", y))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1])
def test_threads_that_share_rows_out(axis, op, rng):
    x = (3 * rng.normal(size=(700, 900))).astype(np.float32)
    with fs.threads(1):
        expected = getattr(fs, op)(x, axis)
    for threads in (2, 3, 4):
        with fs.threads(threads):
            assert fs.explain(x, axis, op=op).threads > 1
            same(getattr(fs, op)(x, axis), expected)
