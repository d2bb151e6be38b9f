"""Output layers that learn from a few of many words; `SAMPLED` has them by name.

The model is the full softmax, and so is what it costs to use. A step of training compares each
target with words that are drawn for the whole batch instead of with all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fastsoftmax as fs
import numpy as np
from output_layers import Full, Parameter

WORDS = 512  # drawn for a step


class Sampled(Full):
    """Softmax over the target and a sample (Jean et al., 2015)."""

    def __init__(self, dim: int, counts: np.ndarray, seed: int) -> None:
        super().__init__(dim, counts, seed)
        self.sampler = fs.UnigramSampler(counts + 1)  # 1: each may be drawn
        self.seed, self.steps = seed, 0

    def draw_classes(self, *, unique: bool) -> fs.Sample:
        """Draw words for a step."""
        self.steps += 1
        return self.sampler.sample(WORDS, unique=unique, seed=self.seed, position=self.steps)

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        weights, bias = self.values
        result: Iterable[Any] = fs.sampled_softmax_loss(
            x, weights, targets, self.draw_classes(unique=True), bias, need_grad=True
        )
        return result


class NoiseContrastive(Sampled):
    """Tells the target from noise (Mnih and Teh, 2012); scores come to be log-probabilities."""

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        weights, bias = self.values
        result: Iterable[Any] = fs.nce_loss(
            x, weights, targets, self.draw_classes(unique=False), bias, need_grad=True
        )
        return result


class PartialFC(Full):
    """Softmax over the targets of the batch and a uniform sample, 2 WORDS in all (An et al., 2021).

    The method knows no biases; here they are the weights of an input that is always 1. It is made
    for cosines, and is given products.
    """

    def __init__(self, dim: int, counts: np.ndarray, seed: int) -> None:
        super().__init__(dim, counts, seed)
        self.parameters = [Parameter(np.column_stack(super().values))]
        self.seed, self.steps = seed, 0

    @property
    def values(self) -> list[np.ndarray]:
        """Weights and biases."""
        both = self.parameters[0].value
        return [both[:, :-1], both[:, -1]]

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        self.steps += 1
        result = fs.partial_fc_loss(
            np.column_stack([x, np.ones(len(x), x.dtype)]),
            self.parameters[0].value,
            targets,
            min(2 * WORDS / len(self.parameters[0].value), 1.0),
            scale=1.0,
            normalize=False,
            unbiased=True,
            seed=self.seed,
            position=self.steps,
            need_grad=True,
        )
        return result.loss, result.grad_x[:, :-1], result.grad_W


class AugmentReduce(Sampled):
    """Keeps the normalizer of each example, which samples move (Ruiz et al., 2018)."""

    def __init__(self, dim: int, counts: np.ndarray, seed: int) -> None:
        super().__init__(dim, counts, seed)
        self.bound = fs.AugmentReduce(int(counts.sum()), min_step=0.5, seed=seed)

    def _loss(self, x: np.ndarray, targets: np.ndarray) -> Iterable[Any]:
        weights, bias = self.values
        result: Iterable[Any] = self.bound.step(
            x, weights, targets, self.draw_classes(unique=True), self.examples, bias
        )
        return result


SAMPLED: dict[str, type[Full]] = {
    "sampled": Sampled,
    "nce": NoiseContrastive,
    "partial_fc": PartialFC,
    "augment_reduce": AugmentReduce,
}
