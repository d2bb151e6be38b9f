#!/usr/bin/env python3
"""The measurements of the two-pass paper (Dukhan and Ablavatski 2020) from bench_passes' results.

Reads what bench_passes wrote as JSON, with repetitions, and prints two tables in Markdown: the
bandwidth of each pass, and the time of each algorithm with what two-pass gains over the better of
the three-pass variants. With --figures it also draws both over the row length.

    ./bench_passes --max_log2=26 --benchmark_repetitions=5 --benchmark_out=passes.json ...
    python bench/two_pass_paper.py passes.json --figures docs/figures --title "Zen 4, 2026-11-22"
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

# Name without the row length -> row length -> ns per element, the median of the repetitions.
Series = dict[str, dict[int, float]]

ISAS = {"avx512": "AVX-512", "avx2": "AVX2"}
# Bytes of float32 that a pass reads and writes for an element.
PASSES = {
    "max": 4,
    "sum": 4,
    "sum_two_pass": 4,
    "sum_online": 4,
    "sum_store": 8,
    "sum_store_online": 8,
    "write": 8,
    "write_stream": 8,
    "write_stored": 8,
    "write_stored_online": 8,
}
CEILINGS = {"read": 4, "memset": 4, "memcpy": 8}
THREE_PASS = ("three_pass_reload", "three_pass_recompute")
ALGORITHMS = (*THREE_PASS, "two_pass", "online", "online_reload")
# Of a comparison: who runs, and how those store that may bypass the cache.
SETTINGS = {
    "one thread": ("one_thread", ""),
    "one thread, streaming stores": ("one_thread", "_stream"),
    "all threads": ("all_threads", ""),
}


def read(files: Iterable[Path]) -> Series:
    """Medians over the repetitions in all files."""
    samples: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        for run in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
            if run.get("error_occurred"):
                raise SystemExit(f"{file}: {run['name']}: {run['error_message']}")
            if run["run_type"] == "iteration":
                name, _, length = run["run_name"].rpartition("/")
                samples[name][int(length)].append(run["ns_per_element"])
    if not samples:
        raise SystemExit("no repetitions found: run without --benchmark_report_aggregates_only")
    return {
        name: {length: median(by_length[length]) for length in sorted(by_length)}
        for name, by_length in samples.items()
    }


def algorithms(series: Series, isa: str, setting: str) -> Series:
    """Find the times of the algorithms; those that cannot stream as they are."""
    threads, suffix = SETTINGS[setting]
    found = {}
    for algorithm in ALGORITHMS:
        stem = f"row/{isa}/{algorithm}"
        streamed = series.get(f"{stem}{suffix}/{threads}")
        times = streamed if streamed is not None else series.get(f"{stem}/{threads}")
        if times is not None:
            found[algorithm] = times
    return found


def gain(slower: float, faster: float) -> str:
    """How much higher the speed is, as the paper counts."""
    return f"{100 * (slower / faster - 1):+.0f} %"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown, the first column left, the others right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def passes_table(series: Series, lengths: list[int]) -> str:
    """Bandwidth in GB/s (10^9 bytes per second)."""
    named = {f"ceiling/{what}": (what, size) for what, size in CEILINGS.items()}
    for isa, title in ISAS.items():
        named |= {f"pass/{isa}/{what}": (f"{title} `{what}`", b) for what, b in PASSES.items()}
    rows = [
        [title, *(f"{size / series[name][length]:.0f}" for length in lengths)]
        for name, (title, size) in named.items()
        if name in series
    ]
    return table(["GB/s", *map(power, lengths)], rows)


def algorithms_table(series: Series, lengths: list[int]) -> str:
    """List times, gains of two-pass over the better three-pass, and of online over two-pass."""
    rows = []
    for isa, title in ISAS.items():
        for setting in SETTINGS:
            times = algorithms(series, isa, setting)
            if len(times) < len(ALGORITHMS):
                continue
            for length in lengths:
                ns = {name: by_length[length] for name, by_length in times.items()}
                three_pass = min(ns[name] for name in THREE_PASS)
                rows.append(
                    [
                        f"{title}, {setting}, {power(length)}",
                        *(f"{ns[name]:.3f}" for name in ALGORITHMS),
                        gain(three_pass, ns["two_pass"]),
                        gain(ns["two_pass"], ns["online"]),
                    ]
                )
    short = [name.removeprefix("three_pass_") for name in ALGORITHMS]
    gains = ["two_pass over three-pass", "online over two_pass"]
    return table(["ns per element", *short, *gains], rows)


def power(length: int) -> str:
    """2^k, as lengths are."""
    return f"2^{length.bit_length() - 1}"


def draw_passes(series: Series, title: str, stem: Path) -> None:
    """Bandwidth of each pass over the row length."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for axis, (isa, label) in zip(axes, ISAS.items(), strict=True):
        for (what, size), line in zip(CEILINGS.items(), (":", "--", "-."), strict=True):
            plot(axis, series[f"ceiling/{what}"], what, size, linestyle=line, color="gray")
        for what, size in PASSES.items():
            if not what.endswith("_online"):
                plot(axis, series[f"pass/{isa}/{what}"], what, size)
        axis.set(title=label, xlabel="row length (float32)", yscale="log")
        axis.set_xscale("log", base=2)
    axes[0].set_ylabel("GB/s read and written")
    save(figure, axes[1], f"Bandwidth of the passes; {title}", stem)


def plot(axis: Any, times: dict[int, float], label: str, size: int = 0, **style: str) -> None:
    """Plot times, or where a size is given, bandwidth."""
    values = [size / ns if size else ns for ns in times.values()]
    axis.plot(list(times), values, label=label, linewidth=1.4, **style)


def draw_algorithms(series: Series, title: str, stem: Path) -> None:
    """Time per element over the row length, for each instruction set and setting."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7), sharex=True, sharey="row")
    for row, (isa, label) in zip(axes, ISAS.items(), strict=True):
        for axis, setting in zip(row, SETTINGS, strict=True):
            for name, times in algorithms(series, isa, setting).items():
                plot(axis, times, name)
            axis.set(title=f"{label}, {setting}")
            axis.set_xscale("log", base=2)
        row[0].set_ylabel("ns per element")
        row[0].set_ylim(bottom=0)
    for axis in axes[-1]:
        axis.set_xlabel("row length (float32)")
    save(figure, axes[0][2], f"Algorithms; {title}", stem)


def save(figure: Any, legend: Any, title: str, stem: Path) -> None:
    """Write the figure as STEM.png."""
    legend.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=80)


def main() -> None:
    """Print the tables, and draw where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--lengths", default="11,16,20,22,24,26", help="log2 of those in tables")
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    parser.add_argument("--title", default="", help="machine and date, for the figures")
    arguments = parser.parse_args()

    series = read(arguments.files)
    lengths = [1 << int(k) for k in arguments.lengths.split(",")]
    print(passes_table(series, lengths), algorithms_table(series, lengths), sep="\n\n")
    if arguments.figures:
        draw_passes(series, arguments.title, arguments.figures / "passes")
        draw_algorithms(series, arguments.title, arguments.figures / "algorithms")


if __name__ == "__main__":
    main()
