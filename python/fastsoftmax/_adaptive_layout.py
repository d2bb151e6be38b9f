"""Which classes an adaptive softmax has where, and how many inputs they get."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from ._core import _adaptive_cutoffs
from ._results import AdaptiveWeights


class AdaptiveCost(NamedTuple):
    """What a batch costs, for `AdaptiveSoftmax.from_counts`, in multiplications of a product.

    The loss and gradients of n of its `rows` rows with k classes of d inputs take
    ``call + max(least, (n + weights) * k) * (d + score)``: `call` to begin, `score` for what else
    happens to a score; the weights of a class, which are read and whose gradients are written, are
    worth `weights` rows by themselves; fewer than `least` scores take as long. The paper, on a GPU,
    has `least` and not the two others. The defaults are fitted to one core with AVX-512.
    """

    rows: float = 1024
    call: float = 3e5
    least: float = 0
    weights: float = 14
    score: float = 11


_Self = TypeVar("_Self", bound="AdaptiveLayout")


class AdaptiveLayout:
    """What an `AdaptiveSoftmax` is without its methods on inputs."""

    def __init__(
        self, cutoffs: Sequence[SupportsIndex], div_value: float = 4.0, head_bias: bool = False
    ) -> None:
        ends = [operator.index(end) for end in cutoffs]
        if not ends:
            raise ValueError("cutoffs must not be empty")
        if ends[0] <= 0 or any(b <= a for a, b in pairwise(ends)):
            raise ValueError(f"cutoffs must be positive and ascend, got {ends}")
        if not 1 <= div_value < float("inf"):
            raise ValueError(f"div_value must be finite and at least 1, got {div_value}")
        self._cutoffs = tuple(ends)
        self._div_value = float(div_value)
        self._head_bias = bool(head_bias)

    @classmethod
    def from_counts(
        cls: type[_Self],
        counts: Any,
        in_features: SupportsIndex,
        *,
        clusters: SupportsIndex = 3,
        div_value: float = 4.0,
        head_bias: bool = False,
        cost: AdaptiveCost = AdaptiveCost(),  # noqa: B008 - immutable
    ) -> _Self:
        """Choose the cutoffs with which a batch costs least.

        The cost is the model of the paper's section 4: the head by all rows, and each cluster by
        as many rows as have, on average, their target in it, with the product that projects them.
        The least of all partitions is found exactly, by dynamic programming in
        O(clusters V log V). What it does not weigh is accuracy: fewer classes in the head are
        cheaper, and get fewer inputs.

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
            The constants of the model, of which `rows` is the size of a batch.

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
            f"{type(self).__name__}({list(self._cutoffs)}, div_value={self._div_value:g}, "
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
        depth, classes = operator.index(in_features), operator.index(n_classes)
        if depth < 1:
            raise ValueError(f"in_features must be positive, got {depth}")
        if classes <= self._cutoffs[-1]:
            raise ValueError(
                f"n_classes must exceed the last cutoff, {self._cutoffs[-1]}, got {classes}"
            )
        entries = self._cutoffs[0] + self.n_clusters
        reduced = [max(int(depth // self._div_value ** (i + 1)), 1) for i in range(self.n_clusters)]
        ends = (*self._cutoffs, classes)
        sizes = [b - a for a, b in pairwise(ends)]
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
                "head_bias is missing"
                if self._head_bias
                else "there is a head_bias, but AdaptiveSoftmax was made without"
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
