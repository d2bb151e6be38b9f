"""Trees: construction, structure, errors. Files are in test_tree_files.py."""

from __future__ import annotations

import copy
import functools
import heapq
import pickle
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest


def tree_by_heap(counts):
    """Huffman's algorithm as it is taught: the depth of each class."""
    heap = [(count, i, [i]) for i, count in enumerate(counts)]
    heapq.heapify(heap)
    depths = [0] * len(counts)
    while len(heap) > 1:
        (a, i, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for leaf in left + right:
            depths[leaf] += 1
        heapq.heappush(heap, (a + b, i, left + right))
    return depths


def entropy(counts):
    p = np.asarray(counts, np.float64) / np.sum(counts, dtype=np.float64)
    return -(p[p > 0] * np.log2(p[p > 0])).sum()


def path_of(tree, leaf):
    """Nodes and codes by walking up parents()."""
    parents, codes, steps = tree.parents(), tree.codes(), []
    while parents[leaf] >= 0:
        steps.append((int(parents[leaf]) - tree.num_leaves, int(codes[leaf])))
        leaf = int(parents[leaf])
    return steps[::-1]


@pytest.fixture
def trees():
    """One of each kind and origin."""
    return {
        "huffman": fs.Tree.huffman([3, 0, 9, 1, 1, 4]),
        "balanced": fs.Tree.balanced(6),
        "binary": fs.Tree.from_parents([4, 4, 3, -1, 3]),
        "swapped": fs.Tree.from_paths([[1], [1, 0], [1, 0]], [[1], [0, 1], [0, 0]]),
        "softmax": fs.Tree.from_parents([4, 4, 4, 5, -1, 4]),
        "clusters": fs.Tree.from_clusters([0, 2, 1, 1, 0]),
        "one leaf": fs.Tree.balanced(1),
        "one leaf, softmax": fs.Tree.from_parents([-1], binary=False),
    }


@pytest.mark.parametrize("scale", [1, 2**40])
def test_huffman_is_optimal_and_near_the_entropy(rng, scale):
    for leaves in [*range(1, 40), 100, 255, 300]:
        counts = rng.zipf(1.3, leaves) % 1000 * (rng.random(leaves) < 0.8) * scale
        tree = fs.Tree.huffman(counts)
        cost = int(counts @ tree.depth(np.arange(leaves)))
        assert cost == int(counts @ np.array(tree_by_heap(counts.tolist())))
        if counts.any():
            mean = cost / counts.sum()
            assert entropy(counts) - 1e-9 <= mean <= entropy(counts) + 1 + 1e-9


@functools.cache
def least_depth(nodes):
    """The smallest greatest depth that Huffman's algorithm can give, whichever of equals it takes.

    `nodes` are sorted pairs of count and depth below.
    """
    if len(nodes) == 1:
        return nodes[0][1]
    second = nodes[1][0]
    smallest = {nodes[0]} if nodes[0][0] < second else {n for n in nodes if n[0] == second}
    found = []
    for a in smallest:
        rest = list(nodes)
        rest.remove(a)
        for b in {n for n in rest if n[0] == second}:
            others = rest.copy()
            others.remove(b)
            merged = (a[0] + b[0], max(a[1], b[1]) + 1)
            found.append(least_depth(tuple(sorted([*others, merged]))))
    return min(found)


def test_huffman_has_the_smallest_greatest_depth(rng):
    for _ in range(200):
        counts = rng.integers(1, 6, rng.integers(1, 10)).tolist()
        nodes = tuple(sorted((count, 0) for count in counts))
        assert fs.Tree.huffman(counts).max_depth == least_depth(nodes)


def test_descending_counts_keep_the_order_of_leaves():
    tree = fs.Tree.huffman(10**9 // np.arange(1, 5001))
    depths = tree.depth(np.arange(5000))
    assert (np.diff(depths) >= 0).all()
    codes = ["".join(str(code) for _, code in path_of(tree, leaf)) for leaf in range(0, 5000, 37)]
    assert codes == sorted(codes)


def test_properties(trees):
    shapes = {
        name: (t.num_leaves, t.num_nodes, t.num_weights, t.is_binary, t.max_depth)
        for name, t in trees.items()
    }
    assert shapes == {
        "huffman": (6, 5, 5, True, 5),
        "balanced": (6, 5, 5, True, 3),
        "binary": (3, 2, 2, True, 2),
        "swapped": (3, 2, 2, True, 2),
        "softmax": (4, 2, 6, False, 2),
        "clusters": (5, 4, 9, False, 2),
        "one leaf": (1, 0, 0, True, 0),
        "one leaf, softmax": (1, 0, 1, False, 0),
    }
    assert repr(trees["softmax"]) == (
        "Tree(num_leaves=4, num_nodes=2, is_binary=False, max_depth=2)"
    )


def test_paths_parents_codes_and_depths_agree(trees):
    for tree in trees.values():
        nodes, codes, offsets = paths = tree.paths()
        assert isinstance(paths, fs.Paths)
        assert {array.dtype for array in paths} == {np.dtype(np.int64)}
        for leaf in range(tree.num_leaves):
            here = slice(offsets[leaf], offsets[leaf + 1])
            steps = list(zip(nodes[here].tolist(), codes[here].tolist(), strict=True))
            assert steps == path_of(tree, leaf)
            assert tree.depth(leaf) == len(steps)
        assert offsets.size == tree.num_leaves + 1
        again = fs.Tree.from_parents(tree.parents(), tree.codes(), binary=tree.is_binary)
        assert again == tree


def test_paths_in_every_form(rng):
    tree = fs.Tree.huffman(rng.integers(0, 100, 50))
    nodes, codes, offsets = tree.paths()
    cuts = offsets[1:-1]
    split = np.split(nodes, cuts), np.split(codes, cuts)
    padded = tuple(np.full((50, tree.max_depth + 2), -1) for _ in range(2))
    for leaf in range(50):
        for array, parts in zip(padded, split, strict=True):
            array[leaf, : parts[leaf].size] = parts[leaf]
    lists = tuple([part.tolist() for part in parts] for parts in split)
    for form in (split, padded, lists, tuple(array.tolist() for array in padded)):
        assert fs.Tree.from_paths(*form) == tree
    assert fs.Tree.from_paths(*tree.paths()) == tree
    assert fs.Tree.from_paths(*(array.astype(np.uint16) for array in tree.paths())) == tree
    single = fs.Tree.balanced(1)
    assert fs.Tree.from_paths([[]], [[]]) == single
    assert fs.Tree.from_paths(*single.paths()) == single


def test_paths_of_word2vec(rng):
    """Its construction of `point` and `code`: inner nodes are numbered as they are made."""
    counts = sorted(rng.integers(1, 1000, 30).tolist(), reverse=True)
    heap = [(count, i, None) for i, count in enumerate(counts)]
    heapq.heapify(heap)
    for made in range(len(counts), 2 * len(counts) - 1):
        a, b = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, (a[0] + b[0], made, (a, b)))
    point, code = {}, {}
    open_nodes = [(heap[0], [], [])]
    while open_nodes:
        (_, i, children), nodes, codes = open_nodes.pop()
        if children is None:
            point[i], code[i] = np.array(nodes, np.uint32), np.array(codes, np.uint8)
            continue
        nodes = [*nodes, i - len(counts)]
        open_nodes += [(child, nodes, [*codes, bit]) for bit, child in enumerate(children)]
    tree = fs.Tree.from_paths(
        [point[i] for i in range(len(counts))], [code[i] for i in range(len(counts))]
    )
    assert tree.num_nodes == 29
    assert path_of(tree, 7) == list(zip(point[7].tolist(), code[7].tolist(), strict=True))
    assert np.array(counts) @ tree.depth(range(30)) == np.array(counts) @ tree_by_heap(counts)


def test_depth(trees):
    tree = trees["huffman"]
    assert tree.depth(2) == 1
    assert type(tree.depth(np.int32(2))) is int
    assert type(tree.depth(np.array(2))) is int
    assert tree.depth([[2, 0], [1, 2]]).tolist() == [[1, 3], [5, 1]]
    assert tree.depth([]).shape == (0,)
    for leaf in (6, -1, [0, 6], 2**63 - 1):
        with pytest.raises(IndexError, match="out of bounds for a tree of 6 leaves"):
            tree.depth(leaf)
    with pytest.raises(TypeError, match="leaf must be integers, not float64"):
        tree.depth(0.0)


def test_deep_trees_without_recursion():
    leaves = 10**6
    parents = np.concatenate([leaves + np.arange(leaves - 1), [2 * leaves - 2], [-1]])
    parents = np.concatenate([parents, leaves + np.arange(leaves - 2)])
    tree = fs.Tree.from_parents(parents)
    assert tree.is_binary
    assert tree.max_depth == tree.depth(leaves - 1) == leaves - 1
    assert tree.depth(np.arange(leaves - 1)).tolist() == list(range(1, leaves))
    assert (tree.parents() == parents).all()
    assert pickle.loads(pickle.dumps(tree)) == tree
    ascending = [1, 1]
    while len(ascending) < 80:
        ascending.append(ascending[-1] + ascending[-2])
    fibonacci = fs.Tree.huffman(ascending)
    assert fibonacci.max_depth == 79
    assert fs.Tree.from_paths(*fibonacci.paths()) == fibonacci


def test_trees_are_values(trees):
    names = list(trees)
    for name in names:
        tree = trees[name]
        for same in (
            pickle.loads(pickle.dumps(tree)),
            copy.copy(tree),
            copy.deepcopy(tree),
            fs.Tree.from_parents(tree.parents(), tree.codes(), binary=tree.is_binary),
        ):
            assert same == tree
            assert hash(same) == hash(tree)
        assert [trees[other] == tree for other in names] == [other == name for other in names]
        assert tree != 1
        with pytest.raises(AttributeError):
            tree.num_leaves = 3
        with pytest.raises(AttributeError):
            tree.something = 3
        for array in (*tree.paths(), tree.parents(), tree.codes()):
            array[...] = 77  # a copy
        assert pickle.loads(pickle.dumps(tree)) == tree
    with pytest.raises(TypeError, match="made by Tree"):
        fs.Tree()


@pytest.mark.parametrize(
    ("counts", "error", "words"),
    [
        ([], ValueError, "at least one leaf"),
        ([1, -1], ValueError, "not be negative, but count 1 is -1"),
        ([2**62, 2**62], ValueError, r"the sum of counts must be below 2\^63"),
        (np.array([2**63], np.uint64), ValueError, r"counts must be below 2\*\*63, got 92233"),
        ([2**64], ValueError, "64 bits"),
        ([0.5], TypeError, "counts must be integers, not float64"),
        ([True], TypeError, "counts must be integers, not bool"),
        (["a"], TypeError, "counts must be integers"),
        ([[1, 2]], ValueError, r"1 dimension, not shape \(1, 2\)"),
        (3, ValueError, r"1 dimension, not shape \(\)"),
        (np.ma.array([1]), TypeError, "MaskedArray"),
    ],
)
def test_counts_that_are_refused(counts, error, words):
    with pytest.raises(error, match=words):
        fs.Tree.huffman(counts)


@pytest.mark.parametrize(
    ("leaves", "error", "words"),
    [
        (0, ValueError, "at least one leaf"),
        (-3, ValueError, "at least one leaf"),
        (2**70, ValueError, r"at most 2\^30 leaves"),
        (3.0, TypeError, "num_leaves"),
        (True, TypeError, "num_leaves"),
    ],
)
def test_sizes_that_are_refused(leaves, error, words):
    with pytest.raises(error, match=words):
        fs.Tree.balanced(leaves)


@pytest.mark.parametrize(
    ("parents", "options", "words"),
    [
        ([], {}, "at least one leaf"),
        ([1], {}, "parent of id 0 is 1, which is none of the 1 ids"),
        ([1, -2], {}, "parent of id 1 is -2"),
        ([1, 1], {}, "id 1 is on a cycle: parents lead from it back to it"),
        ([4, 4, 3, 2, -1], {}, "id 2 is on a cycle"),
        ([3, 3, -1, -1], {}, "ids 2 and 3 both have no parent"),
        ([-1, 2, -1], {}, "ids 0 and 2 both have no parent"),
        ([1, 0, 3, -1], {}, "id 0 is on a cycle"),
        ([-1, 0, 0], {}, "leaves must be the first ids, but id 1 is a leaf and id 0 is not"),
        ([1, -1], {"binary": True}, "have two children, but id 1 has 1"),
        ([3, 3, 3, -1], {"binary": True}, "have two children, but id 3 has 3"),
        ([2, 2, -1], {"codes": [0, 0, -1]}, "ids 0 and 1 both have code 0 below id 2"),
        ([2, 2, -1], {"codes": [0, 2, -1]}, "code of id 1 is 2, but its parent, id 2, has 2"),
        ([2, 2, -1], {"codes": [0, -1, -1]}, "code of id 1 is -1"),
        ([2, 2, -1], {"codes": [0, 1]}, "3 parents, but 2 codes"),
        ([2, 2, -1], {"codes": []}, "3 parents, but 0 codes"),
    ],
)
def test_parents_that_make_no_tree(parents, options, words):
    with pytest.raises(ValueError, match=words):
        fs.Tree.from_parents(parents, **options)


@pytest.mark.parametrize(
    ("nodes", "codes", "words"),
    [
        ([], [], "at least one leaf"),
        ([[0], [0]], [[0]], "nodes of 2 leaves, but codes of 1"),
        ([[0], [0, 0]], [[0], [1]], "path of leaf 1 has 2 nodes, but 1 codes"),
        ([[0], [0]], [[0], [2]], "path of leaf 1 takes code 2 at node 0; codes are 0 and 1"),
        ([[0], [5]], [[0], [1]], "path of leaf 1 passes node 5, which is out of range"),
        ([[0], [0]], [[0], [0]], "leaves 0 and 1 have the same path"),
        ([[0], [0, 1], [0, 1]], [[0], [0, 0], [1, 0]], "leaf 0 is the beginning of that of leaf 1"),
        ([[0, 1], [0]], [[0, 0], [0]], "path of leaf 1 is the beginning of that of leaf 0"),
        ([[0, 1], [0, 1], [0, 1]], [[0, 0], [0, 1], [1, 0]], "node 1 is reached in two ways"),
        ([[0, 0], [0]], [[0, 1], [1]], "node 0 is reached in two ways: as the root"),
        (
            [[0, 1], [0, 2]],
            [[0, 0], [0, 1]],
            "leads to node 1, but on the path of leaf 1 to node 2",
        ),
        ([[0, 1], [0]], [[0, 0], [1]], "no path takes code 1 at node 1"),
        ([[0], []], [[0], []], "leaf 1 has no path"),
        ([[0], [1]], [[0], [1]], "leaf 1 begins at node 1, but that of leaf 0 at node 0"),
        ([[1], [1]], [[0], [1]], "no path passes node 0, but one passes node 1"),
        ([[0, -1, 0], [0, -1, -1]], [[0, -1, 0], [1, -1, -1]], "leaf 0 has a -1 before its end"),
        ([[0, -1], [0, -1]], [[0, -1], [1, 0]], "leaf 1 has more codes than nodes"),
        (np.zeros(3, int), np.zeros(3, int), "2 dimensions or come with offsets"),
        ([[0], [[0]]], [[0], [1]], r"nodes\[1\] must have 1 dimension"),
    ],
)
def test_paths_that_make_no_tree(nodes, codes, words):
    with pytest.raises(ValueError, match=words):
        fs.Tree.from_paths(nodes, codes)


@pytest.mark.parametrize("offsets", [[0, 1], [1, 2], [0, 2, 1, 2], [0, 1, 3], [-1, 1, 2]])
def test_offsets_that_are_refused(offsets):
    with pytest.raises(ValueError, match="ascend from 0 to the number of nodes, 2"):
        fs.Tree.from_paths([0, 0], [0, 1], offsets)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "at least one leaf"),
        ([0, 2], "cluster 1 has no leaf, but cluster 2 has"),
        ([1, 1], "cluster 0 has no leaf"),
        ([0, -1], "label of leaf 1 is -1"),
        ([0, 2**62], "cluster 1 has no leaf, but cluster 4611686018427387904 has"),
    ],
)
def test_labels_that_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        fs.Tree.from_clusters(labels)


def test_nodes_with_one_child():
    tree = fs.Tree.from_parents([2, -1, 1])
    assert (tree.num_leaves, tree.max_depth, tree.is_binary) == (1, 2, False)


def test_clusters_are_in_the_order_of_labels():
    tree = fs.Tree.from_clusters([1, 0, 1])
    assert tree.parents().tolist() == [4, 3, 4, 5, 5, -1]
    assert tree.codes().tolist() == [0, 0, 1, 0, 1, -1]
    assert fs.Tree.from_clusters([0]).num_weights == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_huffman():
    """A gigabyte for 10 million counts would be 100 bytes for each."""
    code = """
import fastsoftmax as fs, numpy as np

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) << 10

counts = np.random.default_rng(1).permutation(10**11 // np.arange(1, 2 * 10**6 + 1))
before = peak()
tree = fs.Tree.huffman(counts)
print((peak() - before) / counts.size)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 40 < float(done.stdout) < 70
