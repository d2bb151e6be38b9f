"""On a GPU: gradients, and temperatures in arrays, with the bits of the CPU.

Needs what test_gpu.py needs; skips without it.
"""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from fastsoftmax import _core

torch = pytest.importorskip("torch", reason="needs PyTorch for CUDA")
STATUS = _core._cuda_status()
pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
    pytest.mark.skipif(not STATUS["available"], reason=f"no CUDA: {STATUS['reason']}"),
]

SLEEP = 1_000_000_000  # cycles, about half a second
OPS = ["softmax", "log_softmax"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# Around lanes, blocks, rows in registers of a thread block and of clusters, in shared memory where
# there are no clusters, in parts; half as many for f64.
LENGTHS = [1, 3, 31, 33, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000, 1023, 1024, 1025, 2049]
LENGTHS += [7168, 7169, 8192, 12288, 12289, 15361, 24576, 24577, 28892, 28893, 31745, 41400, 41401]
LENGTHS += [49152, 49153, 57784, 57785, 65537, 98304, 98305, 131072, 196608, 196609, 262145]
LENGTHS += [1 << 20, (1 << 22) + 5]


def bits(x):
    """The elements as integers, on the CPU."""
    x = x.cpu()
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]).numpy()


def random(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def inputs(op, shape, dtype, axis=-1, seed=0):
    """A gradient and what the operation makes of scores."""
    return random(shape, dtype, seed), getattr(fs, op)(2 * random(shape, dtype, seed + 1), axis)


def check(op, grad, y, axis=-1, on_gpu=None, **options):
    """The gradient for CPU tensors and for `on_gpu`, the same on the GPU, bit for bit."""
    backward = getattr(fs, f"{op}_backward")
    expected = backward(grad, y, axis, **options)
    g, o = (grad.cuda(), y.cuda()) if on_gpu is None else on_gpu
    if torch.is_tensor(options.get("temperature")):
        options["temperature"] = options["temperature"].cuda()
    result = backward(g, o, axis, **options)
    assert result.device == g.device
    assert result.dtype == grad.dtype
    np.testing.assert_array_equal(bits(result), bits(expected))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_of_every_length(n, dtype, op):
    for rows in {1, 3, min(700, max(1, (1 << 21) // n))}:
        check(op, *inputs(op, (rows, n), dtype, seed=n))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_rows(dtype, op):
    check(op, *inputs(op, (300_000, 17), dtype))
    check(op, *inputs(op, (5000, 1500), dtype))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strides(dtype, op):
    for axis in (0, 1, 2, (0, 2), None):
        grad, y = inputs(op, (6, 50, 70), dtype, axis)
        check(op, grad, y, axis)
        for view in (
            lambda a: a.transpose(0, 2),
            lambda a: a[:, ::3, 1::2],
            lambda a: a[:1].expand(4, -1, -1),
        ):
            on_gpu = (view(grad.cuda()), view(y.cuda()))
            check(op, view(grad), view(y), axis, on_gpu)
            apart = view(y.cuda()).contiguous()
            check(op, view(grad), view(y), axis, (on_gpu[0], apart))
    check(op, *inputs(op, (3000, 1100), dtype, 0), 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_misaligned_rows(dtype):
    for n in (5, 100, 1000, 5000, 27_000, 100_000, 300_000):
        grad, y = inputs("softmax", (3 * n + 8,), dtype)
        for start in range(8):
            here = slice(start, start + 3 * n)
            there = slice(8 - start, 8 - start + 3 * n)
            on_gpu = (grad.cuda()[here].view(3, n), y.cuda()[there].view(3, n))
            check("softmax", grad[here].view(3, n), y[there].view(3, n), -1, on_gpu)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [7, 300, 3000, 27_000, 100_000, 300_000])
def test_special_values(n, dtype, op):
    inf, nan, largest = float("inf"), float("nan"), torch.finfo(dtype).max
    grad, y = inputs(op, (10, n), dtype)
    grad[0, n // 2] = nan
    grad[1, -1] = inf
    grad[2, 0], grad[2, -1] = inf, -inf
    grad[3] = largest
    grad[4] = 0
    y[5, n // 3] = nan
    y[6, 0] = inf
    y[7, 0] = -inf
    y[8] = largest
    y[9] = -0.0
    check(op, grad, y)
    check(op, grad, y, temperature=0.3)


@pytest.mark.parametrize("op", OPS)
def test_in_place_and_out(op):
    backward = getattr(fs, f"{op}_backward")
    for n in (10, 1000, 5000, 27_000, 100_000, 300_000):
        grad, y = inputs(op, (4, n), torch.float32)
        expected = bits(backward(grad, y))
        for i in range(2):
            on_gpu = (grad.cuda(), y.cuda())
            assert backward(*on_gpu, out=on_gpu[i]) is on_gpu[i]
            np.testing.assert_array_equal(bits(on_gpu[i]), expected)
        out = torch.empty((4, 2 * n), device="cuda")[:, ::2]
        assert backward(grad.cuda(), y.cuda(), out=out) is out
        np.testing.assert_array_equal(bits(out.contiguous()), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_temperatures_in_arrays(dtype):
    for n in (40, 700, 3000, 27_000, 100_000, 300_000):
        grad, y = inputs("softmax", (3, n), dtype)
        for t in (
            torch.tensor([[0.5], [1.0], [3.0]], dtype=torch.float64),
            torch.tensor([[0.5], [1.0], [3.0]], dtype=torch.bfloat16),
            torch.tensor([[2], [1], [3]]),
        ):
            check("softmax", grad, y, temperature=t)
            check("log_softmax", grad, y, temperature=t)
            for op in (fs.softmax, fs.log_softmax, fs.logsumexp):
                result = op(grad.cuda(), temperature=t.cuda())
                np.testing.assert_array_equal(bits(result), bits(op(grad, temperature=t)))
    x = torch.zeros(4, 100, device="cuda", dtype=dtype)
    t = torch.tensor([[1.0], [0.0], [-1.0], [float("inf")]], device="cuda")
    expected = torch.tensor([[False], [True], [True], [True]]).expand(4, 100)
    for result in (fs.softmax(x, temperature=t), fs.softmax_backward(x, x, temperature=t)):
        assert torch.equal(result.isnan().cpu(), expected)


def test_work_goes_to_the_current_stream():
    grad, y = inputs("softmax", (64, 100_000), torch.float32)
    stream = torch.cuda.Stream()
    source, o = grad.cuda(), y.cuda()
    g = torch.zeros_like(source)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        fs.softmax_backward(g, o)  # loads kernels and takes memory, which may wait
        stream.synchronize()
        torch.cuda._sleep(SLEEP)  # a call on another stream would read what is not there yet
        g.copy_(source)
        result = fs.softmax_backward(g, o)
        assert not stream.query()  # and nothing waited for it
    stream.synchronize()
    np.testing.assert_array_equal(bits(result), bits(fs.softmax_backward(grad, y)))
