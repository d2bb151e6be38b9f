"""On a GPU: softmax_stats has the bits of the CPU.

Needs what test_gpu.py needs; skips without it.
"""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from test_gpu import DTYPES, LENGTHS, bits, pytestmark, random, torch

__all__ = ["pytestmark"]


def check(x, axis=-1, on_gpu=None, **options):
    """Statistics of a CPU tensor and of the same tensor on the GPU, bit for bit."""
    expected = fs.softmax_stats(x, axis, **options)
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    found = fs.softmax_stats(on_gpu, axis, **moved)
    for a, b in zip(found, expected, strict=True):
        assert (a.device, a.dtype, a.shape) == (on_gpu.device, x.dtype, b.shape)
        np.testing.assert_array_equal(bits(a), bits(b))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [*LENGTHS, 3585, 7168, 7169, 15361, 31745])
def test_rows_of_every_length(n, dtype):
    for rows in {1, 3, min(300, max(1, (1 << 20) // n))}:
        x = random((rows, n), dtype, seed=n)
        check(x)
        check(x, temperature=0.7)
        check(x, temperature=torch.arange(1.0, rows + 1)[:, None])
        check(x, where=torch.rand(x.shape, generator=torch.Generator().manual_seed(n)) < 0.6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_axes_and_strides(dtype):
    x = random((6, 50, 70), dtype)
    for axis in (0, 1, 2):
        check(x, axis)
        check(x.permute(2, 1, 0), 2 - axis, x.cuda().permute(2, 1, 0))
    check(random((300_000, 17), dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [7, 300, 3000, 40_000])
def test_special_values(n, dtype):
    x = random((8, n), dtype, scale=2.0)
    inf, largest = float("inf"), torch.finfo(dtype).max
    x[0, n // 2] = float("nan")
    x[1, -1] = inf
    x[2] = -inf
    x[3, 1:] = -inf
    x[4] = largest
    x[5] = -largest
    x[6] *= 1000.0
    x[7] = 0.0
    x[7, n // 2] = -0.0
    check(x)
    check(x, where=torch.arange(n).expand(8, n) % 3 != 1)
