"""HierarchicalSoftmax: the same bits from any layout, thread count, batch and instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest
from tree_reference import TREES, layer_of


@pytest.fixture(params=TREES, ids=str)
def tree(request):
    return TREES[request.param]


def strided(a):
    """Views of the same numbers that lie differently."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    yield wide[..., ::2]
    yield a[::-1].copy()[::-1]
    yield np.asfortranarray(a)
    yield a.astype(a.dtype.newbyteorder()) if a.dtype.kind == "f" and a.dtype.isnative else a
    memory = np.zeros(a.nbytes + 1, np.uint8)
    odd = memory[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    yield odd


def results(layer, x, w, b, targets):
    loss = layer.loss(x, w, targets, b, need_grad=True)
    found = layer.topk(x, w, layer.tree.num_leaves, b)
    return [
        np.asarray(part)
        for part in (
            loss.loss,
            loss.grad_x,
            loss.grad_weights.ids,
            loss.grad_weights.values,
            loss.grad_bias.values,
            layer.log_prob(x, w, node_bias=b),
            *found,
            layer.sample(x, w, 7, b),
        )
    ]


def test_layouts_and_dtypes(rng, tree, dtype):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 9, 5, dtype)
    targets = rng.integers(0, tree.num_leaves, 9)
    wanted = results(layer, x, w, b, targets)
    arithmetic = np.float64 if dtype == np.float64 else np.float32
    assert wanted[1].dtype == wanted[3].dtype == wanted[5].dtype == arithmetic
    for other in (
        *zip(strided(x), strided(w), strided(b), strict=True),
        tuple(a.astype(arithmetic) for a in (x, w, b)),
    ):
        for got, want in zip(
            results(layer, *other, targets[::-1].copy()[::-1]), wanted, strict=True
        ):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_batches(rng, tree, threads):
    layer = fs.HierarchicalSoftmax(tree)
    x, w, b = layer_of(rng, tree, 200, 130, np.float32, 0.2)
    targets = rng.integers(0, tree.num_leaves, 200)
    with fs.threads(1):
        one = results(layer, x, w, b, targets)
    with fs.threads(threads):
        several = results(layer, x, w, b, targets)
        for got, want in zip(several, one, strict=True):
            np.testing.assert_array_equal(got, want)
        order = rng.permutation(200)[:77]
        losses = layer.loss(x, w, targets, b, reduction="none", need_grad=True)
        part = layer.loss(x[order], w, targets[order], b, reduction="none", need_grad=True)
        np.testing.assert_array_equal(part.loss, losses.loss[order])
        np.testing.assert_array_equal(part.grad_x, losses.grad_x[order])
        np.testing.assert_array_equal(layer.log_prob(x[order], w, node_bias=b), one[5][order])
        np.testing.assert_array_equal(layer.topk(x[order], w, 1, b).values, one[6][order, :1])


CORPUS = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
import fastsoftmax as fs
import numpy as np
from test_hierarchical_bits import TREES, layer_of, results
digests = {}
for name, tree in TREES.items():
    for dtype in (np.float16, np.float32, np.float64):
        rng = np.random.default_rng(3)
        for rows, columns, scale in ((1, 3, 0.7), (37, 50, 0.7), (40, 17, 1e3), (9, 5, 1e5)):
            x, w, b = layer_of(rng, tree, rows, columns, np.float64, scale)
            if scale == 1e5:
                w[rng.random(w.shape) < 0.05] = np.nan
            with np.errstate(over="ignore"):
                x, w, b = x.astype(dtype), w.astype(dtype), b.astype(dtype)
            targets = rng.integers(0, tree.num_leaves, rows)
            for i, part in enumerate(results(fs.HierarchicalSoftmax(tree), x, w, b, targets)):
                digest = hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()
                digests[f"{name} {np.dtype(dtype)} {rows} {scale} part {i}"] = digest
print(json.dumps([fs.isa_in_use(), digests]))
"""


@pytest.fixture(scope="module")
def digests_of():
    def run(isa):
        done = subprocess.run(
            [sys.executable, "-c", CORPUS, os.path.dirname(__file__)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"FASTSOFTMAX_ISA": isa},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        used, digests = json.loads(done.stdout)
        assert used == isa
        return digests

    return run


def test_instruction_sets(digests_of):
    supported = fs.isas_supported()
    scalar = digests_of("scalar")
    assert len(scalar) == len(TREES) * 3 * 4 * 9
    for isa in supported:
        digests = digests_of(isa)
        assert not [key for key in scalar if digests[key] != scalar[key]]
