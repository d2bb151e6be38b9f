"""Results on a GPU: of the library of the first argument, once they are there."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from fastsoftmax._cuda import _allocation

LIBRARIES = {"jax": "Jax", "numba": "Numba", "cupy": "CupyArray"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_results_are_of_the_library_of_the_first_argument(library, with_device):
    with_device(f"""
install_{library}()
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


def test_jax_waits_on_its_own_stream(with_device):
    out = with_device("""
install_jax()
allocate()
x = Jax(np.zeros((2, 3), np.float32))
fs.softmax(x)
fs.cross_entropy(Interface(x.array, stream=7), Jax(np.zeros(2, int)))
assert x.streams == [1]
print(notes())
""")
    assert out.strip() == str(
        [
            "run 1 on 0",
            "mark 1 on 0",
            "order 1 5",
            "order 1 7",
            "loss 7 on 0",
            "order 7 1",
            "mark 7 on 0",
        ]
    )


def test_what_jax_could_use_anew_is_held_until_the_device_is_done(with_device):
    with_device("""
install_jax()
busy(True)
for turn in range(3):
    fs.logsumexp(Jax(np.zeros((2, 3), np.float32)))
    assert Jax.held == 2 * (turn + 1)  # what is read and what is written
kept = fs.logsumexp(Jax(np.zeros((2, 3), np.float32)))
busy(False)
fs.logsumexp(Interface(kept.array), out=Tensor(np.zeros((), np.float32)))
assert Jax.held == 1
del kept
assert Jax.held == 0
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
with pytest.raises(TypeError, match="JAX 0.7.2 or newer; pass out="):
    fs.softmax(x)
assert notes() == []
""")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "float64"])
def test_jax_itself_takes_what_was_written(dtype):
    jax = pytest.importorskip("jax")
    result = _allocation.empty(jax.numpy.zeros(2), 0, dtype, (2, 3), [0, 1])
    assert result.dtype == dtype
    own = _allocation.handed_over(result, 1)
    assert isinstance(own, jax.Array)
    assert own.shape == (2, 3)
    narrow = {"int64": "int32", "float64": "float32"} if not jax.config.jax_enable_x64 else {}
    assert own.dtype == narrow.get(dtype, dtype)
    if own.dtype == result.dtype:
        assert own.unsafe_buffer_pointer() == result.unsafe_buffer_pointer()


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
