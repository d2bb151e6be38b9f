"""The targets of a batch as a sample."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._class_sample import Sample
from ._core import _Sampler
from ._integers import integers, list_of_integers


class InBatchSampler:
    """The targets of a batch as the negatives of its examples.

    They are draws from the distribution of the targets; `update` says how often each class occurs.

    Notes
    -----
    Each row's own target is in the sample, and a loss over the targets of that batch must remove
    it: `sampled_softmax_loss` does, `nce_loss` with ``remove_hits=True``. What is left to a row are
    the other n - 1 targets, draws that do not depend on its own. With p_c the frequency of class c
    they hold it (n - 1) p_c times on average, so that for a row with target t

    ``E[sum_{s != t} exp(z_s) / ((n - 1) p_s)] = sum_{c != t} exp(z_c)``

    over the classes that occur: with the target's own term, which enters as it is, the estimate of
    the partition is unbiased for n of 2 and more. Divided by n p_c, as if all n were draws, the
    negatives would count (n - 1) / n of what they should.

    References
    ----------
    .. [1] X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
           Recommendations", 2019.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> sampler = fs.InBatchSampler()
    >>> sampler.update([6, 2, 2])
    >>> sampler.sample([0, 2, 0, 1]).log_expected_count.round(3)  # log(3 * 0.6), log(3 * 0.2)
    array([ 0.588, -0.511,  0.588, -0.511])
    >>> sampler.sample([0, -100, 2]).ids
    array([0, 2])
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
        self._sampler = _Sampler(list_of_integers(counts, "counts"), 1.0, np.empty(0, np.int64))

    def sample(self, targets: ArrayLike, *, ignore_index: SupportsIndex = -100) -> Sample:
        """Return the targets of a batch as a sample.

        Parameters
        ----------
        targets : array_like of int
            The classes of the batch, of any shape, one for each row of the loss; repeated ones
            stay.
        ignore_index : int, default -100
            Targets that are this are left out, as in losses.

        Returns
        -------
        Sample
            `ids`, the n targets, int64 of shape (n,), and `log_expected_count`, how often a row is
            to expect them among those of the other rows: log((n - 1) p), or log(p) for n = 1.

        Raises
        ------
        IndexError
            For a target outside [0, V).
        ValueError
            For a target with a count of 0, and before `update`.
        TypeError
            For targets that are not integers.
        """
        ids = integers(targets, "targets").ravel()
        ids = ids[ids != index(ignore_index)]
        times = (max(len(ids) - 1, 1), False, 0.0, 0.0)
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
        wanted = integers(ids, "ids")
        return self._known().log_prob(wanted.ravel()).reshape(wanted.shape)

    def _known(self) -> _Sampler:
        if self._sampler is None:
            raise ValueError("InBatchSampler knows no counts yet: call update(counts)")
        return self._sampler
