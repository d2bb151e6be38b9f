"""What `explain` returns."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Plan(NamedTuple):
    """What a call does and why; ``print`` shows it in words."""

    layout: Literal["rows", "columns", "packed"]
    """How elements are reached: rows side by side, columns across, or gathered in blocks."""
    algorithm: Literal[
        "three_pass_reload", "three_pass_recompute", "two_pass", "online", "online_reload"
    ]
    """The algorithm that runs, never 'auto'."""
    stream: bool
    """Whether stores bypass the cache."""
    threads: int
    """Threads that take part, the calling one included."""
    share_row: bool
    """Whether the threads share each row instead of sharing the rows out."""
    rows_per_task: int
    """Rows that a thread takes at a time; blocks where `share_row`."""
    tile_columns: int
    """Columns that a tile of layout 'columns' holds; 1 in the others."""
    rows_in_flight: int
    """2 where a row is written while the next is summed."""
    block: int
    """Elements of a reduction block."""
    scratch_bytes: int
    """Memory for intermediate values, per thread."""
    reason: str
    """One sentence for each decision."""

    def __str__(self) -> str:
        unit = "blocks" if self.share_row else "rows"
        lines = {
            "layout": self.layout,
            "algorithm": self.algorithm,
            "stores": "bypass the cache" if self.stream else "through the cache",
            "threads": f"{self.threads}, {self.rows_per_task} {unit} at a time"
            + (", every row shared" if self.share_row else ""),
            "block": f"{self.block} elements",
            "scratch": f"{self.scratch_bytes} bytes per thread",
            "reason": self.reason,
        }
        if self.layout == "columns":
            lines["tile"] = f"{self.tile_columns} columns"
        return "\n".join(f"{label:<10} {text}" for label, text in lines.items())
