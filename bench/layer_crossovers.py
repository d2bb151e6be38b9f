"""Section `crossovers` of bench_output_layers.py: what a step costs over the number of classes."""

from __future__ import annotations

from functools import partial

import fastsoftmax as fs
import numpy as np
from tables import Array, Calls, Report, timed
from threadpoolctl import threadpool_limits
from tree_layers import zipf_counts

ROWS = 1024
SIZES = ((128, 1_000_000), (512, 100_000))  # inputs, classes at most for the full softmax
CLASSES = (1000, 10_000, 100_000, 1_000_000)
FULL, CLASS, TREE, ADAPTIVE = "full", "class", "hierarchical", "adaptive"


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
    adaptive = fs.AdaptiveSoftmax.from_counts(counts, inputs)
    of_classes = drawn(groups.num_classes, inputs)
    of_clusters = adaptive.init_weights(inputs, classes, seed=1)
    calls: Calls = {}
    if full:
        calls[FULL] = partial(fs.linear_cross_entropy, x, weights, targets, need_grad=True)
    calls[ADAPTIVE] = partial(adaptive.loss, x, of_clusters, targets, need_grad=True)
    calls[CLASS] = partial(groups.loss, x, of_classes, weights, targets, need_grad=True)
    calls[TREE] = partial(tree.loss, x, weights[: classes - 1], targets, need_grad=True)
    return calls


def measure_crossovers(threads: int, seconds: float) -> list[Report]:
    """Print milliseconds for each number of inputs and classes, and return them."""
    names = (FULL, ADAPTIVE, CLASS, TREE)
    found = []
    for inputs, most in SIZES:
        print(f"\n| loss and gradients, {ROWS} x {inputs}, ms | " + " | ".join(names) + " |")
        print("|---|" + "---:|" * len(names))
        for classes in CLASSES:
            with threadpool_limits(threads):
                timings = timed(calls_of(classes, inputs, classes <= most), seconds)
            row: Report = {"inputs": inputs, "classes": classes}
            row |= {name: timing.median / 1e6 for name, timing in timings.items()}
            cells = [f"{row[name]:.2f}" if name in row else "" for name in names]
            print(f"| {classes} classes | " + " | ".join(cells) + " |", flush=True)
            found.append(row)
    return found
