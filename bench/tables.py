"""What the programs that compare one capability with its peers have in common."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._contestants import Contestant
from fastsoftmax._cli._measure import Timing, measure, ratio
from fastsoftmax._cli.info import machine, machine_line
from numpy.typing import NDArray

Array = NDArray[np.float32]
Calls = dict[str, Callable[[], object]]
Report = dict[str, Any]

OURS = "fastsoftmax"
SIGMA = 3.0  # standard deviation of normal logits
LIKENESS = 1.5  # aim: no kind of row takes longer than this many times what random rows take


def timed(calls: Calls, seconds: float) -> dict[str, Timing]:
    """Measure calls in turns; nothing is checked, tests do that."""
    contestants = [Contestant(name, call, lambda: np.empty(0)) for name, call in calls.items()]
    return measure(contestants, time.perf_counter() + seconds)


def logits(shape: tuple[int, int], sigma: float = SIGMA) -> Array:
    """Draw normal ones."""
    return np.float32(sigma) * np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def kinds(rows: int, n: int) -> Iterator[tuple[str, Array]]:
    """Yield rows of several kinds."""
    ramp = np.arange(n, dtype=np.float32) * np.float32(1e-3)
    one_hot = np.zeros(n, np.float32)
    one_hot[n // 3] = 5
    yield "random", logits((rows, n))
    for name, row in (("ascending", ramp), ("descending", -ramp), ("one-hot", one_hot)):
        yield name, np.tile(row, (rows, 1))
    yield "constant", np.ones((rows, n), np.float32)


def over_random(cases: dict[str, Callable[[Array], object]], seconds: float) -> Report:
    """Print what kinds of rows take relative to random ones, and return it by case."""
    rows = dict(kinds(16, 131_072))
    names = [name for name in rows if name != "random"]
    print(f"\n| 16 x 131072, over random rows (aim {LIKENESS:g}) | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    found = {}
    for label, call in cases.items():
        timings = timed({name: partial(call, x) for name, x in rows.items()}, seconds)
        found[label] = {name: ratio(timings[name], timings["random"]) for name in names}
        print(f"| {label} | " + " | ".join(f"{v:.2f}" for v in found[label].values()) + " |")
    return found


def figures(timings: dict[str, Timing], elements: int) -> Report:
    """Give the figures of one line, by contestant."""
    return {
        name: {
            "ns_per_element": timing.median / elements,
            "spread": timing.spread,
            "time_over_fastsoftmax": ratio(timing, timings[OURS]),
            "rounds": len(timing.samples),
        }
        for name, timing in timings.items()
    }


def verdict(aim: float | None, value: float | None, *, less: bool = False) -> str:
    """Write a ratio and whether it is what was aimed at."""
    if value is None:
        return ""
    if aim is None:
        return f"{value:.2f}" if less else f"{value:.1f}"
    met = value <= aim if less else value >= aim
    return (f"{value:.2f}" if less else f"{value:.1f}") + f" ({'aim' if met else 'not'} {aim:g})"


def run(
    description: str,
    sections: Mapping[str, Callable[[int, float], Any]],
    sweep: Callable[[int, float], Report] | None = None,
    plot: Callable[[Report, Path], None] | None = None,
) -> None:
    """Measure, print, and write what was asked for.

    A section measures with so many threads and seconds for each line, prints, and returns figures.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line")
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.set_defaults(sweep=False, plot=None)
    if sweep and plot:
        parser.add_argument("--sweep", action="store_true", help="times over n, not the tables")
        parser.add_argument("--plot", type=Path, metavar="STEM", help="of a sweep; writes STEM.png")
    arguments = parser.parse_args()
    if arguments.plot and not arguments.sweep:
        parser.error("--plot needs --sweep")

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-arguments.threads :])
    fs.set_num_threads(arguments.threads)
    facts = machine()
    print(machine_line(facts) + "; the others' time over ours\n")
    report: Report = {"machine": facts, "threads": arguments.threads}
    if sweep and arguments.sweep:
        report["sweep"] = sweep(arguments.threads, arguments.seconds)
    else:
        for name in arguments.only:
            report[name] = sections[name](arguments.threads, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if plot and arguments.plot:
        plot(report["sweep"], arguments.plot)
