"""Mirostat 2.0: sampling that keeps the surprise of tokens near a target."""

from __future__ import annotations

import threading
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from ._core import _Mirostat


class Mirostat:
    """Draw tokens whose surprise, ``-log2 p``, stays near `tau` bits on average.

    Each row has a number mu. A call keeps the elements whose surprise, of the whole row, is at most
    mu bits (one always stays), draws from them as `sample` does, and then moves mu by
    ``-eta * (surprise - tau)``.

    Parameters
    ----------
    tau : float, default 5.0
        The surprise aimed at, in bits; positive and finite.
    eta : float, default 0.1
        How far mu moves for each bit that the surprise is off; positive and finite.
    seed : int, array_like of int or numpy.random.Generator, optional
        As for `sample`; with an int all calls together repeat themselves.

    Raises
    ------
    ValueError
        For `tau` or `eta` that are not positive and finite.

    Notes
    -----
    An object belongs to one batch of texts; rows of texts that have ended stay in it, and what is
    drawn for them is ignored. Calls from several threads wait for each other.

    References
    ----------
    .. [1] S. Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls
           Perplexity", 2021.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> mirostat = fs.Mirostat(tau=3.0, seed=1)
    >>> mirostat.sample(np.zeros((2, 8))).shape  # every one has a surprise of 3 bits
    (2,)
    >>> mirostat.mu
    array([6., 6.])
    """

    def __init__(self, tau: float = 5.0, eta: float = 0.1, *, seed: Any = None) -> None:
        self._state = _Mirostat(tau, eta)
        self._seed = seed
        self._position = 0
        self._lock = threading.Lock()

    @property
    def mu(self) -> NDArray[np.float64]:
        """A copy of mu, in bits: float64 of the shape of the batch, () before the first call."""
        with self._lock:
            return self._state.mu()

    def sample(
        self,
        logits: Any,
        axis: SupportsIndex = -1,
        *,
        temperature: Any = 1.0,
        where: Any = None,
        position: Any = None,
        row_ids: Any = None,
    ) -> Any:
        """Draw one index for each row of `logits`, and move mu.

        Parameters
        ----------
        logits : array_like of one or more dimensions
            As for `sample`. The shape without the axis must be that of the first call.
        axis : int, default -1
            The axis along which is drawn.
        temperature, where, row_ids
            As for `sample`.
        position : int or array_like of int, optional
            As for `sample`. Default: 0, 1, ... counting the calls that are left to this.

        Returns
        -------
        numpy.ndarray or tensor of int64
            As `sample` returns them.

        Raises
        ------
        ValueError
            For a batch of another shape than that of the first call, and when `sample` raises it.
        TypeError, numpy.exceptions.AxisError, RuntimeError
            When `sample` raises them.

        Notes
        -----
        After an error mu and the position are as before. A row that has no softmax leaves its mu
        as it is.
        """
        with self._lock:
            indices = self._state.sample(
                logits,
                axis,
                temperature=temperature,
                where=where,
                seed=self._seed,
                position=self._position if position is None else position,
                row_ids=row_ids,
            )
            self._position += position is None
            return indices

    def reset(self) -> None:
        """Begin anew: mu is 2 tau, the position 0, and a batch of any shape may follow."""
        with self._lock:
            self._state.reset()
            self._position = 0
