#!/usr/bin/env python3
"""The experiment of the online-softmax paper (Milakov and Gimelshein 2018) from bench_online.

Reads what bench_online wrote as JSON, with repetitions, and prints a table in Markdown: the time of
softmax and its five largest elements by each way, under the number of memory accesses for an
element, and how often faster the fused online way is. With --figure it also draws the times over
the row length.

    ./bench_online --benchmark_repetitions=5 --benchmark_out=online.json ...
    python bench/online_paper.py online.json --figure docs/figures/online_paper
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from two_pass_paper import Series, read, table


@dataclass(frozen=True)
class Way:
    """A way to the five largest probabilities."""

    title: str
    accesses: str  # of memory for an element: of softmax, of top-k

    @property
    def count(self) -> int:
        """Add them up."""
        return sum(int(part[0]) for part in self.accesses.split(" + "))


# The first is what the paper compares with.
WAYS = {
    "safe_unfused": Way("safe, unfused", "3R + 1W + 1R"),
    "safe_reload_unfused": Way("... with reload", "3R + 2W + 1R"),
    "safe_fused": Way("safe, fused", "2R"),
    "online_unfused": Way("online, unfused", "2R + 1W + 1R"),
    "online_reload_unfused": Way("... with reload", "2R + 2W + 1R"),
    "online_fused": Way("online, fused", "1R"),
}
BASELINE, FUSED = "safe_unfused", "online_fused"
UNFUSED = [name for name in WAYS if name.endswith("_unfused")]
BATCHES = (10, 4000)


def rows_measured(files: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Of each batch and row length, how many rows were left of the batch."""
    found = {}
    for file in files:
        for run in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
            if run["run_type"] == "iteration":
                _, batch, length = run["run_name"].split("/")
                found[int(batch), int(length)] = int(run["rows"])
    return found


def times_table(series: Series, rows: dict[tuple[int, int], int]) -> str:
    """List times, and those of the unfused ways over that of the fused one."""
    head = ["rows x length, ns per element", *(way.title for way in WAYS.values())]
    lines = [
        ["accesses per element", *(f"{w.count} ({w.accesses})" for w in WAYS.values()), "", ""]
    ]
    for (batch, length), measured in sorted(rows.items()):
        ns = {name: series[f"{name}/{batch}"][length] for name in WAYS}
        cut = "" if measured == batch else f" (of {batch})"
        best = min(ns[name] for name in UNFUSED)
        lines.append(
            [
                f"{measured}{cut} x {length}",
                *(f"{value:.3f}" for value in ns.values()),
                f"{ns[BASELINE] / ns[FUSED]:.1f}",
                f"{best / ns[FUSED]:.1f}",
            ]
        )
    return table([*head, "safe / fused", "best unfused / fused"], lines)


def draw(series: Series, title: str, stem: Path) -> None:
    """Time per element over the row length, a panel for each batch, as STEM.png."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, len(BATCHES), figsize=(11, 4.5), sharey=True)
    for axis, batch in zip(axes, BATCHES, strict=True):
        for name, way in WAYS.items():
            label = f"{name.replace('_', ' ')} ({way.count})"
            times = series[f"{name}/{batch}"]
            axis.plot(list(times), list(times.values()), marker="o", markersize=4, label=label)
        axis.set(title=f"batch of {batch}", xlabel="row length (float32)", xscale="log")
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("ns per element")
    axes[-1].legend(
        title="(memory accesses)", fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    figure.suptitle(f"Softmax and its five largest elements; {title}")
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=80)


def main() -> None:
    """Print the table, and draw where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--figure", type=Path, metavar="STEM", help="writes STEM.png")
    parser.add_argument("--title", default="", help="machine and date, for the figure")
    arguments = parser.parse_args()

    series = read(arguments.files)
    print(times_table(series, rows_measured(arguments.files)))
    if arguments.figure:
        draw(series, arguments.title, arguments.figure)


if __name__ == "__main__":
    main()
