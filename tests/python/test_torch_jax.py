"""PyTorch and JAX: the tensors that people actually have. Skipped where they are not installed."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

OPS = ["softmax", "log_softmax", "logsumexp"]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def jnp():
    return pytest.importorskip("jax.numpy")


def torch_reference(torch, op, x, axis):
    y = x.double()
    result = torch.logsumexp(y, axis) if op == "logsumexp" else getattr(torch, op)(y, axis)
    return result.to(x.dtype)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_values(torch, op, dtype):
    torch.manual_seed(3)
    x = (3 * torch.randn(4, 5, 12)).to(getattr(torch, dtype))
    for view in (x, x.mT, x[..., ::3], x[1:, :, 4:], x.permute(2, 0, 1), x[0, 0]):
        result = getattr(fs, op)(view)
        assert type(result) is torch.Tensor
        torch.testing.assert_close(result, torch_reference(torch, op, view, -1))
    torch.testing.assert_close(getattr(fs, op)(x, 0), torch_reference(torch, op, x, 0))
    assert getattr(fs, op)(x[:, :0]).shape == torch_reference(torch, op, x[:, :0], -1).shape
    assert fs.logsumexp(x, None).shape == ()


def test_torch_dtypes(torch):
    for dtype in (torch.int8, torch.int64, torch.uint8, torch.bool):
        assert fs.softmax(torch.ones(3, dtype=dtype)).dtype == torch.float64
    x = torch.arange(3.0)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        result = fs.softmax(x, dtype=dtype)
        assert result.dtype == dtype
        assert torch.equal(result, fs.softmax(x.to(dtype)))
    with pytest.raises(TypeError, match=r"dtype must be .*, not torch.int32"):
        fs.softmax(x, dtype=torch.int32)
    with pytest.raises(TypeError, match="x has dtype complex64; expected"):
        fs.softmax(torch.zeros(3, dtype=torch.cfloat))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_out(torch, dtype):
    x = torch.randn(4, 6).to(getattr(torch, dtype))
    expected = fs.softmax(x)
    memory = torch.zeros(4, 12, dtype=x.dtype)
    for out in (torch.empty_like(x), memory[:, ::2], x):
        pointer, version = out.data_ptr(), out._version
        assert fs.softmax(x, out=out) is out
        assert out.data_ptr() == pointer
        assert out._version > version
        assert torch.equal(out, expected)
    assert torch.all(memory[:, 1::2] == 0)
    with pytest.raises(ValueError, match="elements that share memory"):
        fs.softmax(x, out=torch.zeros(1, 6, dtype=x.dtype).expand(4, 6))


def test_torch_mixes_with_numpy(torch):
    x = torch.randn(3, 4)
    for source in (x, x.numpy()):
        for out in (torch.empty(3, 4), np.empty((3, 4), np.float32)):
            assert fs.softmax(source, out=out) is out
            np.testing.assert_array_equal(np.asarray(out), fs.softmax(x.numpy()))


def test_torch_mask_and_temperature(torch):
    x = torch.randn(3, 4)
    mask = torch.tensor([True, False, True, True])
    temperature = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.bfloat16)
    result = fs.softmax(x, where=mask, temperature=temperature)
    expected = (x / temperature.float()).masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(result, expected)
    assert torch.equal(fs.softmax(x, temperature=torch.tensor(2)), fs.softmax(x, temperature=2))


def test_torch_gradients(torch):
    x = torch.randn(3, requires_grad=True)
    detached = fs.softmax(x.detach())
    message = r"x requires gradients, .* pass x\.detach\(\) or call under torch\.no_grad\(\)"
    with pytest.raises(RuntimeError, match=message):
        fs.softmax(x)
    with pytest.raises(RuntimeError, match="temperature requires gradients"):
        fs.softmax(detached, temperature=torch.tensor(1.0, requires_grad=True))
    with pytest.raises(RuntimeError, match="out requires gradients"):
        fs.softmax(detached, out=x)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(fs.softmax(x), detached)
            assert torch.equal(fs.softmax(torch.nn.Parameter(x)), detached)
            assert torch.equal(fs.softmax(x.detach(), out=torch.empty(3)), detached)


def test_torch_notices_that_a_saved_value_was_overwritten(torch):
    weight = torch.randn(3, requires_grad=True)
    saved = torch.randn(3)
    loss = (weight * saved).sum()
    fs.softmax(saved, out=saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_torch_lazily_negated(torch):
    x = torch.randn(5, dtype=torch.cfloat).conj().imag
    assert x.is_neg()
    torch.testing.assert_close(fs.softmax(x), x.softmax(-1))
    with pytest.raises(ValueError, match=r"out stores its values negated .* out\.resolve_neg\(\)"):
        fs.softmax(x, out=x)


def test_torch_elsewhere(torch):
    x = torch.zeros(3, device="meta")
    for call in ({"x": x}, {"x": torch.zeros(3), "out": x}):
        with pytest.raises(TypeError, match="is on device meta, expected CPU"):
            fs.softmax(**call)
    with pytest.raises(BufferError, match="strided"):
        fs.softmax(torch.eye(3).to_sparse())


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_jax_values(jnp, op, dtype, rng, reference):
    x = jnp.asarray(rng.normal(scale=3, size=(4, 5, 6)), dtype)
    for axis in (-1, 0, (0, 2), None):
        result = getattr(fs, op)(x, axis)
        assert isinstance(result, jnp.ndarray)
        assert result.dtype == x.dtype
        tolerance = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-6}[dtype]
        expected = reference(op, np.asarray(x, np.float64), axis)
        np.testing.assert_allclose(
            np.asarray(result, np.float64), expected, rtol=tolerance, atol=tolerance
        )


def test_jax_shares_memory(jnp, monkeypatch):
    from fastsoftmax import _interop

    seen = []
    own_kind = _interop.own_kind

    def recording(like, exported):
        seen.append(exported.array().ctypes.data)
        return own_kind(like, exported)

    monkeypatch.setattr(_interop, "own_kind", recording)
    for shape in ((3,), (300, 500)):
        result = fs.softmax(jnp.zeros(shape))
        assert result.unsafe_buffer_pointer() == seen.pop()


def test_jax_is_as_wide_as_it_is_set_to(jnp):
    import jax

    wide = jax.config.jax_enable_x64
    assert fs.softmax(jnp.arange(3)).dtype == ("float64" if wide else "float32")
    assert fs.topk(jnp.arange(3.0), 2).indices.dtype == ("int64" if wide else "int32")


def test_jax_traces_are_refused(jnp):
    import jax

    for transform in (jax.jit, jax.vmap, jax.grad):
        with pytest.raises(TypeError, match=r"x is traced by JAX \(jit, vmap, grad, ...\), which"):
            transform(fs.logsumexp)(jnp.ones(3))


def test_jax_options(jnp):
    x = jnp.arange(6.0).reshape(2, 3)
    mask = jnp.array([True, False, True])
    temperature = jnp.array([[1.0], [2.0]])
    result = fs.softmax(x, where=mask, temperature=temperature)
    expected = fs.softmax(np.asarray(x), where=np.asarray(mask), temperature=[[1.0], [2.0]])
    np.testing.assert_array_equal(np.asarray(result), expected)
    assert fs.softmax(x, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    out = np.empty((2, 3), np.float32)
    assert fs.softmax(x, out=out) is out
    with pytest.raises(TypeError, match="out is a JAX array, which is immutable"):
        fs.softmax(out, out=x)
