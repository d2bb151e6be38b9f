"""On a GPU: the bits of the CPU, on every path and around its boundaries; streams; special values.

Needs an NVIDIA GPU, PyTorch for CUDA and the CUDA library (docs/cuda.md); skips without them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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
OPS = ["softmax", "log_softmax", "logsumexp"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# Around lanes, blocks, rows in registers, of clusters, in shared memory, in parts; twice as many or
# more for f32 as for f64.
LENGTHS = [1, 2, 31, 33, 63, 64, 65, 127, 129, 255, 256, 257, 511, 513, 1000, 1023, 1024, 1025]
LENGTHS += [2048, 2049, 4095, 8191, 8192, 8193, 16383, 24576, 24577, 28000, 50000, 58113, 65537]
LENGTHS += [4096, 12288, 12296, 16384, 32769, 49152, 49153, 98304, 98312, 131072, 196608, 196616]
LENGTHS += [262145, 393216, 393224, 819200, 819208, 1 << 20, (1 << 22) + 5]


def bits(x):
    """The elements as integers, on the CPU."""
    x = x.cpu()
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]).numpy()


def random(shape, dtype, seed=0, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def check(op, x, axis=-1, on_gpu=None, **options):
    """The result for a CPU tensor and for `on_gpu`, the same tensor on the GPU, bit for bit."""
    expected = getattr(fs, op)(x, axis, **options)
    on_gpu = x.cuda() if on_gpu is None else on_gpu
    if "where" in options:
        options = {**options, "where": options["where"].cuda()}
    result = getattr(fs, op)(on_gpu, axis, **options)
    assert result.device == on_gpu.device
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(bits(result), bits(expected))


def test_just_less_dynamic_shared_memory_than_must_be_asked_for():
    check("softmax", random((400, 73728), torch.bfloat16))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", LENGTHS)
def test_rows_of_every_length(n, dtype, op):
    for rows in {1, 3, min(700, max(1, (1 << 21) // n))}:
        check(op, random((rows, n), dtype, seed=n))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_rows(dtype, op):
    check(op, random((300_000, 17), dtype))
    check(op, random((5000, 1500), dtype))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [8, 64, 200, 2048, 8192, 16384, 40_000, 65536, 131_072, 300_000])
def test_rows_fetched_ahead(n, dtype, op):
    """Enough rows that thread blocks and clusters take several each; one outside the domain."""
    x = random((30_000_000 // n, n), dtype)
    x[7] *= 1e6
    check(op, x)
    # Rows that begin at multiples of 16 bytes, but end anywhere.
    check(op, x[:, : n - 1], on_gpu=x.cuda()[:, : n - 1])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strides(dtype, op):
    x = random((6, 50, 70), dtype)
    for axis in (0, 1, 2, (0, 2), None):
        check(op, x, axis)
        check(op, x.transpose(0, 2), axis, x.cuda().transpose(0, 2))
        check(op, x[:, ::3, 1::2], axis, x.cuda()[:, ::3, 1::2])
        check(op, x[:1].expand(4, -1, -1), axis, x[:1].cuda().expand(4, -1, -1))
    check(op, random((3000, 1100), dtype), 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_misaligned_rows(dtype):
    for n in (5, 100, 1000, 5000, 100_000):
        flat = random((3 * n + 8,), dtype)
        for start in range(8):
            x = flat[start : start + 3 * n].view(3, n)
            check("softmax", x, -1, flat.cuda()[start : start + 3 * n].view(3, n))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [7, 300, 3000, 40_000, 300_000])
def test_special_values(n, dtype, op):
    x = random((12, n), dtype, scale=2.0)
    inf, largest = float("inf"), torch.finfo(dtype).max
    x[0, n // 2] = float("nan")
    x[1, -1] = inf
    x[2] = -inf
    x[3, : n // 2] = -inf
    x[4, 0] = largest
    x[5, -1] = largest
    x[6] = largest
    x[7] = -largest
    x[8, n // 3] = 90.0
    x[9] *= 1000.0
    x[10, 1:] = -inf
    x[11, n // 2] = -0.0
    for empty in [{}] if op == "logsumexp" else [{"empty": "nan"}, {"empty": "zero"}]:
        check(op, x, **empty)
        check(op, x, temperature=0.3, **empty)
        where = torch.rand(x.shape, generator=torch.Generator().manual_seed(n)) < 0.6
        where[3] = False
        check(op, x, where=where, **empty)


def test_in_place_and_out():
    for n in (10, 1000, 5000, 40_000, 300_000):
        x = random((4, n), torch.float32)
        expected = fs.softmax(x)
        on_gpu = x.cuda()
        assert fs.softmax(on_gpu, out=on_gpu) is on_gpu
        np.testing.assert_array_equal(bits(on_gpu), bits(expected))
        out = torch.empty((4, 2 * n), device="cuda")[:, ::2]
        assert fs.softmax(x.cuda(), out=out) is out
        np.testing.assert_array_equal(bits(out.contiguous()), bits(expected))


def test_results_do_not_depend_on_where_a_row_lies():
    x = random((1000, 3000), torch.float32).cuda()
    whole = bits(fs.softmax(x))
    for row in (0, 1, 517, 999):
        np.testing.assert_array_equal(bits(fs.softmax(x[row])), whole[row])
        np.testing.assert_array_equal(bits(fs.softmax(x[row : row + 1].T, 0)).T[0], whole[row])


def test_work_goes_to_the_current_stream():
    x = random((64, 100_000), torch.float32)
    expected = bits(fs.softmax(x))
    stream = torch.cuda.Stream()
    source = x.cuda()
    on_gpu = torch.zeros_like(source)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        fs.softmax(on_gpu)  # loads kernels and takes memory, which may wait
        stream.synchronize()
        torch.cuda._sleep(SLEEP)  # a call on another stream would read what is not there yet
        on_gpu.copy_(source)
        result = fs.softmax(on_gpu)
        assert not stream.query()  # and nothing waited for it
        doubled = result * 2
    stream.synchronize()
    np.testing.assert_array_equal(bits(result), expected)
    np.testing.assert_array_equal(bits(doubled / 2), expected)


def test_cupy():
    cupy = pytest.importorskip("cupy")
    x = np.random.default_rng(0).normal(size=(5, 3000)).astype(np.float32)
    with cupy.cuda.Stream(non_blocking=True):
        result = fs.softmax(cupy.asarray(x))
        assert isinstance(result, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(result).view("i4"), fs.softmax(x).view("i4"))
        kept = fs.softmax(cupy.asarray(x).T, 0)
        assert kept.strides == cupy.asarray(x).T.strides


def test_what_is_refused():
    x = torch.zeros(3, 4, device="cuda")
    with pytest.raises(TypeError, match="out is on device cpu, but other arguments are on a GPU"):
        fs.softmax(x, out=torch.zeros(3, 4))
    with pytest.raises(TypeError, match="where is on device cpu, but other arguments are on a GPU"):
        fs.softmax(x, where=torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(TypeError, match="out is on device cuda:0, expected CPU"):
        fs.softmax(x.cpu(), out=x)
    with pytest.raises(RuntimeError, match="requires gradients"):
        fs.softmax(x.requires_grad_())


@pytest.mark.parametrize("shape", [(8, 5000), (1, 1 << 21)], ids=str)
def test_a_graph_replays_calls(shape):
    """The long row takes memory on the stream."""
    x = torch.zeros(shape, device="cuda")
    out = torch.empty_like(x)
    fs.softmax(x, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fs.softmax(x, out=out)
    scores = random(shape, torch.float32)
    x.copy_(scores)
    graph.replay()
    np.testing.assert_array_equal(bits(out), bits(fs.softmax(scores)))


def test_a_thread_without_a_context():
    x = random((5, 3000), torch.float32)
    on_gpu = x.cuda()
    torch.cuda.synchronize()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(fs.softmax, on_gpu).result()
    np.testing.assert_array_equal(bits(result), bits(fs.softmax(x)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_another_device_than_the_current_one():
    x = random((5, 3000), torch.float32)
    result = fs.softmax(x.to("cuda:1"))
    assert result.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    np.testing.assert_array_equal(bits(result), bits(fs.softmax(x)))
