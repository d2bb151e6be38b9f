"""Adaptive softmax: an output layer whose rare classes share small clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, SupportsIndex, overload

import numpy as np
from numpy.typing import DTypeLike

from ._core import (
    _adaptive_cutoffs,
    _adaptive_log_prob,
    _adaptive_loss,
    _adaptive_sample,
    _adaptive_topk,
)
from ._results import AdaptiveLoss, AdaptiveWeights, TopK


class AdaptiveCost(NamedTuple):
    """What a batch costs, for `AdaptiveSoftmax.from_counts`, in multiplications of a product.

    A product of `rows` rows by k classes of d inputs costs
    ``call + max(least, rows * k) * (d + score)``: `call` is what it takes to begin, `score` what
    else happens to a score, and a product of fewer than `least` scores is no faster.
    """

    rows: float = 1024
    call: float = 2e6
    least: float = 4096
    score: float = 32


class AdaptiveSoftmax:
    """An output layer over many classes, sorted by how frequent they are.

    The head has a score for each of the ``cutoffs[0]`` first classes and for each cluster of the
    others; cluster i holds classes ``cutoffs[i]`` to ``cutoffs[i + 1]`` (the last one all that are
    left) and has ``in_features // div_value**(i + 1)`` inputs of its own, ``x @ projection.T``. With
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

    def __init__(
        self, cutoffs: Sequence[SupportsIndex], div_value: float = 4.0, head_bias: bool = False
    ) -> None:
        ends = [end.__index__() for end in cutoffs]
        if not ends:
            raise ValueError("cutoffs must not be empty")
        if ends[0] <= 0 or any(b <= a for a, b in zip(ends, ends[1:], strict=False)):
            raise ValueError(f"cutoffs must be positive and ascend, got {ends}")
        if not 1 <= div_value < float("inf"):
            raise ValueError(f"div_value must be finite and at least 1, got {div_value}")
        self._cutoffs = tuple(ends)
        self._div_value = float(div_value)
        self._head_bias = bool(head_bias)

    @classmethod
    def from_counts(
        cls,
        counts: Any,
        in_features: SupportsIndex,
        *,
        clusters: SupportsIndex = 3,
        div_value: float = 4.0,
        head_bias: bool = False,
        cost: AdaptiveCost = AdaptiveCost(),  # noqa: B008 - immutable
    ) -> AdaptiveSoftmax:
        """Choose the cutoffs with which a batch costs least.

        The cost is the model of the paper's section 4: the head by all rows, and each cluster by
        as many rows as have, on average, their target in it, with the product that projects them.
        The least of all partitions is found exactly, by dynamic programming in
        O(clusters V log V).

        Parameters
        ----------
        counts : array_like of shape (V,)
            How often each class occurs, in descending order. Where they are not, give classes new
            numbers: ``order = np.argsort(-counts, kind="stable")`` lists the old ones by the new
            ones, ``np.argsort(order)`` the new ones by the old ones.
        in_features : int
            D, the inputs of the layer.
        clusters : int, default 3
            How many; at least 1 and fewer than there are classes.
        div_value, head_bias
            As for the class.
        cost : AdaptiveCost, optional
            The constants of the model. The default ones are those of one core with AVX-512, for
            1024 rows and loss with gradients.

        Returns
        -------
        AdaptiveSoftmax

        Raises
        ------
        ValueError
            For counts that ascend, are negative, not finite or all zero, too few classes, and
            numbers out of range.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> import numpy as np
        >>> fs.AdaptiveSoftmax.from_counts(1 / np.arange(1, 50_001), 512, clusters=2).n_clusters
        2
        """
        ends = _adaptive_cutoffs(counts, in_features, clusters, div_value, cost)
        return cls(ends, div_value, head_bias)

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Where the head and all clusters but the last end."""
        return self._cutoffs

    @property
    def div_value(self) -> float:
        """By what the inputs of each further cluster are divided."""
        return self._div_value

    @property
    def head_bias(self) -> bool:
        """Whether the head has a bias."""
        return self._head_bias

    @property
    def n_clusters(self) -> int:
        """K, how many clusters there are."""
        return len(self._cutoffs)

    def __repr__(self) -> str:
        return (
            f"AdaptiveSoftmax({list(self._cutoffs)}, div_value={self._div_value:g}, "
            f"head_bias={self._head_bias})"
        )

    def shapes(self, in_features: SupportsIndex, n_classes: SupportsIndex) -> AdaptiveWeights:
        """Shapes of the weights for `n_classes` classes.

        Returns
        -------
        AdaptiveWeights
            Of shapes: `head` (C + K, D), `projections` K of (D_i, D), `tails` K of (V_i, D_i) and
            `head_bias` (C + K,) or None, with C = ``cutoffs[0]``, D_i = ``D // div_value**(i + 1)``
            but at least 1, and V_i the classes of cluster i.

        Raises
        ------
        ValueError
            Where `in_features` is not positive or the last cluster has no class.
        """
        depth, classes = in_features.__index__(), n_classes.__index__()
        if depth < 1:
            raise ValueError(f"in_features must be positive, got {depth}")
        if classes <= self._cutoffs[-1]:
            raise ValueError(
                f"n_classes must exceed the last cutoff, {self._cutoffs[-1]}, got {classes}"
            )
        entries = self._cutoffs[0] + self.n_clusters
        reduced = [max(int(depth // self._div_value ** (i + 1)), 1) for i in range(self.n_clusters)]
        ends = (*self._cutoffs, classes)
        sizes = [b - a for a, b in zip(ends, ends[1:], strict=False)]
        return AdaptiveWeights(
            (entries, depth),
            tuple((d, depth) for d in reduced),
            tuple(zip(sizes, reduced, strict=True)),
            (entries,) if self._head_bias else None,
        )

    def init_weights(
        self,
        in_features: SupportsIndex,
        n_classes: SupportsIndex,
        seed: Any = None,
        dtype: DTypeLike = np.float32,
    ) -> AdaptiveWeights:
        """Draw weights uniformly from +-1 / sqrt(number of inputs), as `torch.nn.Linear` does.

        Parameters
        ----------
        in_features, n_classes : int
            As for `shapes`.
        seed : optional
            Whatever `numpy.random.default_rng` takes.
        dtype : dtype, default float32
            Of the arrays.

        Returns
        -------
        AdaptiveWeights
            Of arrays.

        Raises
        ------
        ValueError
            When `shapes` raises it.
        """
        rng = np.random.default_rng(seed)

        def draw(shape: tuple[int, ...], inputs: int) -> Any:
            return rng.uniform(-(inputs**-0.5), inputs**-0.5, shape).astype(dtype)

        head, projections, tails, bias = self.shapes(in_features, n_classes)
        return AdaptiveWeights(
            draw(head, head[1]),
            tuple(draw(shape, shape[1]) for shape in projections),
            tuple(draw(shape, shape[1]) for shape in tails),
            None if bias is None else draw(bias, head[1]),
        )

    def _checked(self, weights: Any) -> AdaptiveWeights:
        """Weights whose shapes are those of `shapes`."""
        given = AdaptiveWeights(*weights)
        for name in ("projections", "tails"):
            arrays = getattr(given, name)
            if len(arrays) != self.n_clusters:
                raise ValueError(
                    f"{name} must be {self.n_clusters} arrays, one for each cluster, got "
                    f"{len(arrays)}"
                )
        if (given.head_bias is not None) != self._head_bias:
            raise ValueError(
                "head_bias is missing" if self._head_bias else "there is a head_bias, but "
                "AdaptiveSoftmax was made without"
            )
        head, last = np.shape(given.head), np.shape(given.tails[-1])
        if len(head) != 2 or len(last) != 2:
            name, shape = ("head", head) if len(head) != 2 else ("the last of tails", last)
            raise ValueError(f"{name} must have 2 dimensions, not shape {shape}")
        expected = self.shapes(head[1], self._cutoffs[-1] + last[0])
        named = [("head", given.head, expected.head)]
        for i in range(self.n_clusters):
            named.append((f"projections[{i}]", given.projections[i], expected.projections[i]))
            named.append((f"tails[{i}]", given.tails[i], expected.tails[i]))
        if self._head_bias:
            named.append(("head_bias", given.head_bias, expected.head_bias))
        for name, array, shape in named:
            if np.shape(array) != shape:
                raise ValueError(f"{name} has shape {np.shape(array)}, expected {shape}")
        return given

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
