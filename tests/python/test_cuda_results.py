"""Results on a GPU: of the library of the first argument, once they are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Tensor
from fastsoftmax._cuda import _allocation, _jax, _streams

LIBRARIES = {"jax": "Jax", "numba": "Numba", "cupy": "CupyArray", None: "Dlpack"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_results_are_of_the_library_of_the_first_argument(library, with_device):
    install = f"install_{library}()" if library else ""
    with_device(f"""
{install}
Array = {LIBRARIES[library]}
rng = np.random.default_rng(3)
x = rng.normal(scale=4, size=(3, 130)).astype(np.float32)
y, grad = fs.softmax(x), rng.normal(size=x.shape).astype(np.float32)
targets = np.array([5, 129, 0])
for op, arguments, options in [
    ("softmax", (x,), {{}}),
    ("log_softmax", (x, 0), {{}}),
    ("logsumexp", (x,), {{}}),
    ("logsumexp", (x[:0],), {{}}),
    ("logsumexp", (x, None), {{}}),
    ("softmax_backward", (grad, y), {{}}),
    ("softmax_topk", (x, 4), {{"return_logsumexp": True}}),
    ("topk", (x.astype("f2"), 3), {{}}),
    ("softmax_stats", (x,), {{}}),
    ("sample", (x,), {{"seed": 7, "return_logprobs": True, "top_logprobs": 2}}),
    ("sample", (x,), {{"seed": 7}}),
    ("cross_entropy", (x, targets), {{}}),
    ("cross_entropy", (x, targets), {{"need_grad": True, "reduction": "none"}}),
]:
    expected = getattr(fs, op)(*arguments, **options)
    arrays = [Array(a) if isinstance(a, np.ndarray) else a for a in arguments]
    found = getattr(fs, op)(*arrays, **options)
    found, expected = (r if isinstance(r, tuple) else (r,) for r in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert type(a) is Array
        assert a.array.dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a.array, b)
""")


def test_jax_waits_for_what_it_shares(with_device):
    out = with_device("""
install_jax()
allocate()
x = Jax(np.zeros((2, 3), np.float32))
y = fs.softmax(x)
assert x.streams == [1]
used = sys.modules["jax"].used
assert len(used) == 2  # the second is what all that comes after waits for
fs.cross_entropy(Interface(x.array, stream=7), Jax(np.zeros(2, int)))
assert len(used) == 3
assert used[0].streams == [5, 5]
print(notes())
""")
    assert out.strip() == str(
        [
            "run 1 on 0",
            "order 1 5",
            "order 1 5",
            "order 1 7",
            "loss 7 on 0",
            "order 7 5",
            "order 7 1",
        ]
    )


@pytest.mark.parametrize(("stream", "waits"), [(None, []), (-1, []), (0, []), (1, []), (2, [2])])
def test_who_imports_waits(stream, waits, monkeypatch):
    orders = []
    monkeypatch.setattr(_streams._core, "_cuda_order", lambda *order: orders.append(order))
    tensor = Tensor(np.zeros(3, np.float32), (2, 4))
    written = _streams.Written(tensor, 1)
    assert written.__dlpack_device__() == (2, 4)
    written.__dlpack__(stream=stream)
    assert tensor.streams == [stream]
    assert orders == [(4, 1, other) for other in waits]
    _streams.Written(tensor, 9).__dlpack__(stream=stream)
    if stream != -1:
        assert orders[-1] == (4, 9, 1 if stream is None else stream)


def test_results_of_numba_name_the_stream(with_device):
    with_device("""
install_numba()
y = fs.softmax(Numba(np.zeros((2, 3), np.float32), stream=9))
assert y.stream == 9
""")


def test_results_without_elements_belong_to_no_device(with_device):
    with_device("""
install_cupy()
from fastsoftmax._cuda import _arrays
call = _arrays.Submission(CupyArray(np.zeros((2, 3), np.float32)), "x")
call.device = 1
call.new("float32", (2, 0))
""")


def test_results_for_jax_that_cannot_be(with_device):
    with_device("""
import pytest
install_jax()
x = Jax(np.zeros((2, 3), np.float32))
with pytest.raises(TypeError, match="out is a JAX array, which is immutable"):
    fs.softmax(x, out=x)
with pytest.raises(TypeError, match="logits is a JAX array, which is immutable"):
    fs.cross_entropy(x, Jax(np.zeros(2, int)), inplace_grad=True)
del sys.modules["jax"].lax.empty
with pytest.raises(TypeError, match="JAX 0.7.2 or newer"):
    fs.softmax(x)
assert notes() == []
""")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "float64"])
def test_jax_itself_takes_what_was_written(dtype, monkeypatch):
    jax = pytest.importorskip("jax")
    result = _allocation.empty(jax.numpy.zeros(2), 0, dtype, (2, 3), [0, 1])
    assert result.dtype == dtype
    orders = []
    monkeypatch.setattr(_streams._core, "_cuda_order", lambda *order: orders.append(order))
    own = _allocation.handed_over(result, 7)
    assert orders == [(0, 7, 1)]  # on the CPU JAX names no stream
    assert isinstance(own, jax.Array)
    assert own.shape == (2, 3)
    narrow = {"int64": "int32", "float64": "float32"} if not jax.config.jax_enable_x64 else {}
    assert own.dtype == narrow.get(dtype, dtype)
    if own.dtype == result.dtype:
        assert own.unsafe_buffer_pointer() == result.unsafe_buffer_pointer()


def test_jax_itself_under_a_trace(monkeypatch):
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(_streams._core, "_cuda_order", lambda *_: None)
    x = jax.numpy.zeros(2)

    @jax.jit
    def traced(y):
        result = _allocation.handed_over(_allocation.empty(x, 0, "int64", (3,), [0]), 7)
        assert not isinstance(result, jax.core.Tracer)
        _jax.catch_up(x, 7)
        return y

    traced(x)


JAX_ON_TWO_DEVICES = """
import contextlib, sys
sys.path[:0] = [%r]
import jax
import numpy as np
from fastsoftmax import _core
from fastsoftmax._cuda import _jax

orders = []
_core._cuda_order = lambda *order: orders.append(order)
# Memory as it may be on a GPU.
jax.lax.empty = lambda shape, dtype: jax.numpy.full(shape, np.nan, dtype)
x = jax.device_put(np.zeros(2, np.float32), jax.devices()[1])
for surroundings in (
    contextlib.nullcontext(),
    jax.disable_jit(),
    jax.debug_nans(True),
    jax.debug_infs(True),
    jax.transfer_guard("disallow"),
    jax.transfer_guard("disallow_explicit"),
    jax.default_device(jax.devices()[0]),
):
    _jax._flag.cache_clear()
    _jax._allocator.cache_clear()
    with surroundings:
        result = _jax.empty(x, "float32", (2, 3))
        assert result.devices() == x.devices()
        assert _jax.imported(result, 7).shape == (2, 3)
        _jax.prepare(x)
        _jax.catch_up(x, 7)
assert len(orders) == 2 * 7
"""


def test_jax_itself_whatever_surrounds_the_call():
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", JAX_ON_TWO_DEVICES % str(Path(fs.__file__).parents[1])],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_library_without_the_dtype(allocating):
    allocating("""
import pytest
with pytest.raises(TypeError, match="Interface and dtype uint8 cannot be allocated here"):
    fs.topk(Interface(np.zeros(3, np.uint8)), 1)
""")


def test_results_keep_the_order_of_axes(monkeypatch):
    class Torch:
        float32 = "float32"

        class Tensor:
            device = "cuda:0"

        @staticmethod
        def empty(shape, dtype, device):
            class New:
                def permute(self, axes):
                    return np.empty(shape, np.float32).transpose(axes)

            assert (dtype, device) == ("float32", "cuda:0")
            return New()

    monkeypatch.setitem(sys.modules, "torch", Torch)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]):
        result = _allocation.empty(Torch.Tensor(), 0, "float32", (2, 3, 4), order)
        assert result.shape == (2, 3, 4)
        assert np.argsort(result.strides)[::-1].tolist() == order
