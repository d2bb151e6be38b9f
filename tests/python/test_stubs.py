"""The type stubs say what the compiled module does."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import fastsoftmax as fs
import pytest

SIGNATURES = {
    "softmax": (
        "(x, axis=-1, *, temperature=1.0, where=None, empty='nan', out=None, dtype=None, "
        "algorithm='auto')"
    ),
    "log_softmax": (
        "(x, axis=-1, *, temperature=1.0, where=None, empty='nan', out=None, dtype=None, "
        "algorithm='auto')"
    ),
    "logsumexp": (
        "(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, out=None, dtype=None)"
    ),
    "explain": (
        "(x, axis=-1, *, op='softmax', temperature=1.0, where=None, empty='nan', out=None, "
        "dtype=None, algorithm='auto')"
    ),
    "softmax_backward": "(grad, y, axis=-1, *, temperature=1.0, out=None)",
    "log_softmax_backward": "(grad, y, axis=-1, *, temperature=1.0, out=None)",
    "cross_entropy": (
        "(logits, targets, axis=-1, *, weight=None, ignore_index=-100, label_smoothing=0.0, "
        "z_loss=0.0, softcap=None, reduction='mean', grad_out=None, need_grad=False, "
        "inplace_grad=False)"
    ),
    "linear_logsumexp": "(x, W, bias=None, *, temperature=1.0)",
    "linear_log_prob": "(x, W, ids, bias=None, *, temperature=1.0)",
    "linear_topk": "(x, W, k, bias=None, *, temperature=1.0, log=False)",
    "linear_cross_entropy": (
        "(x, W, targets, bias=None, *, weight=None, ignore_index=-100, label_smoothing=0.0, "
        "z_loss=0.0, softcap=None, reduction='mean', grad_out=None, need_grad=False, "
        "grad_mass_tol=0.0, vocab_start=0, vocab_size=None, tile_bytes=50331648)"
    ),
    "linear_cross_entropy_backward": (
        "(forward, x, W, targets, bias=None, *, grad_out=None, weight=None, ignore_index=-100, "
        "label_smoothing=0.0, z_loss=0.0, softcap=None, reduction='mean', grad_mass_tol=0.0, "
        "vocab_start=0, vocab_size=None)"
    ),
    "merge_shards": "(shards, targets=None, *, weight=None, z_loss=0.0, reduction='mean')",
    "softmax_topk": (
        "(x, k, axis=-1, *, temperature=1.0, where=None, normalize='full', log=False, "
        "empty='nan', return_logsumexp=False)"
    ),
    "topk": "(x, k, axis=-1, *, largest=True)",
    "softmax_stats": "(x, axis=-1, *, temperature=1.0, where=None)",
    "sample": (
        "(logits, axis=-1, *, temperature=1.0, top_k=None, top_p=None, min_p=None, "
        "typical_p=None, top_n_sigma=None, where=None, seed=None, position=0, row_ids=None, "
        "return_logprobs=False, top_logprobs=0)"
    ),
    "gumbel_softmax": (
        "(logits, temperature, *, hard=False, seed=None, axis=-1, position=0, row_ids=None, "
        "where=None, empty='nan', out=None, dtype=None, return_soft=False)"
    ),
    "gumbel_topk": (
        "(logits, k, axis=-1, *, temperature=1.0, where=None, seed=None, position=0, row_ids=None)"
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = inspect.signature(getattr(fs, name))
    assert str(signature) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_functions_accept_the_parameters_of_their_signatures(name):
    function = getattr(fs, name)
    defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    if "k" in defaults:
        defaults["k"] = 1
    if "temperature" in defaults:
        defaults["temperature"] = 1.0
    if "y" in defaults:
        defaults["y"] = [1.0]
    if "targets" in defaults:
        defaults["targets"] = 0
    defaults[next(iter(defaults))] = [1.0]
    layer = {"x": [[1.0]], "W": [[1.0]], "ids": [0], "targets": [0]}
    forward = fs.linear_cross_entropy([[1.0]], [[1.0]], [0])
    layer |= {"forward": forward, "shards": [forward]}
    if "W" in defaults or "shards" in defaults:
        defaults |= {name: value for name, value in layer.items() if name in defaults}
    function(**defaults)


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstrings_document_every_parameter(name):
    function = getattr(fs, name)
    section = function.__doc__.split("Parameters\n")[1].split("Returns\n")[0]
    documented = [
        parameter
        for line in section.splitlines()
        if " : " in line and not line.startswith(" ")
        for parameter in line.split(" : ")[0].split(", ")
    ]
    documented += [
        parameter
        for line in section.splitlines()[1:]
        if "," in line and not line.startswith(" ") and " : " not in line
        for parameter in line.split(", ")
    ]
    assert set(inspect.signature(function).parameters) == set(documented)


@pytest.mark.parametrize("name", SIGNATURES)
def test_stubs_have_the_same_parameters_in_the_same_order(name):
    stub = ast.parse((Path(fs.__file__).parent / "_core.pyi").read_text())
    definitions = [n for n in stub.body if isinstance(n, ast.FunctionDef) and n.name == name]
    parameters = inspect.signature(getattr(fs, name)).parameters.values()
    assert definitions
    for definition in definitions:
        arguments = definition.args
        assert [a.arg for a in arguments.args] == [
            p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        assert [a.arg for a in arguments.kwonlyargs] == [
            p.name for p in parameters if p.kind is p.KEYWORD_ONLY
        ]


def test_the_package_is_marked_as_typed():
    assert (Path(fs.__file__).parent / "py.typed").is_file()


def test_stubtest(tmp_path):
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "fastsoftmax._core"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


USE = """
import numpy as np
from numpy.typing import NDArray
import fastsoftmax as fs

half: NDArray[np.float16] = np.zeros(3, np.float16)
whole: NDArray[np.int64] = np.zeros(3, np.int64)
a: NDArray[np.float16] = fs.softmax(half, axis=(0,), temperature=[1.0], where=[True])
b: NDArray[np.float64] = fs.log_softmax(whole)
c: NDArray[np.float32] = fs.softmax(half, dtype=np.float32, algorithm="online")
d: NDArray[np.float16] = fs.softmax([1.0, 2.0], out=half)
e: NDArray[np.float16] | np.float16 = fs.logsumexp(half, None, keepdims=True)
f: str = fs.explain(half).reason
values, indices = fs.softmax_topk(half, 2, normalize="topk")
g: fs.SoftmaxTopKLogsumexp = fs.softmax_topk(half, 2, return_logsumexp=True)
h: fs.TopK = fs.topk([3, 1, 2], 2, largest=False)
i: fs.SoftmaxStats = fs.softmax_stats(half, 0, temperature=2.0)
j: NDArray[np.int64] | np.int64 = fs.sample(half, top_k=5, top_p=[[0.9]], seed=1)
k: NDArray[np.int64] | np.int64 = fs.sample([1.0, 2.0], seed=np.random.default_rng())
m: fs.SampleResult = fs.sample(half, return_logprobs=True, top_logprobs=3)
n: fs.GumbelTopK = fs.gumbel_topk(half, 2, row_ids=[3])
o: NDArray[np.float64] = fs.Mirostat(3.0, seed=1).mu
p: NDArray[np.float16] = fs.softmax_backward(half, half, None, temperature=[2.0])
q: NDArray[np.float16] = fs.log_softmax_backward([1.0], [0.0], out=half)
r: fs.Tree = fs.Tree.from_parents([2, 2, -1], binary=True)
s: int = fs.Tree.huffman(whole).depth(1)
t: NDArray[np.int64] = r.depth(whole)
u: NDArray[np.float16] = fs.gumbel_softmax(half, 0.5, hard=True, seed=1)
v: fs.GumbelSoftmax = fs.gumbel_softmax([1.0], [0.5], hard=True, return_soft=True)
with fs.threads(2):
    pass
"""
MISUSE = """
import fastsoftmax as fs

fs.softmax([1.0], 0, 1.0)
fs.softmax([1.0], algorithm="fast")
fs.softmax([1.0], empty=None)
fs.softmax([1.0], keepdims=True)
fs.logsumexp([1.0], empty="nan")
fs.softmax([1.0], axis=0.5)
fs.softmax([1.0], out=[1.0])
fs.use_isa("mmx")
fs.topk([1.0])
fs.topk([1.0], 1, None)
fs.softmax_topk([1.0], 1, normalize="all")
fs.softmax_topk([1.0], 1).logsumexp
fs.sample([1.0], 0, 0.5)
fs.sample([1.0], seed=object())
fs.sample([1.0]).logprobs
fs.gumbel_topk([1.0])
fs.Mirostat("high")
fs.softmax_backward([1.0])
fs.log_softmax_backward([1.0], [0.0], where=[True])
fs.Tree.balanced("3")
fs.Tree.from_parents([-1], None, True)
fs.gumbel_softmax([1.0])
fs.gumbel_softmax([1.0], 0.5, True)
"""


def test_a_type_checker_accepts_good_calls_and_refuses_bad_ones(tmp_path):
    api = pytest.importorskip("mypy.api")
    for name, text, wrong in (("use.py", USE, []), ("misuse.py", MISUSE, list(range(4, 27)))):
        path = tmp_path / name
        path.write_text(text)
        cache = str(tmp_path / "cache")
        output, _, _ = api.run(
            ["--strict", "--no-error-summary", f"--cache-dir={cache}", str(path)]
        )
        found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
        assert sorted(found) == wrong, output
