"""Softmax over the leaves of a tree."""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex, overload

import numpy as np

from . import _core
from ._integers import unmasked
from ._results import TreeLoss, TreeLossBias, TreeTopK, TreeTopKVisited
from ._sparse_rows import SparseRows
from ._tree import Tree

_Reduction = Literal["mean", "sum", "none"]


def _with_shape(array: Any, name: str) -> Any:
    """`array` as something that has a shape and can be sliced."""
    tensor = hasattr(array, "shape") and not isinstance(array, np.ma.MaskedArray)
    return array if tensor else unmasked(array, name)


def _flat(rows: SparseRows) -> SparseRows:
    """Rows of one column as numbers."""
    return SparseRows(rows.ids, rows.values[:, 0], num_rows=rows.shape[0])


class HierarchicalSoftmax:
    """Softmax over classes that are leaves of a tree, as an output layer.

    The probability of a class is the product of the probabilities of the choices on the way from
    the root to its leaf, so that a loss and its gradient cost as much as the way is long.

    Parameters
    ----------
    tree : Tree
        In a binary tree each inner node n has a vector w_n, row n of `node_weights`, and a score
        ``z = x @ w_n + b_n``: the child of code 0 has probability ``sigmoid(z)``, that of code 1
        ``sigmoid(-z)``. In other trees a node's children share a softmax of their scores, and row
        i of `node_weights` belongs to id i of the tree; the root's is not used.

    Notes
    -----
    `x` has shape (N, D), `node_weights` (tree.num_weights, D), `node_bias` (tree.num_weights,).
    Types, strides and tensors are as for `softmax`; arithmetic is float64 where `x` or weights have
    that type or integers, else float32, and so are results. All methods raise ValueError for
    shapes that do not fit, IndexError for leaves that the tree does not have, TypeError for dtypes
    that are not supported.

    The result for a row depends on that row, the weights and the tree, and the gradient of the
    weights on the batch: the bits are the same for any instruction set and number of threads.
    No sigmoid is clipped or looked up; log-probabilities are sums, in double precision, of terms
    that are within 3 units in the last place of themselves, given the scores.

    References
    ----------
    .. [1] F. Morin and Y. Bengio, "Hierarchical Probabilistic Neural Network Language Model", 2005.
    .. [2] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
           Compositionality", 2013.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> layer = fs.HierarchicalSoftmax(fs.Tree.huffman([50, 20, 20, 10]))
    >>> x = np.ones((1, 2))
    >>> weights = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])
    >>> np.exp(layer.log_prob(x, weights)).round(3)
    array([[0.731, 0.134, 0.036, 0.098]])
    >>> layer.topk(x, weights, 2).indices
    array([[0, 1]])
    """

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree) -> None:
        if not isinstance(tree, Tree):
            raise TypeError(f"tree must be a Tree, not {type(tree).__name__}")
        self._tree = tree

    def __repr__(self) -> str:
        """Show the tree."""
        return f"HierarchicalSoftmax({self._tree!r})"

    @property
    def tree(self) -> Tree:
        """The tree."""
        return self._tree

    def _arrays(self, x: Any, node_weights: Any, node_bias: Any) -> tuple[Any, ...]:
        """Lay out arrays as the core takes them: of inner nodes, and of leaves."""
        weights = _with_shape(node_weights, "node_weights")
        rows = self._tree.num_weights
        if len(weights.shape) != 2 or weights.shape[0] != rows:
            raise ValueError(
                f"node_weights must have shape (tree.num_weights, D) with tree.num_weights = "
                f"{rows}, not {tuple(weights.shape)}"
            )
        bias = None if node_bias is None else _with_shape(node_bias, "node_bias")
        if bias is not None and tuple(bias.shape) != (rows,):
            raise ValueError(f"node_bias must have shape ({rows},), not {tuple(bias.shape)}")
        if self._tree.is_binary:
            return x, weights, bias, None, None
        leaves = self._tree.num_leaves
        if bias is None:
            return x, weights[leaves:], None, weights[:leaves], None
        return x, weights[leaves:], bias[leaves:], weights[:leaves], bias[:leaves]

    @overload
    def loss(
        self,
        x: Any,
        node_weights: Any,
        targets: Any,
        node_bias: None = None,
        *,
        reduction: _Reduction = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: Literal[True],
    ) -> TreeLoss: ...
    @overload
    def loss(
        self,
        x: Any,
        node_weights: Any,
        targets: Any,
        node_bias: Any = None,
        *,
        reduction: _Reduction = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: bool = False,
    ) -> Any: ...
    def loss(
        self,
        x: Any,
        node_weights: Any,
        targets: Any,
        node_bias: Any = None,
        *,
        reduction: _Reduction = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: bool = False,
    ) -> Any:
        """Cross-entropy of leaves, ``-log p(targets)``, and its gradients.

        Parameters
        ----------
        x : array_like of shape (N, D)
            Inputs of the layer.
        node_weights : array_like of shape (tree.num_weights, D)
            Vectors; see the class.
        targets : array_like of int, shape (N,)
            Leaves.
        node_bias : array_like of shape (tree.num_weights,), optional
            Added to the scores.
        reduction : {'mean', 'sum', 'none'}, default 'mean'
            The mean is that over rows that are not ignored; NaN over none.
        ignore_index : int, default -100
            Rows with this target have loss and gradient 0.
        grad_out : float or array_like, optional
            Gradient of what follows with respect to the loss: a number, or without reduction one
            for each row. Default 1.
        need_grad : bool, default False
            Whether gradients are wanted.

        Returns
        -------
        loss : float or array of shape (N,)
            Alone without gradients, else a `TreeLoss`:
        grad_x : array of shape (N, D)
            Gradient with respect to `x`.
        grad_weights : SparseRows
            That with respect to `node_weights`: of the vectors on the way to a target, and where
            the tree is not binary of their siblings.
        grad_bias : SparseRows
            That with respect to `node_bias`, where it is given (then in a `TreeLossBias`).
        """
        arrays = self._arrays(x, node_weights, node_bias)
        result = _core._tree_loss(
            self._tree._tree, arrays, targets, reduction, ignore_index, grad_out, need_grad
        )
        if not need_grad:
            return result[0]
        loss, grad_x, grad_weights, grad_bias = result
        if grad_bias is None:
            return TreeLoss(loss, grad_x, grad_weights)
        return TreeLossBias(loss, grad_x, grad_weights, _flat(grad_bias))

    def log_prob(self, x: Any, node_weights: Any, ids: Any = None, node_bias: Any = None) -> Any:
        """Log-probabilities of leaves.

        Parameters
        ----------
        x, node_weights, node_bias
            As for `loss`.
        ids : array_like of int, shape (N,) or (N, M), optional
            Leaves, one or several for each row. Default: all of them.

        Returns
        -------
        array of the shape of `ids`, or (N, tree.num_leaves)
            The exponentials of all leaves of a row add up to 1. A leaf's value has the same bits
            whether it is asked for alone or with others.
        """
        return _core._tree_log_prob(self._tree._tree, self._arrays(x, node_weights, node_bias), ids)

    @overload
    def topk(
        self,
        x: Any,
        node_weights: Any,
        k: SupportsIndex,
        node_bias: Any = None,
        *,
        min_log_prob: float = ...,
        beam: SupportsIndex | None = None,
        return_visited: Literal[False] = False,
    ) -> TreeTopK: ...
    @overload
    def topk(
        self,
        x: Any,
        node_weights: Any,
        k: SupportsIndex,
        node_bias: Any = None,
        *,
        min_log_prob: float = ...,
        beam: SupportsIndex | None = None,
        return_visited: Literal[True],
    ) -> TreeTopKVisited: ...
    def topk(
        self,
        x: Any,
        node_weights: Any,
        k: SupportsIndex,
        node_bias: Any = None,
        *,
        min_log_prob: float = -np.inf,
        beam: SupportsIndex | None = None,
        return_visited: bool = False,
    ) -> TreeTopK | TreeTopKVisited:
        """Find the `k` most probable leaves of each row, without looking at all of them.

        The search is best-first and exact: no leaf is more probable than a node above it, so the
        i-th leaf that comes up is the i-th best.

        Parameters
        ----------
        x, node_weights, node_bias
            As for `loss`.
        k : int
            From 0 to tree.num_leaves.
        min_log_prob : float, default -inf
            Leaves below it are left out.
        beam : int, optional
            Search level by level instead, and keep so many of the best nodes and leaves of each:
            faster where probabilities are flat, and not exact.
        return_visited : bool, default False
            Whether to tell how many inner nodes were looked at.

        Returns
        -------
        values : array of shape (N, k)
            Log-probabilities in descending order; -inf where there are fewer. Leaves below a NaN
            score are NaN, and come when the search comes to the node that has it.
        indices : array of int64 of shape (N, k)
            The leaves; equal ones in ascending order, -1 where there are fewer.
        visited : array of int64 of shape (N,)
            With `return_visited`.
        """
        arrays = self._arrays(x, node_weights, node_bias)
        found = _core._tree_topk(self._tree._tree, arrays, k, min_log_prob, beam)
        return TreeTopKVisited(*found) if return_visited else TreeTopK(*found[:2])

    def sample(
        self,
        x: Any,
        node_weights: Any,
        seed: Any = None,
        node_bias: Any = None,
        *,
        position: SupportsIndex = 0,
    ) -> Any:
        """Draw a leaf for each row, on a walk down from the root.

        Parameters
        ----------
        x, node_weights, node_bias
            As for `loss`.
        seed : int or numpy.random.Generator, optional
            Key of the random numbers. Default: a fresh one from the operating system.
        position : int, default 0
            Such as the step of a decoder; in [0, 2**32). The draw of row r depends on the row, the
            seed, the position and r.

        Returns
        -------
        array of int64 of shape (N,)
        """
        return _core._tree_sample(
            self._tree._tree, self._arrays(x, node_weights, node_bias), seed, position
        )
