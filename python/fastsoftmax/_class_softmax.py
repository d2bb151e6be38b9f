"""Softmax in two levels: over classes of words, and over the words of a class."""

from __future__ import annotations

from operator import index
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._hierarchical_softmax import _flat, _Reduction, _with_shape
from ._integers import list_of_integers
from ._results import ClassLoss, TreeTopK
from ._sparse_rows import SparseRows
from ._tree import Tree


class ClassSoftmax:
    """Softmax over words that are grouped into classes, as an output layer.

    ``p(word) = p(class of the word) * p(word | its class)``, a softmax over the classes times one
    over the words of a class, so that a loss costs as much as there are classes and words in one
    of them: about twice the square root of the vocabulary instead of all of it.

    Parameters
    ----------
    class_of : array_like of int, shape (V,)
        The class of each word, 0 to C - 1, none of them empty. See `from_frequencies`.

    Raises
    ------
    ValueError, TypeError
        For labels that are no classes.

    Notes
    -----
    `x` has shape (N, D), `class_weights` (C, D), `weights` (V, D): the vector of each class and of
    each word. `class_bias` (C,) and `bias` (V,) are given together or not at all. What is said of
    types, errors and bits of `HierarchicalSoftmax`, which this is a tree of two levels of, holds
    here.

    References
    ----------
    .. [1] J. Goodman, "Classes for Fast Maximum Entropy Training", 2001.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> layer = fs.ClassSoftmax.from_frequencies([60, 20, 10, 5, 5])
    >>> layer.class_of
    array([0, 0, 1, 1, 1])
    >>> layer.log_prob(np.ones((1, 2)), np.zeros((2, 2)), np.zeros((5, 2))).round(2)
    array([[-1.39, -1.39, -1.79, -1.79, -1.79]])
    """

    __slots__ = ("_class_of", "_tree")
    _class_of: NDArray[np.int64]

    def __init__(self, class_of: Any) -> None:
        labels = list_of_integers(class_of, "class_of").copy()
        labels.flags.writeable = False
        self._tree = Tree.from_clusters(labels)
        self._class_of = labels

    @classmethod
    def from_frequencies(cls, counts: Any, classes: SupportsIndex | None = None) -> ClassSoftmax:
        """Form classes of words of similar frequency that make a loss cost least.

        Parameters
        ----------
        counts : array_like of int, shape (V,)
            How often each word occurs, in any order. 0 counts as 1.
        classes : int, optional
            About how many classes. Default: as many as make a loss cost least.

        Returns
        -------
        ClassSoftmax
            Its class 0 has the most frequent words.

        Raises
        ------
        ValueError, TypeError
            For counts that are no counts, and `classes` outside [1, V].

        Notes
        -----
        With n(r) words in the class of the word of rank r, of probability p(r), a loss costs
        ``sum_r p(r) n(r)`` products with words and ``sum_r 1 / n(r)`` with classes; the sum is
        least where ``n(r) = 1 / sqrt(p(r))``. So each class gets the same share of
        ``sum_r sqrt(p(r))``, which is also the best number of classes.
        """
        words = list_of_integers(counts, "counts")
        if classes is not None and not 1 <= index(classes) <= words.size:
            raise ValueError(f"classes must be in [1, {words.size}], got {classes}")
        return cls(_core._frequency_classes(words, 0 if classes is None else classes))

    def __repr__(self) -> str:
        """Show how many words and classes there are."""
        return f"ClassSoftmax(words={self._class_of.size}, classes={self.num_classes})"

    @property
    def class_of(self) -> NDArray[np.int64]:
        """The class of each word; read-only."""
        return self._class_of

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self._tree.num_nodes - 1

    @property
    def tree(self) -> Tree:
        """The tree of two levels; its inner nodes are the classes, and the root behind them."""
        return self._tree

    def _arrays(
        self, x: Any, class_weights: Any, weights: Any, class_bias: Any, bias: Any
    ) -> tuple[Any, ...]:
        rows = (self.num_classes, self._class_of.size)
        names = ("class_weights", "weights")
        matrices = tuple(map(_with_shape, (class_weights, weights), names))
        for count, name, matrix in zip(rows, names, matrices, strict=True):
            if len(matrix.shape) != 2 or matrix.shape[0] != count:
                raise ValueError(f"{name} must have shape ({count}, D), not {tuple(matrix.shape)}")
        if (class_bias is None) != (bias is None):
            raise ValueError("class_bias and bias are given together or not at all")
        if bias is None:
            return x, matrices[0], None, matrices[1], None
        names = ("class_bias", "bias")
        vectors = tuple(map(_with_shape, (class_bias, bias), names))
        for count, name, vector in zip(rows, names, vectors, strict=True):
            if tuple(vector.shape) != (count,):
                raise ValueError(f"{name} must have shape ({count},), not {tuple(vector.shape)}")
        return x, matrices[0], vectors[0], matrices[1], vectors[1]

    def loss(
        self,
        x: Any,
        class_weights: Any,
        weights: Any,
        targets: Any,
        class_bias: Any = None,
        bias: Any = None,
        *,
        reduction: _Reduction = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: bool = False,
    ) -> Any:
        """Cross-entropy of words, ``-log p(targets)``, and its gradients.

        Parameters
        ----------
        x : array_like of shape (N, D)
            Inputs of the layer.
        class_weights : array_like of shape (C, D)
            Vectors of the classes.
        weights : array_like of shape (V, D)
            Vectors of the words.
        targets : array_like of int, shape (N,)
            Words.
        class_bias : array_like of shape (C,), optional
            Added to the scores of classes.
        bias : array_like of shape (V,), optional
            Added to the scores of words.
        reduction, ignore_index, grad_out, need_grad
            As for `HierarchicalSoftmax.loss`.

        Returns
        -------
        loss : float or array of shape (N,)
            Alone without gradients, else a `ClassLoss`: loss, grad_x, grad_class_weights,
            grad_weights, grad_class_bias and grad_bias. Gradients of weights and biases are
            `SparseRows`: of words those in the classes of some target; of biases None without
            biases.
        """
        arrays = self._arrays(x, class_weights, weights, class_bias, bias)
        result = _core._tree_loss(
            self._tree._tree, arrays, targets, reduction, ignore_index, grad_out, need_grad
        )
        if not need_grad:
            return result[0]
        loss, grad_x, of_weights, of_bias = result
        of_words, of_classes = self._split(of_weights)
        if of_bias is None:
            return ClassLoss(loss, grad_x, of_classes, of_words, None, None)
        of_word_bias, of_class_bias = self._split(_flat(of_bias))
        return ClassLoss(loss, grad_x, of_classes, of_words, of_class_bias, of_word_bias)

    def _split(self, rows: SparseRows) -> tuple[SparseRows, SparseRows]:
        """Rows of words and of classes."""
        words = self._class_of.size
        first = int(np.searchsorted(rows.ids, words))
        return (
            SparseRows(rows.ids[:first], rows.values[:first], num_rows=words),
            SparseRows(rows.ids[first:] - words, rows.values[first:], num_rows=self.num_classes),
        )

    def log_prob(
        self,
        x: Any,
        class_weights: Any,
        weights: Any,
        ids: Any = None,
        class_bias: Any = None,
        bias: Any = None,
    ) -> Any:
        """Log-probabilities of words: `ids` of shape (N,) or (N, M), by default all, (N, V)."""
        arrays = self._arrays(x, class_weights, weights, class_bias, bias)
        return _core._tree_log_prob(self._tree._tree, arrays, ids)

    def topk(
        self,
        x: Any,
        class_weights: Any,
        weights: Any,
        k: SupportsIndex,
        class_bias: Any = None,
        bias: Any = None,
        *,
        min_log_prob: float = -np.inf,
    ) -> TreeTopK:
        """Find the `k` most probable words of each row.

        Exact: words of a class are looked at where the class is more probable than the k-th best
        word so far. Returns values, log-probabilities in descending order, and indices, both
        (N, k); -inf and -1 where fewer words reach `min_log_prob`.
        """
        arrays = self._arrays(x, class_weights, weights, class_bias, bias)
        return TreeTopK(*_core._tree_topk(self._tree._tree, arrays, k, min_log_prob, None)[:2])

    def sample(
        self,
        x: Any,
        class_weights: Any,
        weights: Any,
        seed: Any = None,
        class_bias: Any = None,
        bias: Any = None,
        *,
        position: SupportsIndex = 0,
    ) -> Any:
        """Draw a word for each row, a class and then one of its words.

        Arguments and result as for `HierarchicalSoftmax.sample`.
        """
        arrays = self._arrays(x, class_weights, weights, class_bias, bias)
        return _core._tree_sample(self._tree._tree, arrays, seed, position)
