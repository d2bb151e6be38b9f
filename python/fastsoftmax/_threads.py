"""Settings of the thread pool: a context manager and a controller for threadpoolctl."""

from __future__ import annotations

from contextlib import ContextDecorator
from importlib import import_module
from types import TracebackType
from typing import Any

from ._core import _exchange_num_threads


class threads(ContextDecorator):  # noqa: N801 (used like a function: ``with threads(1):``)
    """Let calls use up to `n` threads within a ``with`` block or a decorated function.

    The number holds for the whole process while the block runs, other Python threads included; at
    the end the former setting returns. Blocks may be nested.

    Parameters
    ----------
    n : int
        Threads, the calling one included; 0 for the default.

    Raises
    ------
    ValueError
        On entry, for an `n` outside 0 to 1024.
    TypeError
        On entry, for an `n` that is no int.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> with fs.threads(1):
    ...     fs.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._former: list[int] = []

    def __enter__(self) -> None:
        self._former.append(_exchange_num_threads(self._n))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _exchange_num_threads(self._former.pop())


def register_threadpoolctl() -> None:
    """Make ``threadpoolctl.threadpool_info`` and ``threadpool_limits`` know this library.

    Importing fastsoftmax after threadpoolctl does this by itself. Calling it twice does no harm.

    Raises
    ------
    ImportError
        Where threadpoolctl is not installed, or is older than 3.2.
    """
    threadpoolctl: Any = import_module("threadpoolctl")

    global _controller
    if _controller is not None:
        return

    class FastsoftmaxController(threadpoolctl.LibController):  # type: ignore[misc]
        """Steers the compiled module through the C functions that it exports."""

        user_api = "fastsoftmax"
        internal_api = "fastsoftmax"
        filename_prefixes = ("_core",)
        check_symbols = ("fastsoftmax_get_num_threads", "fastsoftmax_set_num_threads")

        def get_num_threads(self) -> int:
            return int(self.dynlib.fastsoftmax_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fastsoftmax_set_num_threads(num_threads)

        def get_version(self) -> str:
            from ._core import version

            return version()

        def set_additional_attributes(self) -> None:
            from ._core import isa_in_use

            self.architecture = isa_in_use()

    threadpoolctl.register(FastsoftmaxController)
    _controller = FastsoftmaxController


_controller: type[Any] | None = None
