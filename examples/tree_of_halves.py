"""A tree of similar words for fs.HierarchicalSoftmax: halves of equal mass, again and again.

Run:  python examples/tree_of_halves.py
"""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np


def tree_of_halves(vectors: np.ndarray, masses: np.ndarray) -> fs.Tree:
    """Halve words, and halves, across the direction in which their vectors differ most.

    `vectors` has shape (V, D), `masses` (V,): how often each word occurs. After Mnih and Hinton, *A
    Scalable Hierarchical Distributed Language Model*, 2008.
    """
    words, generator = len(masses), np.random.default_rng(0)
    parents, node = np.full(2 * words - 1, -1), words
    waiting = [(np.arange(words), -1)]
    while waiting:
        ids, parent = waiting.pop()
        if len(ids) == 1:
            parents[ids[0]] = parent
            continue
        parents[node] = parent
        mass = masses[ids]
        centred = vectors[ids] - np.average(vectors[ids], axis=0, weights=mass)
        direction = generator.standard_normal(vectors.shape[1])
        for _ in range(10):  # of the power method
            direction = (mass * (centred @ direction)) @ centred
            direction /= np.linalg.norm(direction) + 1e-30
        ids = ids[np.argsort(centred @ direction, kind="stable")]
        below = np.cumsum(masses[ids])
        half = min(int(np.abs(below - below[-1] / 2).argmin()) + 1, len(ids) - 1)
        waiting += [(ids[:half], node), (ids[half:], node)]
        node += 1
    return fs.Tree.from_parents(parents)


if __name__ == "__main__":
    counts = 100_000 // np.arange(1, 1001)
    vectors = np.random.default_rng(1).standard_normal((1000, 16))
    tree = tree_of_halves(vectors, counts)
    print(f"{tree}, mean depth {np.average(tree.depth(np.arange(1000)), weights=counts):.1f}")
