"""Arrays on a GPU, with a library that emulates one in the CPU's memory, or with none at all."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import fastsoftmax as fs
import numpy as np
import pytest
from emulated_gpu import Interface, Tensor
from fastsoftmax import _core

OPS = ["softmax", "log_softmax", "logsumexp"]


def test_results_have_the_bits_of_the_cpu(with_device):
    with_device("""
rng = np.random.default_rng(1)
for i, dtype in enumerate(("f2", "f4", "f8")):
    x = rng.normal(scale=5, size=(3, 5, 70)).astype(dtype)
    for view in (x, x[:, ::-1], x[..., ::2], x.T, x[0], x[:0], x[:, :, :0]):
        for axis in (0, -1, (0, 1), None):
            if view.ndim < 2 and axis == (0, 1):
                continue
            for op in ("softmax", "log_softmax"):
                out = np.empty_like(view)
                where = rng.random(view.shape) < 0.7
                options = [{}, {"temperature": 0.7}, {"where": where, "empty": "zero"}][i % 3]
                i += 1
                expected = getattr(fs, op)(view, axis, **options)
                if "where" in options:
                    options = {**options, "where": Interface(where)}
                given = Interface(out)
                result = getattr(fs, op)(Interface(view), axis, out=given, **options)
                assert result is given
                np.testing.assert_array_equal(out.view(f"u{out.itemsize}"),
                                              expected.view(f"u{out.itemsize}"))
            for keepdims in (False, True):
                expected = np.asarray(fs.logsumexp(view, axis, keepdims=keepdims))
                out = np.empty_like(expected)
                fs.logsumexp(Interface(view), axis, keepdims=keepdims, out=Interface(out))
                np.testing.assert_array_equal(out, expected)
""")


def test_in_place_and_through_dlpack(with_device):
    with_device("""
x = np.random.default_rng(2).normal(size=(4, 300)).astype(np.float32)
expected = fs.softmax(x)
tensor = Tensor(x)
assert fs.softmax(tensor, out=tensor) is tensor
np.testing.assert_array_equal(x, expected)
assert tensor.streams == [1, 1]
""")


def test_an_array_that_says_that_it_is_on_a_gpu(with_device):
    with_device("""
import pytest
class Flagged(Interface):
    is_cuda = True
class Wrong(np.ndarray):
    is_cuda = True
class Object:
    is_cuda = True
x = np.random.default_rng(3).normal(size=(4, 30)).astype(np.float32)
y = np.empty_like(x)
fs.softmax(Flagged(x), out=Interface(y))
np.testing.assert_array_equal(y, fs.softmax(x))
np.testing.assert_array_equal(fs.softmax(x.view(Wrong)), y)
with pytest.raises(TypeError, match="x has dtype object; expected float16"):
    fs.softmax(Object(), out=Interface(y))
""")


def test_streams(with_device):
    out = with_device("""
x = np.zeros((2, 3), np.float32)
mask = np.ones((2, 3), bool)
y = np.empty_like(x)
fs.softmax(Interface(x, stream=7), where=Interface(mask, stream=9), out=Interface(y, stream=11))
fs.softmax(Interface(x, stream=7), where=Interface(mask), out=Interface(y, stream=7))
fs.softmax(Interface(x), out=Interface(y))
t = np.ones((2, 1))
fs.softmax(Interface(x, stream=7), temperature=Tensor(t), out=Interface(y))
print(notes())
""")
    assert out.strip() == str(
        [
            "order 9 7",
            "order 11 7",
            "run 7 on 0",
            "order 7 9",
            "order 7 11",
            "run 7 on 0",
            "run 1 on 0",
            "order 1 7",
            "run 7 on 0",
            "order 7 1",
        ]
    )


def test_what_is_refused_with_a_device(with_device):
    with_device("""
import pytest
x = np.zeros((2, 3), np.float32)
y = np.empty_like(x)
gpu, out = Interface(x), Interface(y)
for error, pattern, call in [
    (TypeError, "where is not on a GPU, but", lambda: fs.softmax(gpu, where=x > 0, out=out)),
    (TypeError, "out is not on a GPU, but", lambda: fs.softmax(gpu, out=y)),
    (TypeError, "temperature is not on a GPU", lambda: fs.softmax(gpu, temperature=x, out=out)),
    (TypeError, "cannot be allocated here; pass out= where", lambda: fs.softmax(gpu)),
    (TypeError, "dtype must be that of x, float32", lambda: fs.softmax(gpu, dtype="f8", out=out)),
    (TypeError, "out must have dtype float32, not float64",
     lambda: fs.softmax(gpu, out=Interface(y.astype("f8")))),
    (ValueError, r"out must have shape \\(2, 3\\), not \\(3, 2\\)",
     lambda: fs.softmax(gpu, out=Interface(y.reshape(3, 2)))),
    (ValueError, "out is read-only", lambda: fs.softmax(gpu, out=Interface(y, read_only=True))),
    (ValueError, "has a mask", lambda: fs.softmax(Interface(x, mask=gpu), out=out)),
    (ValueError, "stream 0", lambda: fs.softmax(Interface(x, stream=0), out=out)),
    (ValueError, "native byte order", lambda: fs.softmax(Interface(x.astype(">f4")), out=out)),
    (ValueError, "temperature must be positive", lambda: fs.softmax(gpu, temperature=0, out=out)),
    (ValueError, "empty must be", lambda: fs.softmax(gpu, empty="one", out=out)),
    (ValueError, "unknown algorithm|algorithm", lambda: fs.softmax(gpu, algorithm="x", out=out)),
    (np.exceptions.AxisError, "axis 2 is out of bounds", lambda: fs.softmax(gpu, 2, out=out)),
    (ValueError, "duplicate value in 'axis'", lambda: fs.softmax(gpu, (0, -2), out=out)),
    (TypeError, "^x has dtype int64, expected a floating type where x is on a GPU",
     lambda: fs.softmax(Interface(x.astype(int)))),
    (TypeError, "^temperature must be a number or array, not None",
     lambda: fs.softmax(gpu, temperature=None, out=out)),
    (TypeError, "^temperature has dtype <U1; expected float16",
     lambda: fs.softmax(gpu, temperature="a", out=out)),
    (TypeError, "^where has dtype <U1; expected", lambda: fs.softmax(gpu, where="a", out=out)),
    (TypeError, "^axis must be an int, a tuple of ints or None, not list",
     lambda: fs.softmax(gpu, [0], out=out)),
    (TypeError, "^axis must be an int, a tuple of ints or None, not float",
     lambda: fs.softmax(gpu, (0, 1.0), out=out)),
    (TypeError, "^axis must be an int, a tuple of ints or None, not bool",
     lambda: fs.softmax(gpu, True, out=out)),
    (ValueError, "out overlaps x", lambda: fs.softmax(gpu, out=Interface(x[::-1]))),
    (TypeError, "logits is in the memory of a GPU", lambda: fs.gumbel_topk(gpu, 1)),
    (TypeError, "out is in the memory of a GPU, expected CPU", lambda: fs.softmax(x, out=out)),
    (TypeError, "where is in the memory of a GPU", lambda: fs.softmax(x, where=gpu)),
]:
    with pytest.raises(error, match=pattern):
        call()
assert notes() == []
""")


def test_info_names_the_device(with_device):
    out = with_device("""
from fastsoftmax.__main__ import main
main(["info"])
""")
    assert "CUDA                 emulated\n" in out


@pytest.mark.parametrize("op", OPS)
def test_without_a_library_the_reason_is_given(op, monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", "/nowhere/libfastsoftmax_cuda.so")
    x = np.zeros((2, 3), np.float32)
    y = np.empty((2, 3) if op != "logsumexp" else 2, np.float32)
    pattern = "no CUDA: FASTSOFTMAX_CUDA_LIBRARY cannot be loaded: /nowhere/.*No such file"
    with pytest.raises(RuntimeError, match=pattern):
        getattr(fs, op)(Interface(x), out=Interface(y))
    with pytest.raises(RuntimeError, match=pattern):
        getattr(fs, op)(Tensor(x), out=Tensor(y))
    facts = _core._cuda_status()
    assert not facts["available"]
    assert facts["devices"] == []
    assert "No such file" in facts["reason"]


def test_a_library_that_is_not_ours(monkeypatch):
    libc = ctypes.util.find_library("c") if hasattr(ctypes, "util") else None
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", libc or "libc.so.6")
    reason = _core._cuda_status()["reason"]
    assert "is not a CUDA library of this version of fastsoftmax" in reason


def test_a_library_of_other_sources(monkeypatch, tmp_path):
    source = tmp_path / "stale.c"
    source.write_text(
        "struct table { const char* version; long long call_sizes; };\n"
        f'static const struct table stale = {{"{fs.__version__}", 1}};\n'
        "const struct table* fastsoftmax_cuda_table_2(void) { return &stale; }\n"
    )
    library = tmp_path / "stale.so"
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("FASTSOFTMAX_CUDA_LIBRARY", str(library))
    assert (
        _core._cuda_status()["reason"] == f"{library} was built from other sources of fastsoftmax"
    )
