"""cross_entropy of arrays on a GPU, with a library that emulates one in the CPU's memory."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Interface


def test_losses_have_the_bits_of_the_cpu(allocating):
    allocating("""
rng = np.random.default_rng(1)
for dtype in ("f2", "f4", "f8"):
    for shape in ((2, 3, 20), (2, 1030), (7,), (0, 3), (2, 0, 4)):
        x = rng.normal(scale=5, size=shape).astype(dtype)
        for view in (x, x[..., ::-1], x.T) if x.ndim == 3 else (x,):
            for axis in (0, -1):
                n = view.shape[axis]
                if n == 0 or n == 2 and view.size > 100:
                    continue
                rows = tuple(np.delete(view.shape, axis))
                targets = rng.integers(0, n, rows, dtype=rng.choice(["i1", "i4", "i8", "u2"])
                                       if n < 128 else "i8")
                soft = rng.random(view.shape).astype(dtype)
                upstream = rng.normal(size=rows).astype("f4")
                weight = rng.random(n)
                for t, options in (
                    (targets, {}),
                    (targets, {"ignore_index": 1, "z_loss": 0.1, "need_grad": True}),
                    (targets, {"label_smoothing": 0.2, "reduction": "none", "need_grad": True,
                               "grad_out": upstream}),
                    (targets, {"weight": weight, "reduction": "sum", "need_grad": True,
                               "grad_out": 0.5}),
                    (targets, {"weight": weight, "label_smoothing": 0.1, "softcap": 9.0,
                               "need_grad": True, "grad_out": np.float64([3.0])[0]}),
                    (soft, {"need_grad": True, "label_smoothing": 0.3}),
                ):
                    expected = fs.cross_entropy(view, t, axis, **options)
                    given = Interface(np.array(t))
                    got = fs.cross_entropy(Interface(view), given, axis, **on_gpu(options))
                    if "need_grad" not in options:
                        expected, got = (expected,), (got,)
                    else:
                        assert type(got) is type(expected)
                    for a, b in zip(got, expected):
                        same(a, b)
""")


def test_in_place_and_streams(allocating):
    out = allocating("""
x = np.random.default_rng(2).normal(size=(4, 3000)).astype(np.float32)
t = np.array([5, 2999, -100, 0])
expected = fs.cross_entropy(x, t, need_grad=True)
logits = Interface(x, stream=7)
got = fs.cross_entropy(logits, Interface(t, stream=9), inplace_grad=True)
assert got.grad is logits
np.testing.assert_array_equal(x, expected.grad)
same(got.loss, expected.loss)
same(got.logsumexp, expected.logsumexp)
print(notes())
""")
    assert out.strip() == str(["order 9 7", "loss 7 on 0", "order 7 9"])


def test_a_target_that_is_no_class(allocating):
    allocating("""
x = np.random.default_rng(3).normal(size=(4, 50))
t = np.array([5, 50, -1, 2])
right = np.where((t < 0) | (t >= 50), -100, t)
for n in (50, 3000):
    x = np.random.default_rng(3).normal(size=(4, n))
    t[1:3] = n, -2**63
    options = {"need_grad": True, "reduction": "none"}
    got = fs.cross_entropy(Interface(x), Interface(t), **options)
    expected = fs.cross_entropy(x, right, **options)
    wrong = right == -100
    assert np.isnan(got.loss.array[wrong]).all() and np.isnan(got.grad.array[wrong]).all()
    np.testing.assert_array_equal(got.loss.array[~wrong], expected.loss[~wrong])
    np.testing.assert_array_equal(got.grad.array[~wrong], expected.grad[~wrong])
    np.testing.assert_array_equal(got.logsumexp.array, expected.logsumexp)
    for weight in (None, Interface(np.ones(n))):
        got = fs.cross_entropy(Interface(x), Interface(t), weight=weight, need_grad=True)
        assert np.isnan(got.loss.array)
        np.testing.assert_array_equal(got.grad.array[~wrong], expected.grad[~wrong] / 4)
""")


def test_what_is_refused_with_a_device(with_device):
    with_device("""
import pytest
x, t = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
logits, targets = Interface(x), Interface(t)
call = fs.cross_entropy
for error, pattern, arguments in [
    (TypeError, "cannot be allocated here", {}),
    (TypeError, "targets is not on a GPU, but", {"targets": t}),
    (TypeError, "^targets has dtype object; expected float16", {"targets": None}),
    (TypeError, "axis must be an int, not NoneType", {"axis": None}),
    (TypeError, "axis must be an int, not list", {"axis": [0]}),
    (TypeError, "ignore_index must be an int, not float", {"ignore_index": 1.0}),
    (TypeError, "weight is not on a GPU, but", {"weight": np.ones(3)}),
    (TypeError, "grad_out is not on a GPU, but", {"grad_out": x, "need_grad": True}),
    (ValueError, "grad_out is of use with need_grad", {"grad_out": 2.0}),
    (ValueError, "softcap must be positive, got 0", {"softcap": 0}),
    (TypeError, "z_loss must be a number, not str", {"z_loss": "1"}),
    (TypeError, "reduction must be a string", {"reduction": 1}),
    (np.exceptions.AxisError, "axis 2 is out of bounds", {"axis": 2}),
    (TypeError, "targets is in the memory of a GPU", {"logits": x}),
]:
    with pytest.raises(error, match=pattern):
        call(**{"logits": logits, "targets": targets, **arguments})
allocate()
bools = Interface(np.zeros(2, bool))
for error, pattern, arguments in [
    (TypeError, "^logits has dtype int64, expected a floating type",
     {"logits": Interface(x.astype(int))}),
    (TypeError, "targets must be integers", {"targets": bools}),
    (ValueError, r"expected integers of shape \\(2,\\)", {"targets": Interface(t[:1])}),
    (ValueError, "expected integers of shape", {"targets": Interface(t.astype(float))}),
    (ValueError, r"weight has shape \\(2,\\), expected", {"weight": Interface(np.ones(2))}),
    (TypeError, "weight must be floating", {"weight": Interface(np.ones(3, int))}),
    (ValueError, "expected that of the loss",
     {"grad_out": Interface(np.ones(2)), "need_grad": True}),
    (ValueError, "label_smoothing must be between", {"label_smoothing": 2.0}),
    (ValueError, "reduction must be", {"reduction": "max"}),
    (ValueError, "softcap must be a normal number", {"softcap": 1e-60}),
    (ValueError, "logits is read-only",
     {"logits": Interface(x, read_only=True), "inplace_grad": True}),
    (ValueError, "no classes", {"logits": Interface(x[:, :0])}),
    (ValueError, "overlaps", {"targets": Interface(x.ravel().view(np.int64)[:2]),
                              "inplace_grad": True}),
]:
    with pytest.raises(error, match=pattern):
        call(**{"logits": logits, "targets": targets, **arguments})
assert notes() == []
""")


def test_without_a_library_the_reason_is_given(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", "/nowhere/libfastsoftmax_cuda.so")
    x, t = np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
    with pytest.raises(RuntimeError, match="no CUDA: FASTSOFTMAX_CUDA_LIBRARY cannot be loaded"):
        fs.cross_entropy(Interface(x), Interface(t))
