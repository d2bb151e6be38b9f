#!/usr/bin/env python3
"""Perplexity of the example's model with different trees, classes, cutoffs and samples.

The model, its text and its training are those of examples/language_model.py, with the same seed for
all. About six minutes.

    python bench/layer_quality.py
"""

from __future__ import annotations

import contextlib
import io
import sys
from functools import partial
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

import sampled_layers
from corpus import Corpus, frequency
from language_model import Model, train
from output_layers import Adaptive, Classes, Full, Hierarchical
from tree_of_halves import tree_of_halves

WORDS, DIM, EPOCHS, BATCH, SEED = 10_000, 128, 2, 1024, 0
CUTOFFS = (((500, 3000), 4.0), ((1000, 4000), 4.0), ((1000, 4000), 2.0), ((2000,), 2.0))
SAMPLES = (64, 256, 512, 2048)


def learned(corpus: Corpus, layer: Any) -> tuple[Model, float]:
    """Train a model with the output layer that `layer` makes; give its perplexity, too."""
    model = Model(len(corpus.words), DIM, layer(DIM, corpus.counts, SEED), SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        history = train(model, corpus, EPOCHS, BATCH, SEED)
    return model, float(np.exp(history.reports[-1].validation))


def similar_classes(tree: fs.Tree, shares: np.ndarray, classes: int) -> fs.ClassSoftmax:
    """Cut the leaves, in the order of the tree, into classes of about equal mass."""
    order = np.empty(len(shares), np.int64)
    parents, codes, words = tree.parents(), tree.codes(), len(shares)
    below: dict[int, list[tuple[int, int]]] = {}
    for child, parent in enumerate(parents):
        below.setdefault(int(parent), []).append((int(codes[child]), child))
    pending, found = [below[-1][0][1]], 0
    while pending:
        node = pending.pop()
        if node < words:
            order[found] = node
            found += 1
        pending += [child for _, child in sorted(below.get(node, []), reverse=True)]
    mass_before = np.cumsum(shares[order]) - shares[order]
    labels = np.empty(words, np.int64)
    labels[order] = np.unique((mass_before * classes).astype(np.int64), return_inverse=True)[1]
    return fs.ClassSoftmax(labels)


def print_trees(corpus: Corpus) -> None:
    """Print what trees and classes come to."""
    shares = frequency(corpus.counts)
    by_rank = np.argsort(np.argsort(-corpus.counts, kind="stable"))
    at_random = np.random.default_rng(1).standard_normal((len(shares), 1))
    print("| tree, or classes | mean depth, or scores | perplexity |\n|---|---:|---:|")

    def row(name: str, tree: fs.Tree) -> Model:
        depth = np.average(tree.depth(np.arange(len(shares))), weights=shares)
        model, perplexity = learned(corpus, partial(Hierarchical, tree=tree))
        print(f"| {name} | {depth:.1f} | {perplexity:.1f} |", flush=True)
        return model

    model = row("Huffman", fs.Tree.huffman(corpus.counts))
    balanced = fs.Tree.balanced(len(shares))
    ids = np.concatenate([by_rank, np.arange(balanced.num_nodes) + len(shares)])
    parents, codes = balanced.parents()[ids], balanced.codes()[ids]
    row(
        "`Tree.balanced`, words in the order of their frequency",
        fs.Tree.from_parents(parents, codes),
    )
    row("halves of equal mass, at random", tree_of_halves(at_random, shares))
    similar = tree_of_halves(model.embedding.value, shares)
    model = row("halves of equal mass, of similar words", similar)
    again = tree_of_halves(model.embedding.value, shares)
    row("likewise, by the embeddings learned with the tree before", again)
    of_frequency = fs.ClassSoftmax.from_frequencies(corpus.counts)
    of_similar = similar_classes(again, shares, of_frequency.num_classes)
    for name, layer in {
        "classes of equal frequency (`from_frequencies`)": of_frequency,
        "classes of similar words, about as many": of_similar,
    }.items():
        scores = layer.num_classes + shares @ np.bincount(layer.class_of)[layer.class_of]
        _, perplexity = learned(corpus, partial(Classes, layer=layer))
        print(f"| {name} | {scores:.0f} | {perplexity:.1f} |", flush=True)


def print_cutoffs(corpus: Corpus) -> None:
    """Print what cutoffs come to."""
    fastest = fs.AdaptiveSoftmax.from_counts(np.sort(corpus.counts)[::-1], DIM, clusters=2)
    print(f"\n| cutoffs of {WORDS} words | numbers in the layer | perplexity |\n|---|---:|---:|")
    for cutoffs, div_value in ((fastest.cutoffs, 4.0), *CUTOFFS):
        layer = partial(Adaptive, cutoffs=cutoffs, div_value=div_value)
        model, perplexity = learned(corpus, layer)
        numbers = sum(value.size for value in model.output.values)
        name = f"{tuple(cutoffs)}" + (f", `div_value={div_value:g}`" if div_value != 4 else "")
        print(f"| {name} | {numbers} | {perplexity:.1f} |", flush=True)
    model, perplexity = learned(corpus, Full)
    print(f"| full | {sum(value.size for value in model.output.values)} | {perplexity:.1f} |")


def print_samples(corpus: Corpus) -> None:
    """Print what samples of different sizes come to."""
    print(f"\n| words drawn for {BATCH} | " + " | ".join(map(str, SAMPLES)) + " |")
    print("|---|" + "---:|" * len(SAMPLES))
    for name in ("sampled", "nce", "augment_reduce"):
        print(f"| {name}", end="", flush=True)
        for sampled_layers.WORDS in SAMPLES:
            _, perplexity = learned(corpus, sampled_layers.SAMPLED[name])
            print(f" | {perplexity:.1f}", end="", flush=True)
        print(" |")


if __name__ == "__main__":
    CORPUS = Corpus.read(WORDS)
    print_trees(CORPUS)
    print_cutoffs(CORPUS)
    print_samples(CORPUS)
