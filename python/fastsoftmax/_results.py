"""What the functions that return several arrays return."""

from __future__ import annotations

from typing import Any, NamedTuple


class TopK(NamedTuple):
    """The result of `topk`: elements of the input, and where they are."""

    values: Any
    indices: Any


class SoftmaxTopK(NamedTuple):
    """The result of `softmax_topk`: probabilities or their logarithms, and where they are."""

    values: Any
    indices: Any


class SoftmaxTopKLogsumexp(NamedTuple):
    """The result of `softmax_topk` with ``return_logsumexp=True``."""

    values: Any
    indices: Any
    logsumexp: Any


class SoftmaxStats(NamedTuple):
    """The result of `softmax_stats`: one value of each for every row."""

    max: Any
    logsumexp: Any
    entropy: Any
    top1: Any
    margin: Any


class SampleResult(NamedTuple):
    """The result of `sample` where more than indices was asked for; None for what was not."""

    indices: Any
    logprobs: Any
    top_logprobs: Any
    top_indices: Any


class GumbelTopK(NamedTuple):
    """The result of `gumbel_topk`: perturbed logarithms of probabilities, and where they are."""

    values: Any
    indices: Any


class CrossEntropy(NamedTuple):
    """The result of `cross_entropy` with a gradient."""

    loss: Any
    grad: Any
    logsumexp: Any
