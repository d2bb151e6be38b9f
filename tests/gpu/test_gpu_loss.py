"""On a GPU: cross_entropy has the bits of the CPU, on every path and with every option.

Needs what test_gpu.py needs; skips without it.
"""

from __future__ import annotations

import itertools

import fastsoftmax as fs
import numpy as np
import pytest
from test_gpu import DTYPES, bits, pytestmark, random, torch

__all__ = ["pytestmark"]

# Around a block, rows in registers and rows in shared memory; twice as many for f32 as for f64.
LENGTHS = [1, 2, 33, 64, 65, 511, 513, 1023, 1024, 1025, 4095, 8192, 8193, 16384, 16385, 24576]
LENGTHS += [24577, 28000, 28673, 50000, 57344, 57345, 131072, 262145]
# From which on few rows are shared by clusters of 2, 4, 8; half of that for f64.
LENGTHS += [3585, 7168, 7169, 15361, 31745]
OPTIONS = [
    {},
    {"z_loss": 1e-3, "reduction": "sum"},
    {"label_smoothing": 0.1},
    {"weight": True},
    {"weight": True, "label_smoothing": 0.2, "softcap": 15.0},
    {"softcap": 30.0, "reduction": "none"},
    {"probabilities": True, "label_smoothing": 0.1},
]


def check(x, targets, axis=-1, on_gpu=None, **options):
    """Loss, gradient and logsumexp of a CPU tensor and of the same tensor on the GPU."""
    expected = fs.cross_entropy(x, targets, axis, need_grad=True, **options)
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    found = fs.cross_entropy(on_gpu, targets.cuda(), axis, need_grad=True, **moved)
    for a, b in zip(found, expected, strict=True):
        b = torch.as_tensor(b)
        assert (a.device, a.dtype, a.shape) == (on_gpu.device, b.dtype, b.shape)
        np.testing.assert_array_equal(bits(a.contiguous()), bits(b.contiguous()))


def arguments(rows, n, options, dtype, seed=0):
    """Targets, and the options as cross_entropy takes them."""
    options = dict(options)
    generator = torch.Generator().manual_seed(seed)
    if options.pop("probabilities", False):
        targets = torch.softmax(random((rows, n), torch.float32, seed), -1).to(dtype)
    else:
        targets = torch.randint(0, n, (rows,), generator=generator)
        targets[::7] = -100
    if options.pop("weight", False):
        options["weight"] = torch.rand(n, generator=generator, dtype=torch.float64)
    return targets, options


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_of_every_length(n, dtype, options):
    for rows in {1, 3, min(300, max(1, (1 << 20) // n))}:
        targets, given = arguments(rows, n, options, dtype, seed=n)
        check(random((rows, n), dtype, seed=n), targets, **given)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_rows(dtype, options):
    targets, given = arguments(300_000, 10, options, dtype)
    check(random((300_000, 10), dtype), targets, **given)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_axes_and_strides(dtype):
    x = random((6, 50, 70), dtype)
    for axis in (0, 1, 2):
        rows = tuple(np.delete(x.shape, axis))
        t = torch.randint(0, x.shape[axis], rows, generator=torch.Generator().manual_seed(axis))
        for options in ({}, {"label_smoothing": 0.1}, {"softcap": 5.0}):
            check(x, t, axis, **options)
            check(x.permute(2, 1, 0), t.T, 2 - axis, x.cuda().permute(2, 1, 0), **options)


@pytest.mark.parametrize("n", [7, 300, 3000, 40_000, 100_000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(dtype, n):
    x = random((10, n), dtype, scale=2.0)
    inf, largest = float("inf"), torch.finfo(dtype).max
    x[0, n // 2] = float("nan")
    x[1, -1] = inf
    x[2] = -inf
    x[3, 1:] = -inf
    x[4, 0] = largest
    x[5] = largest
    x[6] = -largest
    x[7] *= 1000.0
    x[8, 0] = 90.0
    for options, target in itertools.product(OPTIONS, (0, n - 1)):
        targets, given = arguments(10, n, options, dtype)
        if not options.get("probabilities"):
            targets[:] = target
        check(x, targets, **given)


def test_in_place_gradient_and_upstream():
    for n in (10, 1000, 5000, 40_000, 300_000):
        x = random((5, n), torch.float32)
        t = torch.arange(5)
        upstream = random((5,), torch.float32)
        check(x, t, reduction="none", grad_out=upstream)
        check(x, t, grad_out=0.25)
        expected = fs.cross_entropy(x, t, need_grad=True)
        on_gpu = x.cuda()
        found = fs.cross_entropy(on_gpu, t.cuda(), inplace_grad=True)
        assert found.grad is on_gpu
        np.testing.assert_array_equal(bits(on_gpu), bits(expected.grad))


def test_a_target_that_is_no_class():
    x = random((4, 3000), torch.float32)
    t = torch.tensor([1, 3000, -1, 2])
    found = fs.cross_entropy(x.cuda(), t.cuda(), reduction="none", need_grad=True)
    assert torch.isnan(found.loss).tolist() == [False, True, True, False]
    assert torch.isnan(found.grad).all(1).tolist() == [False, True, True, False]


def test_as_pytorch_has_it():
    x = random((64, 5000), torch.float32).cuda().requires_grad_()
    t = torch.randint(0, 5000, (64,), device="cuda")
    loss = torch.nn.functional.cross_entropy(x, t, label_smoothing=0.1)
    loss.backward()
    found = fs.cross_entropy(x.detach(), t, label_smoothing=0.1, need_grad=True)
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.grad, x.grad)


def test_a_graph_replays_calls():
    x, t = torch.zeros(8, 5000, device="cuda"), torch.arange(8, device="cuda")
    fs.cross_entropy(x, t, reduction="none")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = fs.cross_entropy(x, t, reduction="none")
    scores = random((8, 5000), torch.float32)
    x.copy_(scores)
    graph.replay()
    expected = fs.cross_entropy(scores, t.cpu(), reduction="none")
    np.testing.assert_array_equal(bits(loss), bits(expected))
