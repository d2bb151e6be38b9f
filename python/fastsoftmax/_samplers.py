"""Samplers of classes, for losses that look at a few of many."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import _Sampler


class Sample:
    """Classes that were drawn, and how often each was to be expected.

    Unpacks as ``ids, log_expected_count = sample``.

    Parameters
    ----------
    ids : array_like of int, shape (n,)
        The classes.
    log_expected_count : array_like of float, shape (n,)
        Natural logarithms of the expected number of times that each of them is drawn.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For ids that are not integers.
    """

    __slots__ = ("_sampler", "_times", "ids", "log_expected_count")

    ids: NDArray[np.int64]
    log_expected_count: NDArray[np.float64]

    def __init__(self, ids: ArrayLike, log_expected_count: ArrayLike) -> None:
        self.ids = _integers(ids, "ids")
        self.log_expected_count = np.asarray(log_expected_count, np.float64)
        if self.ids.ndim != 1 or self.ids.shape != self.log_expected_count.shape:
            raise ValueError(
                "ids and log_expected_count must have the same shape (n,), not "
                f"{self.ids.shape} and {self.log_expected_count.shape}"
            )
        self._sampler: _Sampler | None = None
        self._times: tuple[int, bool, float, float] | None = None

    def __iter__(self) -> Any:
        return iter((self.ids, self.log_expected_count))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Sample of {len(self)} classes>"

    def log_expected_count_of(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return how often any classes were to be expected in this sample.

        Parameters
        ----------
        ids : array_like of int
            Classes, drawn or not, such as the targets of a batch.

        Returns
        -------
        numpy.ndarray of float64
            Natural logarithms, of the shape of `ids`; -inf for classes that are never drawn.

        Raises
        ------
        IndexError
            For a class that the sampler does not have.
        TypeError
            For ids that are not integers.
        ValueError
            For a sample that was not made by a sampler.
        """
        if self._sampler is None or self._times is None:
            raise ValueError("this sample was made by hand: only its own expected counts are known")
        wanted = _integers(ids, "ids")
        flat = wanted.ravel()
        counts = self._sampler.log_expected_count(flat, self._times, True)
        if self._times[1]:
            others = self._sampler.log_expected_count(flat, self._times, False)
            counts = np.where(np.isin(flat, self.ids), counts, others)
        return counts.reshape(wanted.shape)


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
            For arguments that are not integers.

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
        wanted = _integers(ids, "ids")
        return self._sampler.log_prob(wanted.ravel()).reshape(wanted.shape)


class UniformSampler(_ClassSampler):
    """Every class with the same probability.

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
    sampled softmax. It needs no memory per class.

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
        self._reserved = _integers(reserved, "reserved").ravel()
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
        self._sampler = _Sampler(_counts(counts), self._power, self._reserved)


class InBatchSampler:
    """The targets of a batch as the negatives of its examples.

    They are draws from the distribution of the targets; `update` says how often each class occurs.

    References
    ----------
    .. [1] X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
           Recommendations", 2019.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sampler = fs.InBatchSampler()
    >>> sampler.update([6, 2, 2])
    >>> sampler.sample([0, 2, 0, 1]).log_expected_count.round(3)  # log(4 * 0.6), log(4 * 0.2)
    array([ 0.875, -0.223,  0.875, -0.223])
    """

    def __init__(self) -> None:
        self._sampler: _Sampler | None = None

    def update(self, counts: ArrayLike) -> None:
        """Expect targets by other counts from now on.

        Parameters
        ----------
        counts : array_like of int, shape (V,)
            How often each class is a target in the training set; not negative.

        Raises
        ------
        ValueError
            For counts that are negative, all 0 or of another shape.
        TypeError
            For counts that are not integers.
        """
        self._sampler = _Sampler(_counts(counts), 1.0, np.empty(0, np.int64))

    def sample(self, targets: ArrayLike) -> Sample:
        """Return the targets of a batch as a sample.

        Parameters
        ----------
        targets : array_like of int
            The classes of the batch, of any shape; repeated ones stay.

        Returns
        -------
        Sample
            `ids`, the targets, int64 of shape (n,), and `log_expected_count`, log(n p).

        Raises
        ------
        IndexError
            For a target outside [0, V).
        ValueError
            For a target with a count of 0, and before `update`.
        TypeError
            For targets that are not integers.
        """
        ids = _integers(targets, "targets").ravel()
        times = (len(ids), False, 0.0, 0.0)
        sampler = self._known()
        expected = sampler.log_expected_count(ids, times, True)
        unseen = ids[np.isneginf(expected)]
        if len(unseen):
            raise ValueError(f"class {unseen[0]} is a target, but its count is 0")
        batch = Sample(ids, expected)
        batch._sampler, batch._times = sampler, times
        return batch

    def log_prob(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return logarithms of the frequencies of classes.

        Parameters
        ----------
        ids : array_like of int
            Classes.

        Returns
        -------
        numpy.ndarray of float64
            Of the shape of `ids`; -inf where the count is 0.

        Raises
        ------
        IndexError
            For an id outside [0, V).
        ValueError
            Before `update`.
        TypeError
            For ids that are not integers.
        """
        wanted = _integers(ids, "ids")
        return self._known().log_prob(wanted.ravel()).reshape(wanted.shape)

    def _known(self) -> _Sampler:
        if self._sampler is None:
            raise ValueError("InBatchSampler knows no counts yet: call update(counts)")
        return self._sampler


def _counts(given: ArrayLike) -> NDArray[np.int64]:
    counts = _integers(given, "counts")
    if counts.ndim != 1:
        raise ValueError(f"counts must have 1 dimension, not shape {counts.shape}")
    return counts


def _integers(given: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(given)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) >> 63:
        raise ValueError(f"{name} must be below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64).reshape(array.shape)
