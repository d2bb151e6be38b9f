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


class GumbelSoftmax(NamedTuple):
    """The result of `gumbel_softmax` with `return_soft`: one-hot rows, and the soft ones."""

    hard: Any
    soft: Any


class CrossEntropy(NamedTuple):
    """The result of `cross_entropy` with a gradient."""

    loss: Any
    grad: Any
    logsumexp: Any


class LinearCrossEntropy(NamedTuple):
    """The result of `linear_cross_entropy`, `partial_fc_loss` and `merge_shards`, or a shard.

    None for what is not there.
    """

    loss: Any
    max: Any
    logsum: Any
    target_logit: Any
    grad_x: Any
    grad_W: Any  # noqa: N815 - as W is called
    grad_bias: Any


class LinearGradients(NamedTuple):
    """Gradients alone, as of `linear_cross_entropy_backward`."""

    grad_x: Any
    grad_W: Any  # noqa: N815
    grad_bias: Any


class LinearTopK(NamedTuple):
    """The result of `linear_topk`: (logarithms of) probabilities, classes and the sum."""

    values: Any
    indices: Any
    logsumexp: Any


class PartialFC(NamedTuple):
    """The result of `partial_fc_sample`: classes, where the targets are, and corrections."""

    ids: Any
    remapped_targets: Any
    log_correction: Any


class Paths(NamedTuple):
    """The result of `Tree.paths`: inner nodes and codes of leaf i from offsets[i] on."""

    nodes: Any
    codes: Any
    offsets: Any


class TreeLoss(NamedTuple):
    """The result of a loss over a tree with gradients; of weights as `SparseRows`."""

    loss: Any
    grad_x: Any
    grad_weights: Any


class TreeLossBias(NamedTuple):
    """The result of a loss over a tree with a bias, with gradients."""

    loss: Any
    grad_x: Any
    grad_weights: Any
    grad_bias: Any


class ClassLoss(NamedTuple):
    """The result of `ClassSoftmax.loss` with gradients; those of weights are `SparseRows`."""

    loss: Any
    grad_x: Any
    grad_class_weights: Any
    grad_weights: Any
    grad_class_bias: Any
    grad_bias: Any


class TreeTopK(NamedTuple):
    """The most probable leaves: logarithms of probabilities, and which leaves they are."""

    values: Any
    indices: Any


class TreeTopKVisited(NamedTuple):
    """The same, and how many inner nodes were looked at for each row."""

    values: Any
    indices: Any
    visited: Any


class AdaptiveWeights(NamedTuple):
    """Weights of an `AdaptiveSoftmax`, their gradients, or their shapes."""

    head: Any
    projections: Any  # one for each cluster
    tails: Any  # likewise
    head_bias: Any = None


class AdaptiveLoss(NamedTuple):
    """The result of `AdaptiveSoftmax.loss` with gradients."""

    loss: Any
    grad_x: Any
    grad_weights: AdaptiveWeights


class SampledLoss(NamedTuple):
    """The result of a loss over a sample of classes with gradients; of weights as `SparseRows`."""

    loss: Any
    grad_x: Any
    grad_W: Any  # noqa: N815
    grad_bias: Any
