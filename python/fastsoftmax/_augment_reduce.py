"""Augment and reduce: bounds of log-likelihoods that a sample of the classes estimates."""

from __future__ import annotations

import secrets
from operator import index
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._class_sample import Sample
from ._integers import list_of_integers, unmasked
from ._sampled_softmax import sampled_result

_MODELS = ("softmax", "probit", "logistic")
_MOST_DRAWS = 32


class AugmentReduce:
    """Train an output layer over many classes on a bound that is a sum over them.

    A class is the one with the largest score plus noise. Gumbel noise makes it the softmax, normal
    noise the multinomial probit, logistic noise the multinomial logistic. Given the target's noise
    the others are independent, so that with any density q over it

    ``log p(y) >= E_q[log f(e) - log q(e) + sum_{k != y} log F(e + z_y - z_k)]``

    with scores ``z = x @ W.T + bias``, the noise's density f and distribution function F. A sum
    over classes is estimated by a sample without bias, which the logarithm of a sum is not. The
    object keeps a density q for each example; `step` moves those of a batch, and returns the
    bound's negative, a loss, and its gradients.

    Parameters
    ----------
    n_examples : int
        Number of training examples.
    model : {'softmax', 'probit', 'logistic'}, default 'softmax'
        The noise of the scores.
    decay, min_step : float, defaults 0.9 and 0.0
        An example that was stepped v times before moves by ``max(min_step, (1 + v)**-decay)``. Both
        from 0 to 1. While weights still change much, a `min_step` of 0.1 or so forgets faster.
    draws : int, default 1
        How many random e estimate the expectation, for probit and logistic; at most 32. Time grows
        with it.
    seed : int or numpy.random.Generator, optional
        Of these. By default a fresh one.

    Attributes
    ----------
    location : numpy.ndarray of float64, shape (n_examples,)
        Of each q; in the softmax the logarithm of eta.
    scale : numpy.ndarray of float64, shape (n_examples,), or (0,) in the softmax
        Of each q. In the softmax it is 1.
    visits : numpy.ndarray of int32, shape (n_examples,)
        How often an example was stepped; where it is 0 the others mean nothing yet.
    model, decay, min_step, draws, seed
        The parameters.

    Raises
    ------
    ValueError
        For parameters that are out of range, and a model that is none.
    TypeError
        For parameters of another type.

    Notes
    -----
    Softmax: q is Gumbel with location log eta and scale 1, the expectation is known, and

    ``loss = log(eta) - 1 + n / eta,  n = 1 + sum_{k != y} exp(z_k - z_y)``,

    which is least at eta = n, where it is the cross-entropy. A step estimates n by
    ``1 + sum_s exp(z_s - z_y) / Q_s``, Q_s how often class s is expected in the sample, and moves
    eta to it by the natural gradient, ``eta <- (1 - a) * eta + a * n``; log eta is what is kept, so
    that nothing overflows. Its gradient is that of `sampled_softmax_loss` times n / eta: over many
    visits an estimate that uses many samples.

    Probit and logistic: q is normal, logistic, with a location and a scale that are moved by
    reparameterized gradients, ``e = location + scale * noise``, times the inverse of q's Fisher
    information, a step being at most one scale long. The first visit sets them to maximum and
    curvature of what q is to approximate. Preconditioning and first visit replace the small steps
    from location 0 and scale 1 of [1]_, with which a location that grows with the logarithm of the
    number of classes is reached late.

    With q held, the mean of the loss over samples and noise is at least ``-log p(y)``. A loss that
    is returned uses a q which its own sample has moved, and may be lower by that.

    Shards of a vocabulary: `step_from_losses`, in the softmax.

    The state are the arrays above. Objects can be pickled, and serve one thread at a time.

    References
    ----------
    .. [1] F. J. R. Ruiz, M. K. Titsias, A. B. Dieng and D. M. Blei, "Augment and Reduce: Stochastic
           Inference for Large Categorical Distributions", 2018.
    .. [2] G. Roeder, Y. Wu and D. Duvenaud, "Sticking the Landing: Simple, Lower-Variance Gradient
           Estimators for Variational Inference", 2017.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> x, W, targets = np.ones((2, 3)), np.zeros((1000, 3)), [5, 7]
    >>> bound = fs.AugmentReduce(n_examples=2)
    >>> sample = fs.UniformSampler(1000).sample(100, unique=True, seed=1)
    >>> result = bound.step(x, W, targets, sample, examples=[0, 1])
    >>> result.loss.round(3)  # log 1001 at most
    np.float64(6.909)
    >>> bool((np.exp(bound.location) <= 1001.001).all())
    True
    """

    location: NDArray[np.float64]
    scale: NDArray[np.float64]
    visits: NDArray[np.int32]

    def __init__(
        self,
        n_examples: SupportsIndex,
        model: Literal["softmax", "probit", "logistic"] = "softmax",
        *,
        decay: float = 0.9,
        min_step: float = 0.0,
        draws: SupportsIndex = 1,
        seed: SupportsIndex | np.random.Generator | None = None,
    ) -> None:
        count = index(n_examples)
        if count < 0:
            raise ValueError(f"n_examples must not be negative, got {count}")
        if model not in _MODELS:
            raise ValueError(f"model must be 'softmax', 'probit' or 'logistic', not {model!r}")
        for name, value in (("decay", decay), ("min_step", min_step)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        if not 1 <= index(draws) <= _MOST_DRAWS:
            raise ValueError(f"draws must be from 1 to {_MOST_DRAWS}, got {index(draws)}")
        if seed is None:
            seed = secrets.randbits(64)
        elif isinstance(seed, np.random.Generator):
            seed = int(seed.integers(2**64, dtype=np.uint64))
        if not 0 <= index(seed) < 2**64:
            raise ValueError(f"seed must be from 0 to 2**64 - 1, got {index(seed)}")
        self.model = model
        self.decay = float(decay)
        self.min_step = float(min_step)
        self.draws = index(draws)
        self.seed = index(seed)
        self.location = np.zeros(count)
        self.scale = np.ones(0 if model == "softmax" else count)
        self.visits = np.zeros(count, np.int32)

    def __repr__(self) -> str:
        return f"<AugmentReduce of {len(self.visits)} examples, {self.model}>"

    @property
    def log_eta(self) -> NDArray[np.float64]:
        """`location`, under its name in the softmax; AttributeError in the other models."""
        if self.model != "softmax":
            raise AttributeError(f"the {self.model} model has a location and a scale, and no eta")
        return self.location

    def step(
        self,
        x: Any,
        W: Any,
        targets: Any,
        sample: Sample,
        examples: Any,
        bias: Any = None,
        *,
        update: bool = True,
        reduction: Literal["mean", "sum", "none"] = "mean",
        ignore_index: SupportsIndex = -100,
        grad_out: Any = None,
        need_grad: bool = True,
    ) -> Any:
        """Move the densities q of a batch's examples; return the loss and its gradients.

        The loss is the negative of the bound of ``log p(target)``, the gradients are those of the
        loss: optimizers that minimize take them as they are.

        Parameters
        ----------
        x : array_like of shape (N, D)
            Inputs of the layer. Types, strides and tensors as for `softmax`.
        W : array_like of shape (V, D)
            A row of weights for each class, of which those of sample and targets are read.
        targets : array_like of int of shape (N,)
            Classes.
        sample : Sample
            Classes to compare with, the same for all rows; see `UniformSampler`,
            `LogUniformSampler` and `UnigramSampler`. The target is left out, however often it is in
            the sample.
        examples : array_like of int of shape (N,)
            Which example of the training data each row is, all of them different.
        bias : array_like of shape (V,), optional
            Added to the scores.
        update : bool, default True
            Whether q is moved. If not, an example that was not visited before has the q that its
            first visit would give.
        reduction : {'mean', 'sum', 'none'}, default 'mean'
            The mean is that over rows that are not ignored; NaN over none.
        ignore_index : int, default -100
            Rows whose target this is have loss and gradient 0 and leave their example alone.
        grad_out : float or array_like, optional
            Gradient of what follows with respect to the loss: a number, or without reduction one
            for each row. Default 1.
        need_grad : bool, default True
            Whether gradients are wanted.

        Returns
        -------
        loss : float or array of shape (N,)
            Alone without gradients, else a `SampledLoss`:
        grad_x : array of shape (N, D)
            Gradient with respect to `x`, with q held.
        grad_W : SparseRows
            That with respect to `W`: rows of the sample and of targets.
        grad_bias : SparseRows or None
            That with respect to `bias`.

        Raises
        ------
        IndexError
            For a class that `W` does not have, and an example that there is not.
        ValueError
            For shapes that do not fit, an example in several rows, locations and scales of visited
            examples that are not finite, and state that was replaced by arrays that are read-only
            or not contiguous.
        TypeError
            For dtypes that are not supported, a sample that is none, and state that was replaced by
            arrays of another type.

        Notes
        -----
        After an error the state is as before. A row whose new q would not be finite keeps its own,
        and the visit does not count. So does one whose target has the score -inf and probability 0:
        in the softmax its loss is inf and its gradient that of `sampled_softmax_loss`, in the other
        models they are NaN. Given its scores, results of a row depend on its example's state and
        number, `seed`, and the sample, not on the rest of the batch or on threads; the scores'
        last bits may depend on the number of rows, as those of any matrix product.
        """
        if not isinstance(sample, Sample):
            raise TypeError(f"sample must be a Sample, not {type(sample).__name__}")
        return sampled_result(
            _core._augment_reduce_step(
                self.model,
                (self.decay, self.min_step),
                self.draws,
                self.seed,
                self.location,
                self.scale,
                self.visits,
                x,
                W,
                list_of_integers(targets, "targets"),
                sample.ids,
                sample.log_expected_count,
                list_of_integers(examples, "examples"),
                bias,
                update,
                reduction,
                ignore_index,
                grad_out,
                need_grad,
            )
        )

    def step_from_losses(
        self, losses: ArrayLike, examples: ArrayLike, *, update: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Make the step of the softmax where the sampled losses come from elsewhere.

        For shards of a vocabulary, which none of them has as a whole, and for scores of another
        device. With the losses of `sampled_softmax_loss` over all shards (`merge_shards`),
        ``logq='negatives'`` and without reduction, the gradients of the step are those of that loss
        (`sampled_softmax_loss_backward`) with the factors, times what `grad_out` would be
        otherwise, as its `grad_out`.

        Parameters
        ----------
        losses : array_like of float of shape (N,)
            ``log n`` of each row, see the Notes of the class, not negative; only rows that take
            part.
        examples : array_like of int of shape (N,)
            Which example each of them is, all of them different.
        update : bool, default True
            As for `step`.

        Returns
        -------
        loss : numpy.ndarray of float64, shape (N,)
            As from `step` without reduction.
        factor : numpy.ndarray of float64, shape (N,)
            ``n / eta``; 1 where a loss is inf.

        Raises
        ------
        IndexError, ValueError, TypeError
            As for `step`; ValueError also for a negative loss, and in the other models, where
            losses do not tell enough.

        Examples
        --------
        >>> import fastsoftmax as fs
        >>> import numpy as np
        >>> x, W, targets = np.ones((2, 3)), np.zeros((1000, 3)), [5, 7]
        >>> bound = fs.AugmentReduce(n_examples=2)
        >>> sample = fs.UniformSampler(1000).sample(100, unique=True, seed=1)
        >>> of_sample = fs.sampled_softmax_loss(x, W, targets, sample, reduction="none")
        >>> loss, factor = bound.step_from_losses(of_sample, [0, 1])
        >>> factor  # a first visit: n = eta
        array([1., 1.])
        """
        if self.model != "softmax":
            raise ValueError(f"losses do not tell what a step of the {self.model} model needs")
        values = unmasked(losses, "losses").astype(np.float64, casting="same_kind", copy=False)
        if values.ndim != 1:
            raise ValueError(f"losses must have 1 dimension, not shape {values.shape}")
        return _core._augment_reduce_losses(
            (self.decay, self.min_step),
            self.location,
            self.scale,
            self.visits,
            values,
            list_of_integers(examples, "examples"),
            update,
        )
