"""Arrays of gigabytes: a row of 2^28, and more than 2^31 elements in all or in one row."""

from __future__ import annotations

import os
from pathlib import Path

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

pytestmark = [
    pytest.mark.huge,
    pytest.mark.skipif(
        os.environ.get("FASTSOFTMAX_HUGE_TESTS") != "1",
        reason="needs 6 GB and minutes; run with FASTSOFTMAX_HUGE_TESTS=1",
    ),
]
OVER_2_31 = 2**31 + 4099


@pytest.fixture
def needs(request):
    """Skip where fewer than the parametrized number of gigabytes are free."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return
    if free << 10 < request.param << 30:
        pytest.skip(f"needs {request.param} GB of memory, {free >> 20} are free")


def gigabytes(number):
    return pytest.mark.parametrize("needs", [number], indirect=True, ids=[f"{number}GB"])


def chunks(n, size=1 << 23):
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


@gigabytes(4)
@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_row_of_2_to_the_28(offset, rng):
    n = 1 << 28
    x = np.empty(n, np.float32)
    for part in chunks(n):
        x[part] = rng.standard_normal(part.stop - part.start, np.float32) * np.float32(3)
    x += np.float32(offset)
    largest = np.float64(x.max())
    total = np.longdouble(0)
    for part in chunks(n):
        total += np.exp(x[part].astype(np.float64) - largest).sum(dtype=np.longdouble)
    log_sum = np.log(np.float64(total))
    exact = largest + log_sum
    assert abs(fs.logsumexp(x) - exact) <= 4 * np.spacing(np.float32(exact))

    y = np.empty_like(x)
    summed = np.longdouble(0)
    expected = None
    for algorithm in (
        "auto",
        "three_pass_reload",
        "three_pass_recompute",
        "two_pass",
        "online",
        "online_reload",
    ):
        fs.softmax(x, out=y, algorithm=algorithm)
        if expected is None:
            for part in chunks(n):
                p = np.exp(x[part].astype(np.float64) - largest) / np.float64(total)
                assert np.all(np.abs(y[part] - p) <= 4 * np.spacing(p.astype(np.float32)))
                summed += y[part].sum(dtype=np.longdouble)
            assert abs(summed - 1) < 4 * np.finfo(np.float32).eps
            expected = hash(y.tobytes())
        else:
            assert hash(y.tobytes()) == expected, algorithm
    fs.log_softmax(x, out=y)
    for part in chunks(n):
        p = x[part].astype(np.float64) - largest - log_sum
        assert np.all(np.abs(y[part] - p) <= 4 * np.spacing(np.abs(p).astype(np.float32)))


@gigabytes(6)
@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, -1])
def test_more_than_2_to_the_31_elements_in_all(op, axis, rng):
    """In place, in float16; rows on both sides of 2^31 have the bits that they have alone."""
    rows, n = 2**21 + 5, 1024
    pattern = rng.standard_normal((4096, n), np.float32).astype(np.float16)
    shape = (rows, n) if axis == -1 else (n, rows)
    x = np.empty(shape, np.float16)
    view = x if axis == -1 else x.T
    for part in chunks(rows, 4096):
        view[part] = pattern[: part.stop - part.start]
    assert x.size > 2**31
    getattr(fs, op)(x, axis, out=x)
    for row in (0, 1, rows // 2, 2**21 - 1, 2**21, 2**21 + 1, rows - 1):
        expected = getattr(fs, op)(pattern[row % 4096])
        np.testing.assert_array_equal(view[row], expected)


@gigabytes(6)
@pytest.mark.usefixtures("needs")
def test_more_than_2_to_the_31_elements_in_one_row():
    x = np.zeros(OVER_2_31, ml_dtypes.bfloat16)
    fs.softmax(x, out=x)
    for part in chunks(OVER_2_31, 1 << 26):
        assert np.all(x[part] == ml_dtypes.bfloat16(1 / OVER_2_31))


@gigabytes(6)
@pytest.mark.usefixtures("needs")
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_top_k_of_more_than_2_to_the_31_elements(dtype):
    """Indices on both sides of 2^31, ties among them; probabilities are those of softmax."""
    x = np.zeros(OVER_2_31, dtype)
    largest = {2**31 + 7: 22, OVER_2_31 - 1: 21, 2**31 - 1: 20, 3: 19, 2**31: 19, 2**31 + 1: 19}
    x[list(largest)] = list(largest.values())
    found = fs.topk(x, 8)
    np.testing.assert_array_equal(found.indices, [*largest, 0, 1])
    np.testing.assert_array_equal(found.values, [*largest.values(), 0, 0])
    if dtype is np.float16:
        found = fs.softmax_topk(x, 8)
        np.testing.assert_array_equal(found.indices, [*largest, 0, 1])
        fs.softmax(x, out=x)
        assert found.values[0] > 0.1
        np.testing.assert_array_equal(found.values, x[found.indices])


def test_a_broadcast_row_of_more_than_2_to_the_31():
    """It takes no memory: all elements are the same one."""
    for dtype in (np.float16, np.float64):
        x = np.broadcast_to(np.array(2.5, dtype), OVER_2_31)
        assert fs.logsumexp(x) == dtype(2.5 + np.log(OVER_2_31))
        y = fs.logsumexp(np.broadcast_to(np.array(2.5, dtype), (3, 2**16, 2**15)), (0, 2))
        assert np.all(y == fs.logsumexp(np.full(3 * 2**15, 2.5, dtype)))
