"""Adaptive softmax: an output layer whose rare classes share small clusters."""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex, overload

from ._adaptive_layout import AdaptiveLayout
from ._core import _adaptive_log_prob, _adaptive_loss, _adaptive_sample, _adaptive_topk
from ._results import AdaptiveLoss, AdaptiveWeights, TopK


class AdaptiveSoftmax(AdaptiveLayout):
    """An output layer over many classes, sorted by how frequent they are.

    The head has a score for each of the ``cutoffs[0]`` first classes and for each cluster of the
    others. Cluster i holds the classes from ``cutoffs[i]`` to ``cutoffs[i + 1] - 1``, the last one
    all that are left, and has ``in_features // div_value**(i + 1)`` inputs of its own. With
    ``z = x @ head.T + head_bias``::

        log p(c) = log_softmax(z)[c]                                                # c < cutoffs[0]
        log p(c) = log_softmax(z)[cutoffs[0] + i]
                 + log_softmax(x @ projections[i].T @ tails[i].T)[c - cutoffs[i]]   # in cluster i

    so a batch pays for a cluster only with the rows whose targets are in it. An object is these
    numbers alone; weights are passed to each call.

    Parameters
    ----------
    cutoffs : sequence of int
        Where the head and all clusters but the last end: positive and ascending, one for each
        cluster. The number of classes is not among them; weights say it.
    div_value : float, default 4.0
        At least 1.
    head_bias : bool, default False
        Whether the head has a bias.

    Raises
    ------
    ValueError
        For cutoffs that are none, not positive or do not ascend, and a `div_value` below 1.
    TypeError
        For cutoffs that are not integers.

    Notes
    -----
    Weights are an `AdaptiveWeights`, ``(head, projections, tails, head_bias)``, of arrays or
    tensors; see `shapes`. Those of a `torch.nn.AdaptiveLogSoftmaxWithLoss` with the same cutoffs
    and `div_value` are::

        state = module.state_dict()
        clusters = range(len(module.cutoffs) - 1)
        fs.AdaptiveWeights(
            state["head.weight"],
            [state[f"tail.{i}.0.weight"] for i in clusters],
            [state[f"tail.{i}.1.weight"] for i in clusters],
            state.get("head.bias"),
        )

    Arithmetic is float64 where one of the arrays is float64 or holds integers, else float32;
    results have that type and are of the kind of `x`. Products are `numpy.matmul`'s, and no
    method but `log_prob` of all classes holds more than tiles of scores. Given the scores, results
    do not depend on threads, instruction set or the other rows of the batch.

    References
    ----------
    .. [1] E. Grave, A. Joulin, M. Cisse, D. Grangier and H. Jegou, "Efficient softmax approximation
           for GPUs", 2017.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> layer = fs.AdaptiveSoftmax([4, 8])
    >>> weights = layer.init_weights(in_features=16, n_classes=20, seed=1)
    >>> x = np.ones((3, 16), np.float32)
    >>> result = layer.loss(x, weights, [0, 5, 19], need_grad=True)
    >>> result.grad_weights.tails[1].shape
    (12, 1)
    >>> bool(np.allclose(fs.logsumexp(layer.log_prob(x, weights)), 0, atol=1e-6))
    True
    """

    @overload
    def loss(
        self,
        x: Any,
        weights: AdaptiveWeights,
        targets: Any,
        *,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: Literal[False] = False,
    ) -> Any: ...
    @overload
    def loss(
        self,
        x: Any,
        weights: AdaptiveWeights,
        targets: Any,
        *,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: Literal[True],
    ) -> AdaptiveLoss: ...
    def loss(
        self,
        x: Any,
        weights: AdaptiveWeights,
        targets: Any,
        *,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: bool = False,
    ) -> Any:
        """Compute the loss, ``-log p(target)``, and its gradients.

        Parameters
        ----------
        x : array_like of shape (N, D)
            Inputs of the layer. Types, strides and tensors as for `softmax`.
        weights : AdaptiveWeights
            Of the shapes of `shapes`.
        targets : array_like of integers of shape (N,)
            Classes from 0 to V - 1.
        reduction : {'mean', 'sum', 'none'}, default 'mean'
            As for `cross_entropy`.
        ignore_index : int, default -100
            Rows with this target have loss and gradient 0 and take no part in products.
        grad_out : float or array_like, optional
            As for `linear_cross_entropy`.
        need_grad : bool, default False
            Whether gradients are wanted.

        Returns
        -------
        number, array or tensor, or AdaptiveLoss
            The loss, a number or of shape (N,); with `need_grad` a named tuple
            ``(loss, grad_x, grad_weights)``, the latter an `AdaptiveWeights` of dense gradients.

        Raises
        ------
        TypeError
            For a dtype that is not supported, and targets that are not integers.
        ValueError
            For shapes that do not fit; it names the array.
        IndexError
            For a target that is no class; it names row and value.

        Notes
        -----
        Special values as for `cross_entropy`, with scores of the head and of the target's cluster.
        """
        return _adaptive_loss(
            x, self._checked(weights), targets, reduction, ignore_index, grad_out, need_grad
        )

    def log_prob(self, x: Any, weights: AdaptiveWeights, ids: Any = None) -> Any:
        """Compute logarithms of the probabilities of some classes, or of all.

        Parameters
        ----------
        x, weights
            As for `loss`.
        ids : array_like of integers of shape (N,) or (N, M), optional
            Classes for each row. Only clusters of these are computed.

        Returns
        -------
        array or tensor
            Of the shape of `ids`; without, (N, V).

        Raises
        ------
        TypeError, ValueError, IndexError
            When `loss` raises them.
        """
        return _adaptive_log_prob(x, self._checked(weights), ids)

    def topk(self, x: Any, weights: AdaptiveWeights, k: SupportsIndex) -> TopK:
        """Find the k most probable classes of each row, exactly.

        A class is never more probable than its cluster, so the scores of a cluster are computed
        only for the rows where the cluster is more probable than the k-th best class of the head
        and the clusters before it.

        Parameters
        ----------
        x, weights
            As for `loss`.
        k : int
            From 0 to V.

        Returns
        -------
        TopK
            ``(values, indices)`` of shape (N, k): logarithms of probabilities, descending, and
            classes (int64); equal ones by class. NaN counts as largest.

        Raises
        ------
        TypeError, ValueError
            When `loss` raises them; ValueError also for `k` out of range.

        Notes
        -----
        Logarithms are compared before they are rounded to the type of the result. NaN in the
        weights of a cluster that no row needs stays unseen.
        """
        return _adaptive_topk(x, self._checked(weights), k)

    def predict(self, x: Any, weights: AdaptiveWeights) -> Any:
        """Find the most probable class of each row: `indices` of `topk`, of shape (N,)."""
        return self.topk(x, weights, 1).indices[:, 0]

    def sample(
        self,
        x: Any,
        weights: AdaptiveWeights,
        seed: Any = None,
        position: Any = 0,
        row_ids: Any = None,
    ) -> Any:
        """Draw a class for each row.

        First an entry of the head, as `sample` draws it from the head's scores, and where that is a
        cluster, one of its classes likewise, with every bit of the seed inverted.

        Parameters
        ----------
        x, weights
            As for `loss`.
        seed, position, row_ids
            As for `sample`; arrays broadcast against (N, 1).

        Returns
        -------
        array or tensor of int64 of shape (N,)

        Raises
        ------
        TypeError, ValueError
            When `loss` or `sample` raises them.

        Notes
        -----
        Given the scores, what is drawn for a row depends on its seed, position and id alone.
        """
        return _adaptive_sample(x, self._checked(weights), seed, position, row_ids)
