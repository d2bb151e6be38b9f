"""Layers of trees by their definition in float64, and trees to try them on."""

from __future__ import annotations

from typing import Any

import fastsoftmax as fs
import numpy as np


def chain(nodes: int) -> fs.Tree:
    """A binary tree whose inner nodes have a leaf and the next node."""
    ids = np.arange(nodes)
    parents = np.concatenate([nodes + 1 + ids, [2 * nodes], [-1], nodes + 1 + ids[:-1]])
    return fs.Tree.from_parents(parents)


def random_tree(seed: int, nodes: int, least: int, most: int) -> fs.Tree:
    """Inner nodes with between `least` and `most` children, leaves and nodes in any order."""
    rng = np.random.default_rng(seed)
    open_places: list[int] = []
    parents_of_nodes = [-1]
    for node in range(nodes):
        if node:
            parents_of_nodes.append(open_places.pop(rng.integers(len(open_places))))
        open_places += [node] * int(rng.integers(least, most + 1))
    leaves = len(open_places)
    of_leaves = rng.permutation(open_places) + leaves
    return fs.Tree.from_parents(
        [*of_leaves, *(p + leaves if p >= 0 else p for p in parents_of_nodes)]
    )


def trees() -> dict[str, fs.Tree]:
    rng = np.random.default_rng(1)
    return {
        "one leaf": fs.Tree.balanced(1),
        "two leaves": fs.Tree.balanced(2),
        "balanced": fs.Tree.balanced(37),
        "huffman": fs.Tree.huffman(rng.zipf(1.3, 120) % 10**6),
        "chain": chain(70),
        "random binary": random_tree(2, 150, 2, 2),
        "clusters": fs.Tree.from_clusters(rng.permutation(np.arange(90) % 7)),
        "one to five children": random_tree(3, 50, 1, 5),
        "one child or many": random_tree(4, 9, 1, 30),
        "not binary": fs.Tree.from_parents(fs.Tree.balanced(9).parents(), binary=False),
        "a node and its leaf": fs.Tree.from_parents([1, -1]),
    }


TREES = trees()


def layer_of(rng, tree, rows, columns, dtype=np.float64, scale=0.7):
    x = rng.normal(size=(rows, columns)).astype(dtype)
    w = (scale * rng.normal(size=(tree.num_weights, columns))).astype(dtype)
    b = rng.normal(size=tree.num_weights).astype(dtype)
    return x, w, b


class Reference:
    """Log-probabilities of all leaves as a function of torch tensors."""

    def __init__(self, tree: fs.Tree, torch: Any) -> None:
        self.tree = tree
        self.torch = torch
        self.parents = np.asarray(tree.parents())
        self.codes = np.asarray(tree.codes())

    def log_prob(self, x: Any, w: Any, b: Any) -> Any:
        torch, leaves = self.torch, self.tree.num_leaves
        z = x @ w.T + b
        of: dict[int, Any] = {}
        root = int(np.flatnonzero(self.parents < 0)[0])
        of[root] = 0 * z.sum(1)
        children: dict[int, list[int]] = {}
        for id_ in np.argsort(self.codes, kind="stable"):
            if self.parents[id_] >= 0:
                children.setdefault(int(self.parents[id_]), []).append(int(id_))
        pending = [root]
        while pending:
            node = pending.pop()
            below = children.get(node, [])
            if not below:
                continue
            if self.tree.is_binary:
                score = z[:, node - leaves]
                steps = [
                    torch.nn.functional.logsigmoid(score),
                    torch.nn.functional.logsigmoid(-score),
                ]
            else:
                steps = list(torch.log_softmax(z[:, below], 1).T)
            for child, step in zip(below, steps, strict=True):
                of[child] = of[node] + step
                pending.append(child)
        return torch.stack([of[leaf] for leaf in range(leaves)], 1)

    def loss(self, x, w, b, targets, reduction, ignore_index=-100, grad_out=1.0):
        """Loss and gradients with respect to x, w and b."""
        torch = self.torch
        tensors = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in (x, w, b)]
        kept = np.flatnonzero(np.asarray(targets) != ignore_index)
        log_p = self.log_prob(*tensors)
        losses = torch.zeros(len(targets), dtype=torch.float64)
        losses[kept] = -log_p[kept, np.asarray(targets)[kept]]
        loss = losses
        if reduction != "none":
            loss = losses.sum() / (len(kept) if reduction == "mean" else 1)
        (loss * torch.as_tensor(grad_out, dtype=torch.float64)).sum().backward()
        return loss.detach().numpy(), *(t.grad.numpy() for t in tensors)
