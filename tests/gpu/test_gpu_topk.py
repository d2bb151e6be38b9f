"""On a GPU: topk and softmax_topk with the bits and the indices of the CPU.

Needs an NVIDIA GPU, PyTorch for CUDA and the CUDA library (docs/cuda.md); skips without them.
"""

from __future__ import annotations

import fastsoftmax as fs
import pytest
from fastsoftmax import _core
from numpy.testing import assert_array_equal

torch = pytest.importorskip("torch", reason="needs PyTorch for CUDA")
STATUS = _core._cuda_status()
pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
    pytest.mark.skipif(not STATUS["available"], reason=f"no CUDA: {STATUS['reason']}"),
]

SLEEP = 1_000_000_000  # cycles, about half a second
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# Around blocks and rows that are sorted as a whole; rows with and without a bound.
LENGTHS = [1, 2, 63, 65, 512, 1023, 1025, 2048, 2049, 5000, 33_000, 131_072, (1 << 21) + 5]
OPTIONS = [
    {},
    {"log": True, "temperature": 0.7},
    {"normalize": "topk", "return_logsumexp": True},
    {"normalize": "topk", "log": True},
    {"return_logsumexp": True, "empty": "zero"},
]


def bits(x):
    """The elements as integers, on the CPU."""
    x = x.cpu()
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    return x.view(kind).numpy()


def random(shape, dtype, seed=0, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.is_cuda
        assert a.dtype == b.dtype
        assert_array_equal(bits(a), bits(b))


def check(x, k, axis=-1, on_gpu=None, **options):
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    placed = {k: v.cuda() if torch.is_tensor(v) else v for k, v in options.items()}
    same(fs.softmax_topk(on_gpu, k, axis, **placed), fs.softmax_topk(x, k, axis, **options))


def check_selection(x, k, axis=-1, on_gpu=None):
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    for largest in (True, False):
        same(fs.topk(on_gpu, k, axis, largest=largest), fs.topk(x, k, axis, largest=largest))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_of_every_length(n, dtype):
    for rows in {1, min(300, max(1, (1 << 21) // n))}:
        x = random((rows, n), dtype, seed=n)
        for turn, k in enumerate(sorted({1, 50, 1000, n // 2, n})):
            if 1 <= k <= n and k * rows <= 1 << 21:
                check(x, k, **OPTIONS[turn])
                check_selection(x, k)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_target(options):
    check(random((512, 131_072), torch.float32), 50, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_rows(dtype):
    check(random((300_000, 64), dtype), 8, normalize="topk")
    check_selection(random((3000, 5000), dtype), 20)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [7, 300, 3000, 200_000])
def test_special_values(n, dtype):
    x = random((12, n), dtype, scale=2.0)
    inf, largest = float("inf"), torch.finfo(dtype).max
    x[0, n // 2] = float("nan")
    x[1, -1] = inf
    x[2] = -inf
    x[3, : n // 2] = -inf
    x[4] = 1.5
    x[5] = torch.linspace(0, 5, n).to(dtype)
    x[6] = -x[5]
    x[7, -1] = largest
    x[8, ::2] = 0.0
    x[8, 1::2] = -0.0
    x[9] *= 1000.0
    x[10, 1:] = -inf
    x[11, ::3] = float("nan")
    where = torch.rand(x.shape, generator=torch.Generator().manual_seed(n)) < 0.6
    where[3] = False
    for k in (1, min(n, 50), n // 2, n):
        check_selection(x, k)
        for options in OPTIONS:
            check(x, k, **options)
            check(x, k, where=where, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [60, 3000, 200_000])
def test_a_temperature_for_each_row(n, dtype):
    x = random((5, n), dtype)
    for temperature in (torch.linspace(0.2, 3, 5)[:, None], torch.arange(1, 6)[:, None]):
        for options in ({}, {"normalize": "topk", "log": True}, {"return_logsumexp": True}):
            check(x, 20, temperature=temperature, **options)
    none = torch.tensor([[1.0], [0.0], [-1.0], [float("nan")], [float("inf")]]).cuda()
    values, indices = fs.softmax_topk(x.cuda(), 20, temperature=none)
    assert values[1:].isnan().all()
    assert (indices[1:].cpu() == torch.arange(20)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strides(dtype):
    x = random((6, 50, 70), dtype)
    for axis in (0, 1, 2):
        check(x, 5, axis, return_logsumexp=True)
        check(x.transpose(0, 2), 5, axis, x.cuda().transpose(0, 2))
        check_selection(x[:, ::3, 1::2], 5, axis, x.cuda()[:, ::3, 1::2])


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool], ids=str
)
def test_integers(dtype):
    generator = torch.Generator().manual_seed(3)
    for n in (10, 3000, 100_000):
        x = torch.randint(-100, 100, (5, n), generator=generator).to(dtype)
        for k in (1, 10, n // 2, n):
            check_selection(x, k)


def test_work_goes_to_the_current_stream():
    x = random((64, 100_000), torch.float32)
    expected = fs.softmax_topk(x, 10)
    stream = torch.cuda.Stream()
    source = x.cuda()
    on_gpu = torch.zeros_like(source)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        fs.softmax_topk(on_gpu, 10)  # loads kernels and takes memory, which may wait
        stream.synchronize()
        torch.cuda._sleep(SLEEP)  # a call on another stream would read what is not there yet
        on_gpu.copy_(source)
        result = fs.softmax_topk(on_gpu, 10)
        assert not stream.query()  # and nothing waited for it
    stream.synchronize()
    same(result, expected)
