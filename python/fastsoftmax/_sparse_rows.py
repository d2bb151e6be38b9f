"""A few rows of a large matrix."""

from __future__ import annotations

from importlib import import_module
from operator import index
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import _add_rows, _coalesce_rows
from ._integers import list_of_integers, unmasked

_DTYPES = ("float16", "bfloat16", "float32", "float64")


class SparseRows:
    """Rows of a matrix of which most rows are zero: the gradient of a large layer.

    Parameters
    ----------
    ids : array_like of int, shape (U,)
        Numbers of the rows that are there, ascending without repetition; see `coalesce` for any
        others.
    values : array_like of shape (U, D), or (U,) for rows that are numbers
        The rows: float16, bfloat16, float32 or float64. Arrays are kept, not copied.
    num_rows : int, optional
        Rows of the matrix. Default: as many as the largest id needs.

    Raises
    ------
    IndexError
        For an id outside [0, num_rows).
    ValueError
        For shapes that do not fit, ids that do not ascend, a negative `num_rows`.
    TypeError
        For ids that are not integers and values of another dtype.

    Notes
    -----
    The result of ``len`` is U, the number of rows that are there.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> import numpy as np
    >>> grad = fs.SparseRows([0, 2], np.array([[1.0, 2.0], [3.0, 4.0]]), num_rows=3)
    >>> grad.to_dense()
    array([[1., 2.],
           [0., 0.],
           [3., 4.]])
    >>> W = np.ones((3, 2))
    >>> grad.add_to(W, alpha=-0.5)
    array([[ 0.5,  0. ],
           [ 1. ,  1. ],
           [-0.5, -1. ]])
    """

    __slots__ = ("_ids", "_num_rows", "_values")

    def __init__(
        self, ids: ArrayLike, values: ArrayLike, num_rows: SupportsIndex | None = None
    ) -> None:
        self._ids = _ascending(list_of_integers(ids, "ids"))
        self._values = unmasked(values, "values")
        if self._values.ndim not in (1, 2) or len(self._values) != len(self._ids):
            raise ValueError(
                f"values must have shape ({len(self._ids)}, D) or ({len(self._ids)},), "
                f"not {self._values.shape}"
            )
        if self._values.dtype.name not in _DTYPES:
            raise TypeError(f"values must be {', '.join(_DTYPES)}, not {self._values.dtype}")
        last = int(self._ids[-1]) if len(self._ids) else -1
        self._num_rows = last + 1 if num_rows is None else index(num_rows)
        if self._num_rows < 0:
            raise ValueError(f"num_rows must not be negative, got {self._num_rows}")
        if last >= self._num_rows:
            raise IndexError(f"id {last} is out of range for {self._num_rows} rows")

    @classmethod
    def coalesce(cls, ids: ArrayLike, values: ArrayLike, num_rows: SupportsIndex) -> SparseRows:
        """Add up rows of equal ids, in the order in which they appear.

        Parameters
        ----------
        ids : array_like of int, shape (M,)
            In any order, with any repetition.
        values : array_like of shape (M, D) or (M,)
            Any real dtype.
        num_rows : int
            Rows of the matrix.

        Returns
        -------
        SparseRows
            float64 where `values` are float64 or integers, else float32.

        Raises
        ------
        IndexError
            For an id outside [0, num_rows).
        ValueError, TypeError
            For shapes that do not fit, for dtypes that are not supported.
        """
        array = unmasked(values, "values")
        rows = _coalesce_rows(list_of_integers(ids, "ids"), array, num_rows)
        return rows if array.ndim == 2 else cls(rows.ids, rows.values[:, 0], num_rows)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Numbers of the rows that are there, ascending: read-only, of shape (U,)."""
        return self._ids

    @property
    def values(self) -> NDArray[Any]:
        """The rows, of shape (U, D) or (U,)."""
        return self._values

    @property
    def num_rows(self) -> int:
        """Rows of the matrix."""
        return self._num_rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix: (num_rows, D) or (num_rows,)."""
        return (self._num_rows, *self._values.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._values.dtype

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<SparseRows: {len(self)} rows of shape {self.shape}, dtype {self.dtype}>"

    def to_dense(self) -> NDArray[Any]:
        """Return the matrix as an array of shape `shape`.

        Raises
        ------
        MemoryError
            Where there is no room for it.
        """
        dense = np.zeros(self.shape, self.dtype)
        dense[self._ids] = self._values
        return dense

    def add_to(self, W: Any, alpha: float = 1.0) -> Any:  # noqa: N803 - what layers call it
        """Add the rows to those of `W`, in place: ``W[ids] += alpha * values``.

        A step of gradient descent is ``grad.add_to(W, -learning_rate)``. No other row is touched,
        and nothing is copied.

        Parameters
        ----------
        W : numpy.ndarray or tensor of shape (V, D) or (V,)
            float16, bfloat16, float32 or float64, writable, of any strides; with at least
            `num_rows` rows.
        alpha : float, default 1.0
            Factor of the values.

        Returns
        -------
        numpy.ndarray or tensor
            `W`.

        Raises
        ------
        IndexError
            Where `W` has fewer rows.
        ValueError
            Where columns differ, or `W` is read-only or has elements that share memory.
        TypeError
            For a `W` of another dtype or kind.

        Notes
        -----
        Products and sums are rounded to float64 where `W` is float64, else to float32, to which
        `alpha` and the values are rounded first.
        """
        shape = np.shape(W)
        if shape and shape[0] < self._num_rows:
            raise IndexError(f"W of shape {tuple(shape)} has fewer than {self._num_rows} rows")
        return _add_rows(W, self._ids, self._values, alpha)

    def to_scipy(self) -> Any:
        """Return a sparse array of SciPy that shares the memory of `values`.

        Returns
        -------
        scipy.sparse.bsr_array
            Of shape (num_rows, D), with blocks of one row; (num_rows, 1) for values of shape (U,).

        Raises
        ------
        ImportError
            Where SciPy is not installed.
        TypeError
            For float16 and bfloat16, which sparse arrays do not have.
        ValueError
            For rows without columns.
        """
        if self.dtype.itemsize < 4:
            raise TypeError(f"scipy.sparse has no {self.dtype}; convert values to float32 first")
        try:
            sparse = import_module("scipy.sparse")
        except ImportError as error:
            raise ImportError("SparseRows.to_scipy needs the package scipy") from error
        columns = self._values.shape[1] if self._values.ndim == 2 else 1
        if columns == 0:
            raise ValueError("scipy.sparse has no blocks without columns")
        starts = np.zeros(self._num_rows + 1, np.int64)
        starts[self._ids + 1] = 1
        np.cumsum(starts, out=starts)
        blocks = self._values.reshape(len(self), 1, columns)
        zeros = np.zeros(len(self), np.int64)
        return sparse.bsr_array((blocks, zeros, starts), shape=(self._num_rows, columns))


def _ascending(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    falls = ids[1:] <= ids[:-1]
    if falls.any():
        at = int(falls.argmax()) + 1
        raise ValueError(
            f"ids must ascend without repetition, but ids[{at}] = {ids[at]} follows {ids[at - 1]}"
        )
    if len(ids) and ids[0] < 0:
        raise IndexError(f"ids must not be negative, got {ids[0]}")
    kept: NDArray[np.int64] = ids.view()
    kept.flags.writeable = False
    return kept
