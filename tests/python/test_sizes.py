"""Every short length, long rows, and memory: nothing as large as the input is allocated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fastsoftmax as fs
import ml_dtypes
import numpy as np
import pytest

REDUCED = ["softmax", "log_softmax"]
OPS = [*REDUCED, "logsumexp"]
ALGORITHMS = [
    "auto",
    "three_pass_reload",
    "three_pass_recompute",
    "two_pass",
    "online",
    "online_reload",
]
# Relative, and absolute for results near 0: half an ulp of the 16-bit types, four of the others.
TOLERANCE = {
    np.dtype(np.float16): (4.9e-4, 2.0**-25),
    np.dtype(ml_dtypes.bfloat16): (3.95e-3, 1e-35),
    np.dtype(np.float32): (4.8e-7, 1e-35),
    np.dtype(np.float64): (4e-15, 4e-16),
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.name)
@pytest.mark.parametrize("op", OPS)
def test_every_length_up_to_300(dtype, op, rng, reference):
    relative, absolute = TOLERANCE[dtype]
    for n in range(301):
        x = (3 * rng.normal(size=(3, n))).astype(dtype)
        if n == 0:
            expected = np.zeros((3, 0)) if op in REDUCED else np.full(3, -np.inf)
        else:
            expected = reference(op, x)
        size = np.abs(x.astype(np.float64)).max(initial=1) if op == "logsumexp" else 0
        for y in (
            getattr(fs, op)(x),
            np.stack([getattr(fs, op)(row) for row in x]),
            getattr(fs, op)(np.ascontiguousarray(x.T), 0).T,
        ):
            assert y.dtype == dtype
            np.testing.assert_allclose(
                y.astype(np.float64),
                expected,
                rtol=relative,
                atol=absolute + relative * size,
                err_msg=f"n = {n}",
            )


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("rows", [0, 1, 5, 1000])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.name)
def test_nothing_and_one(n, rows, dtype):
    x = np.full((rows, n), 7.5).astype(dtype)
    for axis, array in ((-1, x), (0, np.ascontiguousarray(x.T))):
        for algorithm in ALGORITHMS:
            y = fs.softmax(array, axis, algorithm=algorithm)
            assert y.shape == array.shape
            assert np.all(y == 1)
            y = fs.log_softmax(array, axis, algorithm=algorithm)
            assert y.shape == array.shape
            assert np.all(y == 0)
        y = fs.logsumexp(array, axis)
        assert y.shape == (rows,)
        assert np.all(y == (7.5 if n else -np.inf))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.name)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_long_row(dtype, algorithm):
    """2^24 zeros: e^0 = 1, so that sums and results are powers of two, without any rounding."""
    n = 1 << 24
    x = np.zeros(n, dtype)
    y = fs.softmax(x, algorithm=algorithm)
    assert np.all(y == dtype.type(2.0**-24))
    fs.log_softmax(x, out=y, algorithm=algorithm)
    assert np.all(y == dtype.type(-24 * np.log(2)))
    assert fs.logsumexp(x) == dtype.type(24 * np.log(2))


def test_many_short_rows(rng):
    x = rng.normal(size=(1 << 20, 5)).astype(np.float32)
    y = fs.softmax(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-6)
    chosen = rng.integers(0, len(x), 50)
    for i in [*chosen, 0, len(x) - 1]:
        np.testing.assert_array_equal(y[i], fs.softmax(x[i]))


# Prints by how many bytes the process grew at most during CALL, and what NumPy allocated.
MEASURE = """
import tracemalloc
from pathlib import Path
import fastsoftmax as fs
import numpy as np

def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])

x = np.ones((2048, 8192), np.float32)
y = np.ones((2048, 8192), np.float32)
for op in ({op},):
    SETUP
    fs.set_num_threads({threads})
    op(np.ones((300, 3000), np.float32))
    tracemalloc.start()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    CALL
    print(status("VmHWM") - before, tracemalloc.get_traced_memory()[1])
"""

SETUP = {
    "contiguous": ("", "op(x, out=y)"),
    "in place": ("", "op(x, out=x)"),
    "one row": ("", "op(x, None, out=y)"),
    "first axis": ("", "op(x, 0, out=y)"),
    "every second": ("", "op(x[:, ::2], out=y[:, 1::2])"),
    "backwards": ("", "op(x[::-1, ::-1], out=y)"),
    "transposed": ("", "op(x.T, out=y.T)"),
    "middle axis": ("", "op(x.reshape(2048, 1024, 8), 1, out=y.reshape(2048, 1024, 8))"),
    "two axes": (
        "",
        "op(x.reshape(64, 32, 64, 128), (0, 2), out=y.reshape(64, 32, 64, 128))",
    ),
    "byte-swapped": ("x = x.view('>f4')", "op(x, out=y)"),
    "unaligned": (
        "x = x.reshape(-1).view(np.uint8)[1:-3].view(np.float32)",
        "op(x, out=y.reshape(-1)[:-1])",
    ),
    "broadcast": ("", "op(np.broadcast_to(x[:1], x.shape), out=y)"),
    "float16": ("x = x.view(np.float16); y = y.view(np.float16)", "op(x, out=y)"),
    "float16 row": ("x = x.view(np.float16); y = y.view(np.float16)", "op(x, None, out=y)"),
    "float64": ("x = x.view(np.float64); y = y.view(np.float64)", "op(x, out=y)"),
    "integers": ("x = x.view(np.int32)[:, ::2]; y = y.view(np.float64)", "op(x, out=y)"),
    "dtype": ("x = x[:, ::2]; y = y.view(np.float64)", "op(x, dtype=np.float64, out=y)"),
    "where": ("mask = np.ones(8192, np.bool_)", "op(x, where=mask, out=y)"),
    "temperature": ("t = np.full((2048, 1), 2.0)", "op(x, temperature=t, out=y)"),
    "threads": ("", "op(x, out=y)"),
    "threads share a row": ("", "op(x, None, out=y)"),
}


def growth(op, setup, call, threads=1):
    script = MEASURE.replace("SETUP", setup or "pass").replace("CALL", call)
    script = script.replace("{op}", f"fs.{op}").replace("{threads}", str(threads))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.fixture
def _peak_memory_can_be_measured():
    try:
        Path("/proc/self/clear_refs").write_text("5")
        known = "VmHWM" in Path("/proc/self/status").read_text()
    except OSError:
        known = False
    if not known:
        pytest.skip("this system does not tell peak memory, or not from a given moment on")


MEGABYTE = 1 << 20
INPUT = 64 * MEGABYTE


@pytest.mark.usefixtures("_peak_memory_can_be_measured")
@pytest.mark.parametrize("op", REDUCED)
@pytest.mark.parametrize("case", SETUP)
def test_out_saves_all_allocation(op, case):
    """Neither the input nor the output is copied, whatever the layout."""
    peak, traced = growth(op, *SETUP[case], threads=3 if "threads" in case else 1)
    assert peak < 4 * MEGABYTE
    assert traced < MEGABYTE // 4


@pytest.mark.usefixtures("_peak_memory_can_be_measured")
@pytest.mark.parametrize("view", ["x", "x.T", "x[::-1, ::2]", "x.view('>f4')", "x.view(np.int32)"])
@pytest.mark.parametrize("axis", ["0", "-1", "None"])
def test_logsumexp_allocates_its_result_only(view, axis):
    peak, traced = growth("logsumexp", "", f"op({view}, {axis})")
    assert peak < 4 * MEGABYTE
    assert traced < MEGABYTE // 2


@pytest.mark.usefixtures("_peak_memory_can_be_measured")
def test_the_measurement_sees_allocations():
    peak, traced = growth("softmax", "", "op(x)")
    assert INPUT <= traced < INPUT + MEGABYTE
    assert INPUT - MEGABYTE <= peak < INPUT + 4 * MEGABYTE
    peak, _ = growth("softmax", "", "op(x[:, ::2].copy(), out=y[:, ::2])")
    assert peak > INPUT / 2 - MEGABYTE
