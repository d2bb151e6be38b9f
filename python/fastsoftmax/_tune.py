"""Measuring the constants of the plan on this machine, and forgetting them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from . import _core


class Comparison(NamedTuple):
    """Two ways of running the same call, of which a constant chooses one."""

    constant: str
    """Name of the constant."""
    size: int
    """Where it was tried, in the constant's unit."""
    ratio: float
    """Time of the way that the plan takes up to the constant over that of the way beyond it."""
    rounds: int
    """Rounds, of which `ratio` is the median."""


@dataclass(frozen=True)
class Tuning:
    """What `tune` found; ``print`` shows it as a table."""

    before: Mapping[str, int]
    """Constants of the plan that were in use, in bytes or elements."""
    after: Mapping[str, int]
    """Those in use now."""
    path: str | None
    """The file that keeps them, None where they were not stored."""
    comparisons: tuple[Comparison, ...]
    """What was measured."""

    def __str__(self) -> str:
        lines = [f"{'constant':<22} {'before':>14} {'after':>14}"]
        lines += [
            f"{name:<22} {self.before[name]:>14} {self.after[name]:>14}" for name in self.after
        ]
        lines += ["", f"{'measured':<22} {'at':>14} {'up to / beyond':>14} {'rounds':>7}"]
        lines += [
            f"{c.constant:<22} {c.size:>14} {c.ratio:>14.3f} {c.rounds:>7}"
            for c in self.comparisons
        ]
        lines += ["", f"stored in {self.path}" if self.path else "not stored"]
        return "\n".join(lines)


def tune(*, seconds: float = 10.0, save: bool = True) -> Tuning:
    """Measure the constants of the plan on this machine, and use and store them.

    Which algorithm a call takes, whether its stores bypass the cache and how many threads take part
    depends on a few sizes, which otherwise follow from the cache sizes. They are measured with the
    threads and the instruction set in use, on float32, while the machine should do nothing else.
    A constant leaves its default only where that is faster by more than 3 %. Results keep their
    bits.

    Stored constants are used by every later process of this user on a machine with this CPU, these
    caches and this instruction set, from Python and C++. `reset_tuning` goes back.

    Parameters
    ----------
    seconds : float
        For how many seconds at most; up to 3600. What there is no time for keeps its default.
    save : bool
        Whether to store the constants for later processes.

    Returns
    -------
    Tuning
        Constants before and after, the file, and the measurements.

    Raises
    ------
    ValueError
        Where `seconds` is not positive, or where nothing may be stored: FASTSOFTMAX_TUNING is
        "off" or names a file that `tune` did not write, or there is no home directory.
    OSError
        Where the file cannot be written. This is found before anything is measured.
    MemoryError
        Where 256 MiB cannot be had.
    """
    found = _core._tune(float(seconds), bool(save))
    return Tuning(
        dict(found["before"]),
        dict(found["after"]),
        found["path"] or None,
        tuple(Comparison(*comparison) for comparison in found["comparisons"]),
    )


def reset_tuning() -> bool:
    """Return to the constants that follow from the cache sizes, and remove the stored ones.

    Returns
    -------
    bool
        Whether constants of this machine had been stored.

    Raises
    ------
    ValueError
        Where FASTSOFTMAX_TUNING names a file that `tune` did not write.
    OSError
        Where the file cannot be removed.
    """
    return _core._reset_tuning()
