"""Sections `hierarchical`, `class`, `leaves` and `build` of bench_output_layers.py."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from functools import partial
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import Timing, ratio
from linear_losses import PRODUCT, resident, with_torch
from numpy.typing import NDArray
from tables import Array, Calls, Report, timed, verdict
from threadpoolctl import threadpool_limits

ROWS, INPUTS, CLASSES = 1024, 128, 100_000
LEAF_ROWS, LEAF_AIM = 64, 1.3  # rows; of the product's time, at most
BUILD_CLASSES = 10_000_000
BUILD_AIMS = (5.0, 1.0)  # seconds, GB
AIM = 150.0  # of PyTorch's time over ours
TORCH = "PyTorch, all classes"
GRADIENTS = "loss and gradients"
READ = "vectors read once"


def zipf_counts(classes: int) -> NDArray[np.int64]:
    """Give counts proportional to 1 / rank, most frequent first; none is zero."""
    counts: NDArray[np.int64] = 100 * classes // np.arange(1, classes + 1)
    return counts


def drawn(rng: np.random.Generator, rows: int, inputs: int) -> Array:
    """Draw vectors whose products with inputs are of the size of scores."""
    return rng.standard_normal((rows, inputs), dtype=np.float32) / np.float32(inputs**0.5)


def inputs_and_targets(counts: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Draw a batch, targets by their counts."""
    rng = np.random.default_rng(8)
    x = rng.standard_normal((ROWS, INPUTS), dtype=np.float32)
    return x, rng.choice(len(counts), ROWS, p=counts / counts.sum())


def print_table(
    title: str, timings: dict[str, Timing], note: str, aim: float | None = None
) -> list[Report]:
    """Print times, and those of PyTorch over ours; `note` and `aim` are of loss and gradients."""
    print(f"\n| {title} | ms | PyTorch | |\n|---|---:|---:|---|")
    found = []
    for name, timing in timings.items():
        row: Report = {"call": name, "ms": timing.median / 1e6}
        if TORCH in timings and name not in (TORCH, READ):
            row["torch"] = ratio(timings[TORCH], timing)
        cells = [name, f"{row['ms']:.3f}"]
        if name == GRADIENTS:
            cells += [verdict(aim, row.get("torch")), note]
        else:
            cells += [verdict(None, row.get("torch")), ""]
        print("| " + " | ".join(cells) + " |", flush=True)
        found.append(row)
    return found


def with_peers(calls: Calls, vectors: Array, x: Array, targets: NDArray[np.int64]) -> Calls:
    """Add a read of the vectors that gradients are of, and PyTorch's loss over all classes."""
    flat = vectors.ravel()
    calls[READ] = partial(np.dot, flat, flat)
    with contextlib.suppress(ImportError):
        weights = drawn(np.random.default_rng(9), CLASSES, INPUTS)
        calls[TORCH] = with_torch(x, weights, targets)
    return calls


def measure_hierarchical(threads: int, seconds: float) -> list[Report]:
    """Print the table of a Huffman tree and return its figures."""
    counts = zipf_counts(CLASSES)
    x, targets = inputs_and_targets(counts)
    tree = fs.Tree.huffman(counts)
    layer = fs.HierarchicalSoftmax(tree)
    weights = drawn(np.random.default_rng(9), tree.num_weights, INPUTS)
    loss = partial(layer.loss, x, weights, targets)
    touched = loss(need_grad=True).grad_weights
    calls: Calls = {"loss": loss, GRADIENTS: partial(loss, need_grad=True)}
    with threadpool_limits(threads):
        timings = timed(with_peers(calls, weights[touched.ids], x, targets), 5 * seconds)
    steps = int(tree.depth(targets).sum())
    gradients = timings[GRADIENTS]
    note = (
        f"{gradients.median / steps:.1f} ns for each of {steps} (example, node), "
        f"{ratio(gradients, timings[READ]):.1f} times the read of {len(touched)} vectors"
    )
    title = f"Huffman tree, {ROWS} x {INPUTS} x {CLASSES}"
    return print_table(title, timings, note, AIM)


def measure_classes(threads: int, seconds: float) -> list[Report]:
    """Print the table of classes of words and return its figures."""
    counts = zipf_counts(CLASSES)
    x, targets = inputs_and_targets(counts)
    layer = fs.ClassSoftmax.from_frequencies(counts)
    rng = np.random.default_rng(9)
    of_classes, weights = (drawn(rng, rows, INPUTS) for rows in (layer.num_classes, CLASSES))
    loss = partial(layer.loss, x, of_classes, weights, targets)
    touched = loss(need_grad=True).grad_weights
    calls: Calls = {"loss": loss, GRADIENTS: partial(loss, need_grad=True)}
    vectors = np.concatenate([of_classes, weights[touched.ids]])
    with threadpool_limits(threads):
        timings = timed(with_peers(calls, vectors, x, targets), 5 * seconds)
    sizes = np.bincount(layer.class_of)
    scores = int(ROWS * layer.num_classes + sizes[layer.class_of[targets]].sum())
    note = (
        f"{timings[GRADIENTS].median / scores:.1f} ns for each of {scores} scores; "
        f"{layer.num_classes} classes, {len(touched)} words touched"
    )
    title = f"classes of words, {ROWS} x {INPUTS} x {CLASSES}"
    return print_table(title, timings, note)


def measure_leaves(threads: int, seconds: float) -> list[Report]:
    """Print what log-probabilities of all classes take, over the product alone."""
    counts = zipf_counts(CLASSES)
    rng = np.random.default_rng(8)
    x = rng.standard_normal((LEAF_ROWS, INPUTS), dtype=np.float32)
    tree, classes = fs.Tree.huffman(counts), fs.ClassSoftmax.from_frequencies(counts)
    weights, vectors = (drawn(rng, rows, INPUTS) for rows in (tree.num_weights, CLASSES))
    of_classes = drawn(rng, classes.num_classes, INPUTS)
    scores = np.empty((LEAF_ROWS, CLASSES), np.float32)
    calls: Calls = {
        PRODUCT: partial(np.matmul, x, vectors.T, out=scores),
        "Huffman tree": partial(fs.HierarchicalSoftmax(tree).log_prob, x, weights),
        "classes of words": partial(classes.log_prob, x, of_classes, vectors),
    }
    with threadpool_limits(threads):
        timings = timed(calls, 3 * seconds)
    print(f"\n| log_prob of all, {LEAF_ROWS} x {INPUTS} x {CLASSES} | ms | over {PRODUCT} |")
    print("|---|---:|---:|")
    found = []
    for name, timing in timings.items():
        over = ratio(timing, timings[PRODUCT])
        aim = LEAF_AIM if name == "Huffman tree" else None
        print(
            f"| {name} | {timing.median / 1e6:.1f} | {verdict(aim, over, less=True)} |", flush=True
        )
        found.append({"call": name, "ms": timing.median / 1e6, "over_product": over})
    return found


def print_build() -> None:
    """Build a tree; print seconds, and the bytes that the process held at its peak."""
    counts = zipf_counts(BUILD_CLASSES)
    start = time.perf_counter()
    fs.Tree.huffman(counts)
    print(time.perf_counter() - start, resident("VmHWM"))


def measure_build(_threads: int, _seconds: float) -> Report:
    """Print what building a large tree takes, in a process of its own."""
    script = [sys.executable, str(sys.modules["__main__"].__file__), "--build"]
    runs = [subprocess.run(script, check=True, capture_output=True, text=True) for _ in range(3)]
    taken: Any = [tuple(map(float, run.stdout.split())) for run in runs]
    seconds, peak = (float(np.median(values)) for values in zip(*taken, strict=True))
    print(
        f"\nHuffman tree of {BUILD_CLASSES} counts: "
        f"{verdict(BUILD_AIMS[0], seconds, less=True)} s, peak of the process with its counts "
        f"{verdict(BUILD_AIMS[1], peak / 1e9, less=True)} GB"
    )
    return {"seconds": seconds, "peak_bytes": peak}
