"""Samplers of classes, for losses that look at a few of many."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._class_sample import Sample
from ._core import _Sampler
from ._integers import integers, list_of_integers


class _ClassSampler:
    """What the samplers share."""

    _sampler: _Sampler

    @property
    def num_classes(self) -> int:
        """V, the number of classes."""
        return self._sampler.classes()

    def sample(
        self,
        n: SupportsIndex,
        *,
        unique: bool = False,
        seed: Any = None,
        position: SupportsIndex = 0,
    ) -> Sample:
        """Draw classes.

        Parameters
        ----------
        n : int
            How many.
        unique : bool, default False
            Without replacement: until `n` are distinct, in the order in which they appear. That is
            the distribution of Gumbel top-k.
        seed : int or numpy.random.Generator, optional
            As for `fastsoftmax.sample`. By default a fresh one.
        position : int, default 0
            Below 2**32; with one seed, each position, such as the training step, gives another
            sample.

        Returns
        -------
        Sample
            `ids`, int64 of shape (n,), and `log_expected_count`, float64 of shape (n,): log(n p),
            or with `unique` the logarithm of the probability to be in the sample.

        Raises
        ------
        ValueError
            For a negative `n`, for a seed or position that is out of range, with `unique` for more
            classes than can be drawn.
        TypeError
            For arguments that are not integers, and `unique` that is no bool.

        Notes
        -----
        Results depend on the arguments of the sampler, `n`, `unique`, `seed` and `position` alone,
        not on threads or the machine.

        Without replacement it is not known beforehand how many draws are needed, and
        ``1 - (1 - p)**draws`` is not the probability to be in the sample. Instead let draws arrive
        as a Poisson process of rate 1: class i arrives first after a time of the distribution
        Exp(p_i). Given the arrivals of all others, it is in the sample with probability
        ``1 - exp(-p_i * t)``, where t is the arrival of the class behind the sample. That
        probability is reported: sums over the sample that are divided by it are unbiased
        [1]_, [2]_. From `UniformSampler` it is n / V.

        References
        ----------
        .. [1] N. Duffield, C. Lund and M. Thorup, "Priority Sampling for Estimation of Arbitrary
               Subset Sums", 2007.
        .. [2] W. Kool, H. van Hoof and M. Welling, "Stochastic Beams and Where to Find Them", 2019.
        """
        if not isinstance(unique, bool | np.bool_):
            raise TypeError(f"unique must be a bool, not {type(unique).__name__}")
        sampler = self._sampler
        ids, expected, times = sampler.sample(n, bool(unique), seed, position)
        drawn = Sample(ids, expected)
        drawn._sampler, drawn._times = sampler, times
        return drawn

    def log_prob(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return logarithms of the probabilities with which a draw gives classes.

        Parameters
        ----------
        ids : array_like of int
            Classes.

        Returns
        -------
        numpy.ndarray of float64
            Of the shape of `ids`; -inf for classes that are never drawn.

        Raises
        ------
        IndexError
            For an id outside [0, V).
        TypeError
            For ids that are not integers.
        """
        wanted = integers(ids, "ids")
        return self._sampler.log_prob(wanted.ravel()).reshape(wanted.shape)


class UniformSampler(_ClassSampler):
    """Every class with the same probability; there are no counts to update.

    Parameters
    ----------
    V : int
        Classes, from 1 to 2**32 - 1.

    Raises
    ------
    ValueError
        For a number of classes out of range.
    TypeError
        For one that is no integer.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sampler = fs.UniformSampler(1000)
    >>> ids, log_expected_count = sampler.sample(10, unique=True, seed=1)
    >>> len(set(ids.tolist())), float(log_expected_count[0].round(3))  # log(10 / 1000)
    (10, -4.605)
    """

    def __init__(self, V: SupportsIndex) -> None:  # noqa: N803 - what the literature calls it
        self._sampler = _Sampler.uniform(V)


class LogUniformSampler(_ClassSampler):
    """Class i with probability ``log((i + 2) / (i + 1)) / log(V + 1)``.

    About Zipf's law, for classes in descending order of frequency; the sampler of TensorFlow's
    sampled softmax. It needs no memory per class, and has no counts to update.

    Parameters
    ----------
    V : int
        Classes, from 1 to 2**32 - 1.

    Raises
    ------
    ValueError
        For a number of classes out of range.
    TypeError
        For one that is no integer.
    """

    def __init__(self, V: SupportsIndex) -> None:  # noqa: N803
        self._sampler = _Sampler.log_uniform(V)


class UnigramSampler(_ClassSampler):
    """Class i with a probability proportional to ``counts[i] ** power``.

    Parameters
    ----------
    counts : array_like of int, shape (V,)
        How often each class was seen; not negative. Classes with a count of 0 are never drawn,
        whatever the power.
    power : float, default 0.75
        From 0 to 8. 0.75 is that of word2vec [1]_.
    reserved : array_like of int, default ()
        Classes that are never drawn, such as padding.

    Raises
    ------
    IndexError
        For a reserved class that is none.
    ValueError
        For counts that are negative or of another shape, a power out of range, and where no class
        is left to draw.
    TypeError
        For counts and classes that are not integers.

    Notes
    -----
    An alias table [2]_, 32 bytes per class: a draw takes constant time.

    References
    ----------
    .. [1] T. Mikolov et al., "Distributed Representations of Words and Phrases and their
           Compositionality", 2013.
    .. [2] M. D. Vose, "A Linear Algorithm for Generating Random Numbers with a Given
           Distribution", 1991.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sampler = fs.UnigramSampler([3, 0, 1], power=1.0)
    >>> sampler.log_prob([0, 1])
    array([-0.28768207,        -inf])
    """

    def __init__(self, counts: ArrayLike, power: float = 0.75, reserved: ArrayLike = ()) -> None:
        self._power = power
        self._reserved = integers(reserved, "reserved").flatten()
        self.update(counts)

    def update(self, counts: ArrayLike) -> None:
        """Draw by other counts from now on.

        Parameters
        ----------
        counts : array_like of int, shape (V,)
            As for the constructor; V may be another one.

        Raises
        ------
        IndexError, ValueError, TypeError
            As from the constructor. The sampler is then as before.
        """
        self._sampler = _Sampler(list_of_integers(counts, "counts"), self._power, self._reserved)
