"""Sections `crossovers` and `decoding` of bench_output_layers.py: four layers side by side."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import fastsoftmax as fs
import numpy as np
from tables import Array, Calls, Report, timed
from threadpoolctl import threadpool_limits
from tree_layers import zipf_counts

ROWS = 1024
SIZES = (128, 512)
DECODED, DECODED_INPUTS, DECODED_CLASSES, K = 64, 128, 100_000, 10
MOST = 100_000  # classes for the full softmax, which takes minutes beyond
CLASSES = (1000, 10_000, 100_000, 1_000_000)
FULL, CLASS, TREE, ADAPTIVE = "full", "class", "hierarchical", "adaptive"
FASTEST = "adaptive, fastest"  # cutoffs of from_counts; the other ones are those of the example


def drawn(rows: int, inputs: int) -> Array:
    """Draw vectors, some again and again."""
    block = np.random.default_rng(9).standard_normal((min(rows, 1000), inputs), dtype=np.float32)
    return np.resize(block / np.float32(inputs**0.5), (rows, inputs))


def calls_of(classes: int, inputs: int, full: bool) -> Calls:
    """Line up losses with gradients."""
    counts = zipf_counts(classes)
    rng = np.random.default_rng(8)
    x = rng.standard_normal((ROWS, inputs), dtype=np.float32)
    targets = rng.choice(classes, ROWS, p=counts / counts.sum())
    weights = drawn(classes, inputs)
    groups = fs.ClassSoftmax.from_frequencies(counts)
    tree = fs.HierarchicalSoftmax(fs.Tree.huffman(counts))
    of_classes = drawn(groups.num_classes, inputs)
    calls: Calls = {}
    if full:
        calls[FULL] = partial(fs.linear_cross_entropy, x, weights, targets, need_grad=True)
    adaptive = {
        ADAPTIVE: fs.AdaptiveSoftmax([classes // 10, classes * 2 // 5]),
        FASTEST: fs.AdaptiveSoftmax.from_counts(counts, inputs),
    }
    for name, layer in adaptive.items():
        of_clusters = layer.init_weights(inputs, classes, seed=1)
        calls[name] = partial(layer.loss, x, of_clusters, targets, need_grad=True)
    calls[CLASS] = partial(groups.loss, x, of_classes, weights, targets, need_grad=True)
    calls[TREE] = partial(tree.loss, x, weights[: classes - 1], targets, need_grad=True)
    return calls


def measure_crossovers(threads: int, seconds: float) -> list[Report]:
    """Print milliseconds for each number of inputs and classes, and return them."""
    names = (FULL, ADAPTIVE, FASTEST, CLASS, TREE)
    found = []
    for inputs in SIZES:
        print(f"\n| loss and gradients, {ROWS} x {inputs}, ms | " + " | ".join(names) + " |")
        print("|---|" + "---:|" * len(names))
        for classes in CLASSES:
            with threadpool_limits(threads):
                timings = timed(calls_of(classes, inputs, classes <= MOST), seconds)
            row: Report = {"inputs": inputs, "classes": classes}
            row |= {name: timing.median / 1e6 for name, timing in timings.items()}
            cells = [f"{row[name]:.2f}" if name in row else "" for name in names]
            print(f"| {classes} classes | " + " | ".join(cells) + " |", flush=True)
            found.append(row)
    return found


def measure_decoding(threads: int, seconds: float) -> list[Report]:
    """Print what the best classes and a draw take where vectors add noise to frequencies."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    from output_layers import EXACT

    rng = np.random.default_rng(8)
    x = rng.standard_normal((DECODED, DECODED_INPUTS), dtype=np.float32)
    counts = zipf_counts(DECODED_CLASSES)
    layers = {name: kind(DECODED_INPUTS, counts, 0) for name, kind in EXACT.items()}
    for layer in layers.values():
        for values in layer.values:
            if values.ndim == 2 and not values.any():
                values += drawn(*values.shape)
    weights, bias = layers[FULL].values
    nodes, node_bias = layers[TREE].values
    tree, groups, clusters = (layers[name].layer for name in (TREE, CLASS, ADAPTIVE))
    group_weights, group_bias = layers[CLASS].values[:2], layers[CLASS].values[2:]
    of_clusters = layers[ADAPTIVE].weights
    calls: dict[str, Calls] = {
        f"topk, k = {K}": {
            FULL: partial(fs.linear_topk, x, weights, K, bias),
            ADAPTIVE: partial(clusters.topk, x, of_clusters, K),
            CLASS: partial(groups.topk, x, *group_weights, K, *group_bias),
            TREE: partial(tree.topk, x, nodes, K, node_bias),
        },
        "sample": {
            FULL: lambda: fs.sample(x @ weights.T + bias, seed=1),
            ADAPTIVE: partial(clusters.sample, x, of_clusters, 1),
            CLASS: partial(groups.sample, x, *group_weights, 1, *group_bias),
            TREE: partial(tree.sample, x, nodes, 1, node_bias),
        },
    }
    names = (FULL, ADAPTIVE, CLASS, TREE)
    shape = f"{DECODED} x {DECODED_INPUTS} x {DECODED_CLASSES}"
    print(f"\n| {shape}, ms | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    found = []
    for kind, contestants in calls.items():
        with threadpool_limits(threads):
            timings = timed(contestants, 2 * seconds)
        row: Report = {"call": kind}
        row |= {name: timing.median / 1e6 for name, timing in timings.items()}
        print(f"| {kind} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |", flush=True)
        found.append(row)
    return found
