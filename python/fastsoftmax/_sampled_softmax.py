"""Losses of output layers over many classes that look at the target and a sample of the others."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, SupportsIndex

import numpy as np

from . import _core
from ._class_sample import Sample
from ._integers import integers
from ._results import LinearCrossEntropy, LinearGradients, SampledLoss
from ._sparse_rows import SparseRows

_Reduction = Literal["mean", "sum", "none"]


def _loss(
    kind: str,
    x: Any,
    W: Any,
    targets: Any,
    sample: Sample,
    bias: Any,
    logq: str | None,
    num_true: SupportsIndex,
    ignore_index: SupportsIndex,
    **options: Any,
) -> tuple[Any, ...]:
    if not isinstance(sample, Sample):
        raise TypeError(f"sample must be a Sample, not {type(sample).__name__}")
    classes = integers(targets, "targets")
    each = index(num_true)
    if each < 1:
        raise ValueError(f"num_true must be positive, got {each}")
    if classes.ndim == 2 and classes.shape[1] != each:
        raise ValueError(f"targets have shape {classes.shape}, but num_true is {each}")
    if classes.ndim != 2 and (classes.ndim != 1 or each != 1):
        shape = "(N,)" if each == 1 else f"(N, {each})"
        raise ValueError(f"targets must have shape {shape}, not {classes.shape}")
    expected = None
    if logq == "all":
        first = classes if classes.ndim == 1 else classes[:, 0]
        kept = first != ignore_index
        expected = np.zeros(classes.shape)
        expected[kept] = sample.log_expected_count_of(classes[kept])
    return _core._sampled_loss(
        kind,
        x,
        W,
        classes,
        (sample.ids, sample.log_expected_count, expected),
        bias,
        logq,
        ignore_index=ignore_index,
        **options,
    )


def sampled_result(result: tuple[Any, ...]) -> Any:
    """Return what _core gives for a loss over a sample as the user gets it."""
    if len(result) == 1:
        return result[0]
    loss, grad_x, grad_weights, grad_bias = result
    if grad_bias is not None:
        values = grad_bias.values[:, 0]
        grad_bias = SparseRows(grad_bias.ids, values, num_rows=grad_bias.shape[0])
    return SampledLoss(loss, grad_x, grad_weights, grad_bias)


def sampled_softmax_loss(
    x: Any,
    W: Any,
    targets: Any,
    sample: Sample,
    bias: Any = None,
    *,
    logq: Literal["negatives", "all"] | None = "negatives",
    remove_hits: bool = True,
    num_true: SupportsIndex = 1,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    grad_out: Any = None,
    need_grad: bool = False,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> Any:
    """Cross-entropy over the target and a sample of the other classes.

    ``logsumexp(z'_target, z'_sample) - z'_target`` with scores ``z = x @ W.T + bias``, of which
    only those of the target and the sample are formed, less the logarithm of how often the sampler
    is expected to draw a class (`logq`).

    Parameters
    ----------
    x : array_like of shape (N, D)
        Inputs of the layer. Types, strides and tensors as for `softmax`.
    W : array_like of shape (V, D)
        A row of weights for each class.
    targets : array_like of int of shape (N,), or (N, num_true)
        Classes from `vocab_start` to ``vocab_start + V - 1``, with `vocab_size` from 0 to
        ``vocab_size - 1``.
    sample : Sample
        Such classes to compare with, the same for all rows; see `UniformSampler`,
        `LogUniformSampler`, `UnigramSampler` and `InBatchSampler`.
    bias : array_like of shape (V,), optional
        Added to the scores.
    logq : {'negatives', 'all', None}, default 'negatives'
        From which scores the logarithm of the expected count is subtracted; see Notes.
    remove_hits : bool, default True
        Whether classes of the sample that are targets of a row are left out for that row, however
        often they are in the sample.
    num_true : int, default 1
        How many targets a row has. The loss is the mean of those of all of them; one that a row has
        twice counts twice, in the mean and among the terms.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        The mean is that over rows that are not ignored; NaN over none.
    ignore_index : int, default -100
        Rows whose (first) target this is have loss and gradient 0.
    grad_out : float or array_like, optional
        Gradient of what follows with respect to the loss: a number, or without reduction one for
        each row. Default 1.
    need_grad : bool, default False
        Whether gradients are wanted.
    vocab_start : int, default 0
        `W` holds the classes from this one on.
    vocab_size : int, optional
        The number of classes of all processes, where the vocabulary is split over several; see
        Notes.

    Returns
    -------
    loss : float or array of shape (N,)
        Alone without gradients, else a `SampledLoss`:
    grad_x : array of shape (N, D)
        Gradient with respect to `x`.
    grad_W : SparseRows
        That with respect to `W`: rows of the sample and of targets, numbered as in `W`.
    grad_bias : SparseRows or None
        That with respect to `bias`.
    LinearCrossEntropy
        With `vocab_size`: a shard for `merge_shards`, with `max`, `logsum` and `target_logit` only.

    Raises
    ------
    IndexError
        For a class that `W` does not have; with `vocab_size` for one that no process has.
    ValueError
        For shapes that do not fit, with ``logq='all'`` for a target that the sampler never draws,
        and with `vocab_size` for `need_grad`.
    TypeError
        For dtypes that are not supported and a sample that is none.

    Notes
    -----
    Let Q_c be the expected count of class c. ``'negatives'``: the sample's terms become
    ``e^z_s / Q_s``, so that their sum is an unbiased estimate of the sum of ``e^z_c`` over the
    classes that may be drawn; the logarithm of an estimate is on average at most that of what it
    estimates. ``'all'`` (TensorFlow's convention): the scores of the target, too, are less
    ``log Q``, as in a classifier that tells which of the candidates, each drawn with its Q, is the
    one that was seen.

    As samples grow the gradient becomes that of the full softmax with ``'negatives'`` and
    `remove_hits`; with ``'all'`` and `remove_hits` for samples without replacement (``unique``)
    only, and without `remove_hits` for samples with replacement only. Elsewhere it does not: with
    ``'all'`` and `remove_hits` a target that was drawn many times counts ``1 / Q`` and not 1, and
    without `remove_hits` one that is counted already counts again.

    Each term belongs to a class, a hit to that of its target. So where each process has a part of
    the classes and all have the same `x`, `targets` and `sample` (samplers draw the same classes
    for the same seed), the maximum M and the logarithm L of the sum over all terms follow from
    those of the parts, and a score's derivative ``exp(z' - M - L)``, less ``1 / num_true`` for a
    target, needs nothing else::

        shard = sampled_softmax_loss(x, W_mine, targets, sample, vocab_start=start, vocab_size=V)
        # exchange max, logsum and target_logit
        whole = merge_shards(shards)  # whole.loss
        gradients = sampled_softmax_loss_backward(
            whole, x, W_mine, targets, sample, vocab_start=start, vocab_size=V
        )  # grad_x must be added up over the processes

    References
    ----------
    .. [1] Y. Bengio and J.-S. Senecal, "Adaptive Importance Sampling to Accelerate Training of a
           Neural Probabilistic Language Model", 2008.
    .. [2] S. Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
           2015.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> x, W = np.ones((2, 3)), np.zeros((1000, 3))
    >>> sample = fs.UniformSampler(1000).sample(100, unique=True, seed=1)
    >>> fs.sampled_softmax_loss(x, W, [5, 7], sample).round(3)  # log 1001 at most
    np.float64(6.909)
    """
    result = _loss(
        "softmax",
        x,
        W,
        targets,
        sample,
        bias,
        logq,
        num_true,
        ignore_index,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
        need_grad=need_grad,
        vocab_start=vocab_start,
        vocab_size=vocab_size,
    )
    if vocab_size is None:
        return sampled_result(result)
    largest, logsum, target_logit = result
    return LinearCrossEntropy(None, largest, logsum, target_logit, None, None, None)


def sampled_softmax_loss_backward(
    forward: LinearCrossEntropy,
    x: Any,
    W: Any,
    targets: Any,
    sample: Sample,
    bias: Any = None,
    *,
    grad_out: Any = None,
    logq: Literal["negatives", "all"] | None = "negatives",
    remove_hits: bool = True,
    num_true: SupportsIndex = 1,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> LinearGradients:
    """Gradients of `sampled_softmax_loss` from what `merge_shards` returned.

    Each process calls it with its own `W`. The gradients of `W` and `bias` are then those of its
    classes, and the sum of all `grad_x` is that of the whole.

    Parameters
    ----------
    forward : LinearCrossEntropy
        What `merge_shards` returned, of which `max` and `logsum` are read.
    x : array_like of shape (N, D)
        As for `sampled_softmax_loss`.
    W : array_like of shape (V, D)
        As for `sampled_softmax_loss`.
    targets : array_like of int of shape (N,), or (N, num_true)
        As for `sampled_softmax_loss`.
    sample : Sample
        As for `sampled_softmax_loss`.
    bias : array_like of shape (V,), optional
        As for `sampled_softmax_loss`.
    grad_out : float or array_like, optional
        Gradient of what follows with respect to the loss: a number, or without reduction one for
        each row. Default 1.
    logq, remove_hits, num_true, reduction, ignore_index, vocab_start, vocab_size : optional
        As in the calls that returned the shards.

    Returns
    -------
    LinearGradients
        A named tuple ``(grad_x, grad_W, grad_bias)`` as of `sampled_softmax_loss`, None for a bias
        that is not there. `grad_W` and `grad_bias` are `SparseRows` of the rows of this `W`.

    Raises
    ------
    TypeError, ValueError, IndexError
        When `sampled_softmax_loss` raises them; TypeError also for another `forward`.
    """
    if not isinstance(forward, LinearCrossEntropy):
        raise TypeError(f"forward must be a LinearCrossEntropy, not {type(forward).__name__}")
    result = _loss(
        "softmax",
        x,
        W,
        targets,
        sample,
        bias,
        logq,
        num_true,
        ignore_index,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
        need_grad=True,
        vocab_start=vocab_start,
        vocab_size=vocab_size,
        forward=(forward.max, forward.logsum),
    )
    _, grad_x, grad_weights, grad_bias = sampled_result(result)
    return LinearGradients(grad_x, grad_weights, grad_bias)


def nce_loss(
    x: Any,
    W: Any,
    targets: Any,
    sample: Sample,
    bias: Any = None,
    *,
    remove_hits: bool = False,
    num_true: SupportsIndex = 1,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    grad_out: Any = None,
    need_grad: bool = False,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> Any:
    """Noise-contrastive estimation: tell the target from a sample of noise.

    ``-log sigmoid(z_t - log Q_t) - sum_s log sigmoid(-(z_s - log Q_s))``, so that at its minimum
    ``e^z`` are probabilities without a normalizer. With several targets the terms of a target count
    with the label ``1 / num_true``, as in TensorFlow.

    Parameters, result and errors are those of `sampled_softmax_loss`; `remove_hits` is off by
    default, since noise may well be the target. The loss is a sum over classes: with `vocab_size`
    loss and gradients are those of the terms of this process's classes, and the whole loss and
    `grad_x` are the sums over the processes.

    References
    ----------
    .. [1] M. Gutmann and A. Hyvarinen, "Noise-contrastive estimation", 2010.
    .. [2] A. Mnih and Y. W. Teh, "A Fast and Simple Algorithm for Training Neural Probabilistic
           Language Models", 2012.
    """
    result = _loss(
        "nce",
        x,
        W,
        targets,
        sample,
        bias,
        "all",
        num_true,
        ignore_index,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
        need_grad=need_grad,
        vocab_start=vocab_start,
        vocab_size=vocab_size,
    )
    return sampled_result(result)


def negative_sampling_loss(
    x: Any,
    W: Any,
    targets: Any,
    sample: Sample,
    bias: Any = None,
    *,
    remove_hits: bool = True,
    num_true: SupportsIndex = 1,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    grad_out: Any = None,
    need_grad: bool = False,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> Any:
    """Negative sampling, as in word2vec: ``-log sigmoid(z_t) - sum_s log sigmoid(-z_s)``.

    `nce_loss` without the correction by expected counts: good vectors, but no probabilities.
    Parameters, result and errors are those of `sampled_softmax_loss`, with `vocab_size` those of
    `nce_loss`.

    References
    ----------
    .. [1] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
           Compositionality", 2013.
    """
    result = _loss(
        "negative",
        x,
        W,
        targets,
        sample,
        bias,
        None,
        num_true,
        ignore_index,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
        need_grad=need_grad,
        vocab_start=vocab_start,
        vocab_size=vocab_size,
    )
    return sampled_result(result)
