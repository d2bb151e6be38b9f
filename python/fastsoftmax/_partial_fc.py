"""Partial FC: losses of classifiers over very many classes against a sample of them."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, SupportsIndex

import numpy as np

from . import _core
from ._integers import integers
from ._results import LinearCrossEntropy, LinearGradients, PartialFC

_Reduction = Literal["mean", "sum", "none"]
_Margin = Literal["none", "arcface", "cosface"]
_SIZES = {"none": 0.0, "arcface": 0.5, "cosface": 0.35}


def _read_margin(margin: Any) -> tuple[str, float]:
    if not isinstance(margin, str | tuple):
        raise TypeError(f"margin must be a name or (name, size), not {type(margin).__name__}")
    name, *size = (margin,) if isinstance(margin, str) else margin or ("",)
    if name not in _SIZES:
        raise ValueError(f"margin must be 'none', 'arcface' or 'cosface', not {name!r}")
    if len(size) > 1 or (size and name == "none"):
        raise ValueError(f"margin must be a name or ('arcface' or 'cosface', size), not {margin!r}")
    return name, size[0] if size else _SIZES[name]


def partial_fc_sample(
    targets: Any,
    V: SupportsIndex,  # noqa: N803 - what the literature calls it
    rate: float,
    *,
    seed: Any = None,
    position: SupportsIndex = 0,
    ignore_index: SupportsIndex = -100,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> PartialFC:
    """Choose the classes that a step of Partial FC looks at.

    The targets of the batch, and a uniform sample of the other classes, without replacement.

    Parameters
    ----------
    targets : array_like of int of shape (N,)
        Classes.
    V : int
        Classes of the layer, from 1 to 2**32 - 1.
    rate : float
        Above 0, at most 1: ``rate * V`` classes in all, rounded, halves up. Where the targets are
        more, these alone.
    seed : int or numpy.random.Generator, optional
        As for `sample`. By default a fresh one.
    position : int, default 0
        Below 2**32; with one seed, each position, such as the training step, gives another sample.
    ignore_index : int, default -100
        Rows whose target this is have none.
    vocab_start : int, default 0
        The classes are `vocab_start` to ``vocab_start + V - 1``; `ids` count from `vocab_start`.
    vocab_size : int, optional
        The number of classes of all processes, where they are split over several. Targets may be
        classes of others then.

    Returns
    -------
    PartialFC
        A named tuple of arrays. `ids`: int64 of shape (S,), rows of the layer's weights, ascending.
        `remapped_targets`: int64 of shape (N,), where in `ids` the targets are; -1 for rows that
        are ignored, S for a class of another process. `log_correction`: float64 of shape (S,),
        the logarithm of the probability with which a class is in the sample, to be subtracted from
        its score; 0 for targets.

    Raises
    ------
    IndexError
        For a target that is no class; the message names row and value.
    ValueError
        For a rate, seed, position or number of classes out of range, and shapes that do not fit.
    TypeError
        For targets that are not integers.

    Notes
    -----
    Time and memory are O(rate * V), and the result depends on the arguments alone, not on threads
    or the machine.

    With q the probability of a class that is no target to be in the sample, the same for all, the
    sum of ``exp(score - log(q))`` over those of the sample is an unbiased estimate of the sum of
    ``exp(score)`` over all of them.

    References
    ----------
    .. [1] X. An et al., "Partial FC: Training 10 Million Identities on a Single Machine", 2021.
    .. [2] X. An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face
           Recognition CNNs by Partial FC", 2022.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sample = fs.partial_fc_sample([7, 3, 7], 1000, 0.01, seed=1)
    >>> len(sample.ids), sample.ids[sample.remapped_targets]
    (10, array([7, 3, 7]))
    """
    return _core._partial_fc_sample(
        integers(targets, "targets"), V, rate, seed, position, ignore_index, vocab_start, vocab_size
    )


def _sample_of(
    rate: Any,
    W: Any,  # noqa: N803
    targets: Any,
    seed: Any,
    position: SupportsIndex,
    **vocabulary: Any,
) -> PartialFC:
    if isinstance(rate, PartialFC):
        for name, given in (("seed", seed is not None), ("position", index(position) != 0)):
            if given:
                raise ValueError(f"{name} is of use with a rate only, not with a sample")
        return rate
    if isinstance(rate, tuple):
        raise TypeError("rate must be a number or a PartialFC, not another tuple")
    shape = np.shape(W)
    if len(shape) != 2:
        raise ValueError(f"W must have 2 dimensions, not shape {tuple(shape)}")
    return partial_fc_sample(targets, shape[0], rate, seed=seed, position=position, **vocabulary)


def _loss(
    x: Any,
    W: Any,  # noqa: N803
    targets: Any,
    sample: PartialFC,
    margin: Any,
    unbiased: bool,
    **options: Any,
) -> Any:
    name, size = _read_margin(margin)
    correction = sample.log_correction if unbiased else None
    classes = integers(targets, "targets")
    return _core._partial_fc_loss(x, W, classes, sample.ids, correction, name, size, **options)


def partial_fc_loss(
    x: Any,
    W: Any,  # noqa: N803
    targets: Any,
    rate: float | PartialFC,
    *,
    margin: _Margin | tuple[_Margin, float] = "none",
    scale: float = 64.0,
    unbiased: bool = False,
    normalize: bool = True,
    seed: Any = None,
    position: SupportsIndex = 0,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    grad_out: Any = None,
    need_grad: bool = False,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> LinearCrossEntropy:
    """Cross-entropy of cosines over the targets of a batch and a sample of the other classes.

    ``logsumexp(z[ids]) - z[target]`` with ``z = scale * cos(x, W)``, where the margin takes the
    place of the cosine at the target. The scores are never in memory as a whole, nor is a copy of
    more than the rows of `W` that are in the sample.

    Parameters
    ----------
    x : array_like of shape (N, D)
        Inputs of the layer. Types, strides and tensors as for `softmax`.
    W : array_like of shape (V, D)
        A row of weights for each class.
    targets : array_like of int of shape (N,)
        Classes.
    rate : float or PartialFC
        Which part of the classes takes part, see `partial_fc_sample`; or a sample that it has
        drawn.
    margin : {'none', 'arcface', 'cosface'} or (str, float), default 'none'
        What becomes of the target's cosine; with the size m, by default 0.5 for ``'arcface'``, in
        radians from 0 to pi, and 0.35 for ``'cosface'``, not negative. See Notes.
    scale : float, default 64.0
        Factor of the cosines.
    unbiased : bool, default False
        Whether the sample's correction is subtracted from the scores, so that the sum over the
        classes that are no targets is an unbiased estimate of that over all of them.
    normalize : bool, default True
        If false, scores are ``scale * x @ W.T``; only without a margin.
    seed : int or numpy.random.Generator, optional
        As for `partial_fc_sample`; only with a rate.
    position : int, default 0
        Likewise.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        The mean is that over rows that are not ignored; NaN over none.
    ignore_index : int, default -100
        Rows whose target this is have loss and gradient 0.
    grad_out : float or array_like, optional
        Gradient of what follows with respect to the loss: a number, or without reduction one for
        each row. Default 1.
    need_grad : bool, default False
        Whether gradients are wanted.
    vocab_start : int, default 0
        `W` holds the classes from this one on.
    vocab_size : int, optional
        The number of classes of all processes, where they are split over several. Each of them
        draws its own sample, and the result is a shard for `merge_shards`.

    Returns
    -------
    LinearCrossEntropy
        As from `linear_cross_entropy`, with `grad_W` a `SparseRows` of the sample's rows and
        without `grad_bias`. `target_logit` is the target's score under the margin.

    Raises
    ------
    IndexError
        For a target that is no class; the message names row and value.
    ValueError
        For shapes that do not fit, options outside of their range, a target that is not in a given
        sample, `seed` or `position` with a sample, a margin without `normalize`, `grad_out` without
        `need_grad`, `need_grad` with `vocab_size`.
    TypeError
        For dtypes that are not supported, targets that are not integers, and a rate that is neither
        a number nor a `PartialFC`.

    Notes
    -----
    With theta the angle between the input and the target's row, the cosine becomes

    - ``'cosface'``: ``cos(theta) - m``
    - ``'arcface'``: ``cos(theta + m)``, and beyond ``theta + m = pi``, where that would rise again,
      ``cos(theta) - m * sin(m)``, as in the authors' code.

    Gradients are the derivatives of that, without approximations; the angle is formed in double,
    so that they keep their accuracy where it is small. Where it is 0 (below 1e-12), ``'arcface'``
    has no derivative, and the part of it that has no direction is left out. A row of zeros has
    cosine 0 with all others, and its gradient is 0.

    With ``rate=1`` this is the full cross-entropy. All targets of the batch are in the sample:
    those of other rows are negatives like all else.

    References
    ----------
    .. [1] X. An et al., "Partial FC: Training 10 Million Identities on a Single Machine", 2021.
    .. [2] J. Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019.
    .. [3] H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> x, W = np.eye(2, 5), np.eye(1000, 5)
    >>> options = {"margin": ("cosface", 0.5), "scale": 8.0, "seed": 1}
    >>> fs.partial_fc_loss(x, W, [0, 1], 0.1, **options).loss.round(3)  # log(1 + 99 e**-4)
    np.float64(1.034)
    """
    vocabulary: dict[str, Any] = {
        "ignore_index": ignore_index,
        "vocab_start": vocab_start,
        "vocab_size": vocab_size,
    }
    sample = _sample_of(rate, W, targets, seed, position, **vocabulary)
    result: LinearCrossEntropy = _loss(
        x,
        W,
        targets,
        sample,
        margin,
        unbiased,
        scale=scale,
        normalize=normalize,
        reduction=reduction,
        grad_out=grad_out,
        need_grad=need_grad,
        totals=None,
        **vocabulary,
    )
    return result


def partial_fc_loss_backward(
    forward: LinearCrossEntropy,
    x: Any,
    W: Any,  # noqa: N803
    targets: Any,
    sample: PartialFC,
    *,
    grad_out: Any = None,
    margin: _Margin | tuple[_Margin, float] = "none",
    scale: float = 64.0,
    unbiased: bool = False,
    normalize: bool = True,
    reduction: _Reduction = "mean",
    ignore_index: SupportsIndex = -100,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> LinearGradients:
    """Gradients of `partial_fc_loss`, once the gradient of what follows is known.

    With shards of a vocabulary, each process calls it with its own `W` and `sample` and what
    `merge_shards` returned: `grad_W` is then that of its classes, and the sum of all `grad_x` is
    that of the whole.

    Parameters
    ----------
    forward : LinearCrossEntropy
        What `partial_fc_loss` or `merge_shards` returned, of which `max` and `logsum` are read.
    x, W, targets : array_like
        As for `partial_fc_loss`.
    sample : PartialFC
        The sample that `partial_fc_loss` was called with.
    grad_out, margin, scale, unbiased, normalize, reduction, ignore_index : optional
        As for `partial_fc_loss`.
    vocab_start, vocab_size : int, optional
        As for `partial_fc_loss`.

    Returns
    -------
    LinearGradients
        A named tuple ``(grad_x, grad_W, grad_bias)``: as from `partial_fc_loss`, and None.

    Raises
    ------
    IndexError, ValueError
        When `partial_fc_loss` raises them.
    TypeError
        Likewise, and for another `forward` or `sample`.
    """
    if not isinstance(forward, LinearCrossEntropy):
        raise TypeError(f"expected a LinearCrossEntropy, not {type(forward).__name__}")
    if not isinstance(sample, PartialFC):
        raise TypeError(f"sample must be a PartialFC, not {type(sample).__name__}")
    result: LinearGradients = _loss(
        x,
        W,
        targets,
        sample,
        margin,
        unbiased,
        scale=scale,
        normalize=normalize,
        reduction=reduction,
        ignore_index=ignore_index,
        grad_out=grad_out,
        need_grad=True,
        vocab_start=vocab_start,
        vocab_size=vocab_size,
        totals=(forward.max, forward.logsum),
    )
    return result
