"""Classes that a sampler has drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import _Sampler
from ._integers import integers, unmasked


class Sample:
    """Classes that were drawn, and how often each was to be expected.

    Unpacks as ``ids, log_expected_count = sample``. Samples and samplers can be copied and pickled,
    and go on as the originals, to the bit.

    Parameters
    ----------
    ids : array_like of int, shape (n,)
        The classes; copied.
    log_expected_count : array_like of float, shape (n,)
        Natural logarithms of the expected number of times that each of them is drawn; copied.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For ids that are not integers, expected counts that are not real, and masked arrays.
    """

    __slots__ = ("_sampler", "_times", "ids", "log_expected_count")

    ids: NDArray[np.int64]
    log_expected_count: NDArray[np.float64]

    def __init__(self, ids: ArrayLike, log_expected_count: ArrayLike) -> None:
        self.ids = integers(ids, "ids").copy()
        self.log_expected_count = unmasked(log_expected_count, "log_expected_count").astype(
            np.float64, order="C", casting="same_kind"
        )
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
        wanted = integers(ids, "ids")
        flat = wanted.ravel()
        counts = self._sampler.log_expected_count(flat, self._times, True)
        if self._times[1]:
            others = self._sampler.log_expected_count(flat, self._times, False)
            counts = np.where(np.isin(flat, self.ids), counts, others)
        return counts.reshape(wanted.shape)
