"""The tables that `bench` prints, a row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastsoftmax._cli._contestants import NEW_ARRAY
from fastsoftmax._cli._measure import Case, Timing

_LABEL, _CELL = 25, 14


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def heading(names: Sequence[str]) -> str:
    """Head the table of times."""
    return _row("softmax", ["(new array)" if name == NEW_ARRAY else name for name in names])


def times(case: Case, names: Sequence[str], timings: dict[str, Timing]) -> str:
    """Write one row: ns per element and half the interquartile range, or a dash."""
    cells = []
    for name in names:
        timing = timings.get(name)
        cells.append(
            "-"
            if timing is None
            else f"{timing.median / case.size:.3g} ±{timing.spread * 100:.0f}%"
        )
    return _row(case.label, cells)


def ratios(records: list[dict[str, Any]], cases: Sequence[Case], names: Sequence[str]) -> str:
    """Write the table of ratios: fastsoftmax over memcpy, then each peer over fastsoftmax."""
    peers = [name for name in names if not name.startswith(("fastsoftmax", "memcpy"))]
    lines = [
        "fastsoftmax over memcpy, and the time of each peer over that of fastsoftmax:",
        _row("softmax", ["memcpy", *peers]),
    ]
    for case, record in zip(cases, records, strict=True):
        figures = record["contestants"]
        cells = [f"{figures['fastsoftmax']['time_over_memcpy']:.2f}"]
        for name in peers:
            ratio = figures[name]["time_over_fastsoftmax"] if name in figures else None
            cells.append("-" if ratio is None else f"{ratio:.2f}")
        lines.append(_row(case.label, cells))
    if NEW_ARRAY in names:
        lines.append(
            "SciPy and JAX take no output array: they are compared with a call of fastsoftmax "
            "that allocates its result, too (new array)."
        )
    return "\n".join(lines)
