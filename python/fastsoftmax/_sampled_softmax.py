"""Losses of output layers over many classes that look at the target and a sample of the others."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, SupportsIndex

import numpy as np

from . import _core
from ._class_sample import Sample
from ._integers import integers
from ._results import SampledLoss
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
    need_grad: bool,
    **options: Any,
) -> Any:
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
    return sampled_result(
        _core._sampled_loss(
            kind,
            x,
            W,
            classes,
            (sample.ids, sample.log_expected_count, expected),
            bias,
            logq,
            ignore_index=ignore_index,
            need_grad=need_grad,
            **options,
        )
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
        Classes.
    sample : Sample
        Classes to compare with, the same for all rows; see `UniformSampler`, `LogUniformSampler`,
        `UnigramSampler` and `InBatchSampler`.
    bias : array_like of shape (V,), optional
        Added to the scores.
    logq : {'negatives', 'all', None}, default 'negatives'
        From which scores the logarithm of the expected count is subtracted; see Notes.
    remove_hits : bool, default True
        Whether classes of the sample that are targets of a row are left out for that row, however
        often they are in the sample.
    num_true : int, default 1
        How many targets a row has. The loss is the mean of those of all of them.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        The mean is that over rows that are not ignored; NaN over none.
    ignore_index : int, default -100
        Rows whose (first) target this is have loss and gradient 0.
    grad_out : float or array_like, optional
        Gradient of what follows with respect to the loss: a number, or without reduction one for
        each row. Default 1.
    need_grad : bool, default False
        Whether gradients are wanted.

    Returns
    -------
    loss : float or array of shape (N,)
        Alone without gradients, else a `SampledLoss`:
    grad_x : array of shape (N, D)
        Gradient with respect to `x`.
    grad_W : SparseRows
        That with respect to `W`: rows of the sample and of targets.
    grad_bias : SparseRows or None
        That with respect to `bias`.

    Raises
    ------
    IndexError
        For a class that `W` does not have.
    ValueError
        For shapes that do not fit, and with ``logq='all'`` for a target that the sampler never
        draws.
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
    return _loss(
        "softmax",
        x,
        W,
        targets,
        sample,
        bias,
        logq,
        num_true,
        ignore_index,
        need_grad,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
    )


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
) -> Any:
    """Noise-contrastive estimation: tell the target from a sample of noise.

    ``-log sigmoid(z_t - log Q_t) - sum_s log sigmoid(-(z_s - log Q_s))``, so that at its minimum
    ``e^z`` are probabilities without a normalizer. With several targets the terms of a target count
    with the label ``1 / num_true``, as in TensorFlow.

    Parameters, result and errors are those of `sampled_softmax_loss`; `remove_hits` is off by
    default, since noise may well be the target.

    References
    ----------
    .. [1] M. Gutmann and A. Hyvarinen, "Noise-contrastive estimation", 2010.
    .. [2] A. Mnih and Y. W. Teh, "A Fast and Simple Algorithm for Training Neural Probabilistic
           Language Models", 2012.
    """
    return _loss(
        "nce",
        x,
        W,
        targets,
        sample,
        bias,
        "all",
        num_true,
        ignore_index,
        need_grad,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
    )


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
) -> Any:
    """Negative sampling, as in word2vec: ``-log sigmoid(z_t) - sum_s log sigmoid(-z_s)``.

    `nce_loss` without the correction by expected counts: good vectors, but no probabilities.
    Parameters, result and errors are those of `sampled_softmax_loss`.

    References
    ----------
    .. [1] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
           Compositionality", 2013.
    """
    return _loss(
        "negative",
        x,
        W,
        targets,
        sample,
        bias,
        None,
        num_true,
        ignore_index,
        need_grad,
        remove_hits=remove_hits,
        reduction=reduction,
        grad_out=grad_out,
    )
