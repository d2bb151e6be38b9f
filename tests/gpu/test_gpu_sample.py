"""On a GPU: sample with the indices of the CPU and the bits of its log-probabilities.

Needs an NVIDIA GPU, PyTorch for CUDA and the CUDA library (docs/cuda.md); skips without them.
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
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LENGTHS = [1, 2, 63, 65, 511, 512, 513, 1023, 1025, 8193, 16385, 32769, 50257, 131072, 1 << 20]
SETTINGS = {
    "plain": {},
    "greedy": {"temperature": 0.0},
    "top_p": {"top_p": 0.9},
    "large top_p": {"top_p": 0.999, "temperature": 1.5},
    "min_p": {"min_p": 0.05},
    "typical_p": {"typical_p": 0.7},
    "top_n_sigma": {"top_n_sigma": 1.5},
    "all": {"top_p": 0.95, "min_p": 0.01, "typical_p": 0.9, "top_n_sigma": 2.0},
}


def random(shape, dtype, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def check(x, axis=-1, on_gpu=None, where=None, **options):
    """Sample a CPU tensor and `on_gpu`, the same tensor on the GPU."""
    expected = fs.sample(x, axis, where=where, return_logprobs=True, **options)
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    mask = None if where is None else where.cuda()
    result = fs.sample(on_gpu, axis, where=mask, return_logprobs=True, **there)
    assert result.indices.device == on_gpu.device
    assert result.indices.dtype == torch.int64
    assert result.logprobs.dtype == x.dtype
    np.testing.assert_array_equal(result.indices.cpu().numpy(), np.asarray(expected.indices))
    wide = torch.float64
    np.testing.assert_array_equal(
        result.logprobs.cpu().to(wide).numpy(),
        torch.as_tensor(expected.logprobs).to(wide).numpy(),
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_of_every_length(n, dtype, setting):
    for rows in {1, 3, min(600, max(1, (1 << 21) // n))}:
        check(random((rows, n), dtype, seed=n), seed=rows, position=n % 7, **SETTINGS[setting])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_elements_and_sorted_rows(dtype):
    n = 70001
    rows = [
        torch.zeros(n),
        torch.arange(n) % 3,
        torch.arange(n) / 4000.0,
        -torch.arange(n) / 4000.0,
    ]
    x = torch.stack([row.double() for row in rows]).to(dtype)
    for options in SETTINGS.values():
        check(x, seed=5, **options)


def test_masks_strides_and_special_values():
    x = random((6, 5000), torch.float32)
    where = torch.rand(6, 5000, generator=torch.Generator().manual_seed(1)) < 0.5
    where[3] = False
    x[0, 7] = torch.inf
    x[1, 9] = torch.nan
    x[2] = -torch.inf
    x[4] = 1e30
    for options in SETTINGS.values():
        check(x, seed=2, **options)
        check(x, seed=2, where=where, **options)
        check(x, axis=0, seed=2, **options)
        check(x[:, 1::3], on_gpu=x.cuda()[:, 1::3], seed=2, **options)
        check(x[:, 3:], on_gpu=x.cuda()[:, 3:], seed=2, **options)


def test_one_id_for_all_rows():
    check(random((7, 2000), torch.float32), seed=1, top_p=0.9, row_ids=5)


def test_options_in_tensors():
    x = random((7, 3, 2000), torch.bfloat16)
    check(
        x,
        temperature=torch.tensor([[[0.0]], [[1.0]], [[0.5]], [[2.0]], [[1.0]], [[1.0]], [[1.0]]]),
        top_p=torch.rand((1, 3, 1)),
        seed=torch.arange(7).reshape(7, 1, 1),
        position=torch.arange(3, dtype=torch.int32).reshape(3, 1),
        row_ids=torch.arange(21, dtype=torch.uint8).reshape(7, 3, 1),
    )


def test_options_outside_their_range():
    x = random((3, 2000), torch.float32)
    result = fs.sample(
        x.cuda(), top_p=torch.tensor([[0.5], [torch.nan], [2.0]]).cuda(), return_logprobs=True
    )
    assert result.indices[1:].eq(-1).all()
    assert result.logprobs[1:].isnan().all()
    assert result.indices[0] >= 0


def test_stream():
    x = random((64, 50000), torch.float32)
    expected = fs.sample(x, top_p=0.9, seed=1)
    stream = torch.cuda.Stream()
    source = x.cuda()
    y = torch.zeros_like(source)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        fs.sample(y, top_p=0.9, seed=1)  # loads kernels and takes memory, which may wait
        stream.synchronize()
        torch.cuda._sleep(SLEEP)  # a call on another stream would read what is not there yet
        y.copy_(source)
        result = fs.sample(y, top_p=0.9, seed=1)
        assert not stream.query()  # and nothing waited for it
    stream.synchronize()
    np.testing.assert_array_equal(result.cpu().numpy(), np.asarray(expected))
