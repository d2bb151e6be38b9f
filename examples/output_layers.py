"""Output layers over many words for examples/language_model.py; `EXACT` has them by name.

All begin with vectors of zeros and biases that give each word its frequency, and learn by Adagrad.
They differ in what a step costs: the full softmax compares each input with all words, the tree
with the nodes on the way to the target, two levels with the classes and the words of one of them,
the adaptive softmax with the frequent words, and seldom with a cluster of others. sampled_layers.py
has those that learn from a few of the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import fastsoftmax as fs
import numpy as np
from corpus import UNKNOWN, frequency

RATE = 0.05  # of learning
DRAWS = 64  # of a word, at most, until it is known


class Parameter:
    """An array that learns by Adagrad (Duchi et al., 2011)."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value.astype(np.float32)
        self.squares = np.full_like(self.value, 1e-10)

    def update(self, gradient: np.ndarray | fs.SparseRows) -> None:
        """Take a step down the gradient; one of a few rows costs as much as they are."""
        if isinstance(gradient, fs.SparseRows):
            ids, values = gradient.ids, gradient.values
            fs.SparseRows(ids, values * values).add_to(self.squares)
            fs.SparseRows(ids, values / np.sqrt(self.squares[ids])).add_to(self.value, -RATE)
        else:
            self.squares += gradient * gradient
            self.value -= RATE * gradient / np.sqrt(self.squares)


class OutputLayer:
    """Probabilities of words, given inputs x of shape (N, dim).

    Kinds of layers are made from `dim`, from `counts`, how often each word occurs, and from a seed.
    """

    parameters: list[Parameter]
    examples: np.ndarray

    def __init__(self, dim: int, counts: np.ndarray, seed: int) -> None:
        raise NotImplementedError

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        """Loss, its gradient with respect to `x`, and those of all parameters."""
        raise NotImplementedError

    def _log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _draw(self, x: np.ndarray, seed: int, position: int) -> np.ndarray:
        raise NotImplementedError

    @property
    def values(self) -> list[np.ndarray]:
        """Arrays of the parameters."""
        return [parameter.value for parameter in self.parameters]

    def loss(
        self, x: np.ndarray, targets: np.ndarray, examples: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Mean loss of the rows of `x`, and its gradient with respect to `x`.

        `examples` are their numbers in the training data, for layers that keep something of each.
        """
        self.examples = examples
        loss, grad_x, *self.gradients = self._loss(x, targets)
        return float(loss), grad_x

    def update(self) -> None:
        """Learn from the last loss."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.update(gradient)

    def log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Log-probability of one word for each row of `x`."""
        return self._log_prob(x, ids)

    def sample(self, x: np.ndarray, *, seed: int, position: int) -> np.ndarray:
        """Draw a word for each row of `x`, again where it is UNKNOWN."""
        ids = np.full(len(x), UNKNOWN)
        for attempt in range(DRAWS):
            unknown = ids == UNKNOWN
            if not unknown.any():
                break
            ids[unknown] = self._draw(x, seed, DRAWS * position + attempt)[unknown]
        return ids


class Full(OutputLayer):
    """A linear score for each word, and a softmax over all of them."""

    def __init__(self, dim: int, counts: np.ndarray, seed: int) -> None:  # noqa: ARG002 - no draws
        weights, bias = np.zeros((len(counts), dim)), np.log(frequency(counts))
        self.parameters = [Parameter(weights), Parameter(bias)]

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        weights, bias = self.values
        result = fs.linear_cross_entropy(x, weights, targets, bias, need_grad=True)
        return result.loss, result.grad_x, result.grad_W, result.grad_bias

    def _log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        weights, bias = self.values
        log_p: np.ndarray = fs.linear_log_prob(x, weights, ids, bias)
        return log_p

    def _draw(self, x: np.ndarray, seed: int, position: int) -> np.ndarray:
        weights, bias = self.values
        scores = x @ weights.T + bias  # so likely words can become likelier; other layers have none
        ids: np.ndarray = fs.sample(scores, temperature=0.8, seed=seed, position=position)
        return ids


class Hierarchical(OutputLayer):
    """A Huffman tree, whose ways to frequent words are short (Mikolov et al., 2013), or another."""

    def __init__(
        self,
        dim: int,
        counts: np.ndarray,
        seed: int,  # noqa: ARG002 - no draws
        tree: fs.Tree | None = None,
    ) -> None:
        tree = tree or fs.Tree.huffman(counts)
        self.layer = fs.HierarchicalSoftmax(tree)
        nodes, codes, offsets = tree.paths()
        shares = np.repeat(frequency(counts), np.diff(offsets))
        left, right = (
            np.bincount(nodes[codes == code], shares[codes == code], tree.num_nodes)
            for code in (0, 1)
        )
        weights = np.zeros((tree.num_weights, dim))
        self.parameters = [Parameter(weights), Parameter(np.log(left / right))]

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        weights, bias = self.values
        result: Iterable[Any] = self.layer.loss(x, weights, targets, bias, need_grad=True)
        return result

    def _log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        weights, bias = self.values
        log_p: np.ndarray = self.layer.log_prob(x, weights, ids, bias)
        return log_p

    def _draw(self, x: np.ndarray, seed: int, position: int) -> np.ndarray:
        weights, bias = self.values
        ids: np.ndarray = self.layer.sample(x, weights, seed, bias, position=position)
        return ids


class Classes(OutputLayer):
    """Two levels: classes of words, equally frequent or given, then words (Goodman, 2001)."""

    def __init__(
        self,
        dim: int,
        counts: np.ndarray,
        seed: int,  # noqa: ARG002 - no draws
        layer: fs.ClassSoftmax | None = None,
    ) -> None:
        self.layer = layer or fs.ClassSoftmax.from_frequencies(counts)
        shares = frequency(counts)
        of_classes = np.bincount(self.layer.class_of, shares)
        weights = [np.zeros((len(masses), dim)) for masses in (of_classes, shares)]
        arrays = [*weights, np.log(of_classes), np.log(shares)]
        self.parameters = [Parameter(array) for array in arrays]

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        class_weights, weights, *biases = self.values
        result: Iterable[Any] = self.layer.loss(
            x, class_weights, weights, targets, *biases, need_grad=True
        )
        return result

    def _log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        class_weights, weights, *biases = self.values
        log_p: np.ndarray = self.layer.log_prob(x, class_weights, weights, ids, *biases)
        return log_p

    def _draw(self, x: np.ndarray, seed: int, position: int) -> np.ndarray:
        class_weights, weights, *biases = self.values
        ids: np.ndarray = self.layer.sample(
            x, class_weights, weights, seed, *biases, position=position
        )
        return ids


class Adaptive(OutputLayer):
    """Frequent words in a head, others in clusters with fewer inputs (Grave et al., 2017).

    The layer wants words by rank. Those of a cluster have no biases, and begin as equals.
    """

    def __init__(
        self,
        dim: int,
        counts: np.ndarray,
        seed: int,
        cutoffs: Sequence[int] = (),
        div_value: float = 4.0,
    ) -> None:
        self.words = np.argsort(-counts, kind="stable")
        self.rank = np.argsort(self.words)
        shares = frequency(counts)[self.words]
        # Of good quality; fs.AdaptiveSoftmax.from_counts finds the fastest ones.
        cutoffs = cutoffs or [len(counts) // 10, len(counts) * 2 // 5]
        self.layer = fs.AdaptiveSoftmax(cutoffs, div_value, head_bias=True)
        first, clusters = self.layer.cutoffs[0], self.layer.n_clusters
        bias = np.append(shares[:first], np.add.reduceat(shares, self.layer.cutoffs))
        head, projections, tails, _ = self.layer.init_weights(dim, len(counts), seed)
        arrays = [0 * head, *projections, *(0 * tail for tail in tails), np.log(bias)]
        self.parameters = [Parameter(array) for array in arrays]
        self.parts = slice(1, 1 + clusters), slice(1 + clusters, 1 + 2 * clusters)

    @property
    def weights(self) -> fs.AdaptiveWeights:
        """The parameters as the layer takes them."""
        values = self.values
        return fs.AdaptiveWeights(values[0], *(values[part] for part in self.parts), values[-1])

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        result = self.layer.loss(x, self.weights, self.rank[targets], need_grad=True)
        head, projections, tails, bias = result.grad_weights
        return result.loss, result.grad_x, head, *projections, *tails, bias

    def _log_prob(self, x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        log_p: np.ndarray = self.layer.log_prob(x, self.weights, self.rank[ids])
        return log_p

    def _draw(self, x: np.ndarray, seed: int, position: int) -> np.ndarray:
        ids: np.ndarray = self.words[self.layer.sample(x, self.weights, seed, position)]
        return ids


EXACT: dict[str, type[OutputLayer]] = {
    "full": Full,
    "hierarchical": Hierarchical,
    "class": Classes,
    "adaptive": Adaptive,
}
