#!/usr/bin/env python3
"""Sampling from softmax against chains of PyTorch's functions, in one process, interleaved.

Prints, for each filter, the median time of `sample` in nanoseconds per element and how often longer
PyTorch takes for the same: softmax and multinomial; sort, softmax, cumsum, mask and multinomial
(top-p); the same behind a top-k mask over the whole vocabulary, and, as the shortest chain there
is, on the k largest alone; softmax over exponential noise and argmax. `gumbel_topk` is compared
with noise and topk, `gumbel_softmax` with PyTorch's function of that name. Then what sorted,
constant and one-hot rows take relative to random ones.

    python bench/bench_sampling.py                            the tables, one thread
    python bench/bench_sampling.py --sweep --plot sampling    times over n, sampling.png
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fastsoftmax as fs
from fastsoftmax._cli._measure import Timing
from tables import (
    OURS,
    SIGMA,
    Array,
    Calls,
    Report,
    figures,
    logits,
    over_random,
    run,
    timed,
    verdict,
)

SWEEP_SIZE = 1 << 20
SWEEP_LENGTHS = (100, 316, 1000, 3162, 10_000, 31_623, 100_000, 316_228, 1_000_000)


@dataclass(frozen=True)
class Work:
    """One line: logits, the filters of sample, and an aim for each chain of PyTorch."""

    shape: tuple[int, int]
    filters: dict[str, Any]
    sigma: float = SIGMA  # standard deviation of the normal logits
    aims: dict[str, float] = field(default_factory=dict)
    without_replacement: int = 0  # gumbel_topk of so many

    @property
    def filter_label(self) -> str:
        """What is done, such as 'top_p=0.9'."""
        if self.without_replacement:
            return f"gumbel_topk of {self.without_replacement}"
        return ", ".join(f"{name}={value}" for name, value in self.filters.items()) or "plain"

    @property
    def label(self) -> str:
        """The line's name, such as '8 x 131072, sigma 3, top_p=0.9'."""
        return f"{self.shape[0]} x {self.shape[1]}, sigma {self.sigma:g}, {self.filter_label}"


WIDE = (64, 131_072)
GUMBEL_SOFTMAX_AIM = 5.0
AIMS = [
    Work(WIDE, {}, aims={"multinomial": 60}),
    Work(WIDE, {"temperature": 0.8}, aims={"multinomial": 60}),
    *(
        Work((8, 131_072), {"top_p": 0.9}, sigma, aims={"sort, multinomial": 100})
        for sigma in (1, 3, 5)
    ),
    Work(WIDE, {"top_k": 50, "top_p": 0.9}, aims={"mask, sort, multinomial": 20}),
    Work(WIDE, {"top_k": 50}),
    Work(WIDE, {"min_p": 0.05}),
    Work(WIDE, {"typical_p": 0.9}),
    Work(WIDE, {"top_n_sigma": 1.0}),
    Work(WIDE, {"temperature": 0.0}),
    Work((65_536, 64), {}),
    Work(WIDE, {}, without_replacement=50),
]


def of_torch(x: Array, work: Work, threads: int) -> Calls:
    """Name the chains that do this work."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    t = torch.from_numpy(x)
    temperature = work.filters.get("temperature", 1.0)
    k, p = work.filters.get("top_k"), work.filters.get("top_p")

    def scores() -> Any:
        return t if temperature == 1.0 else t / temperature

    def multinomial() -> Any:
        return torch.multinomial(torch.softmax(scores(), -1), 1)

    def exponential_noise() -> Any:
        probabilities = torch.softmax(scores(), -1)
        return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(-1)

    def nucleus(z: Any) -> Any:
        ordered, indices = torch.sort(z, descending=True, dim=-1)
        probabilities = torch.softmax(ordered, -1)
        beyond = torch.cumsum(probabilities, -1) - probabilities >= p
        kept = torch.softmax(ordered.masked_fill(beyond, -torch.inf), -1)
        return indices.gather(-1, torch.multinomial(kept, 1))

    def masked_nucleus() -> Any:
        least = torch.topk(t, k).values[:, -1:]
        return nucleus(t.masked_fill(t < least, -torch.inf))

    def short_nucleus() -> Any:
        values, indices = torch.topk(t, k)
        probabilities = torch.softmax(values, -1)
        if p is not None:
            beyond = torch.cumsum(probabilities, -1) - probabilities >= p
            probabilities = probabilities.masked_fill(beyond, 0.0)
        return indices.gather(-1, torch.multinomial(probabilities, 1))

    def gumbel() -> Any:
        noise = -torch.empty_like(t).exponential_().log_()
        return torch.topk(torch.log_softmax(t, -1) + noise, work.without_replacement)

    if work.without_replacement:
        return {"noise, topk": gumbel}
    if temperature == 0.0:
        return {"argmax": lambda: torch.argmax(t, -1)}
    if k is not None:
        whole: Calls = {"mask, sort, multinomial": masked_nucleus} if p is not None else {}
        return whole | {"topk, multinomial": short_nucleus}
    if p is not None:
        return {"sort, multinomial": lambda: nucleus(t)}
    if work.filters.keys() <= {"temperature"}:
        return {"multinomial": multinomial, "noise, argmax": exponential_noise}
    return {}


def contestants(work: Work, threads: int) -> Calls:
    """Line up all that can do this work."""
    x = logits(work.shape, work.sigma)
    ours: Callable[[], object] = partial(fs.sample, x, seed=1, **work.filters)
    if work.without_replacement:
        ours = partial(fs.gumbel_topk, x, work.without_replacement, seed=1)
    return {OURS: ours} | of_torch(x, work, threads)


def row_of(work: Work, timings: dict[str, Timing]) -> dict[str, Any]:
    """Give the figures of one line."""
    size = work.shape[0] * work.shape[1]
    return {**asdict(work), "contestants": figures(timings, size)}


def measure_aims(threads: int, seconds: float) -> list[dict[str, Any]]:
    """Print the table of aims and return its figures."""
    print("| work | ours, ns | PyTorch over ours |\n|---|---:|---|")
    rows = []
    for work in AIMS:
        rows.append(row_of(work, timed(contestants(work, threads), seconds)))
        found = rows[-1]["contestants"]
        others = [
            f"{name} {verdict(work.aims.get(name), f['time_over_fastsoftmax'])}"
            for name, f in found.items()
            if name != OURS
        ]
        ns = found[OURS]["ns_per_element"]
        print(f"| {work.label} | {ns:.3f} | {'; '.join(others)} |", flush=True)
    return rows


def measure_gumbel_softmax(threads: int, seconds: float) -> Report:
    """Print what soft and hard rows take, in new arrays, and return the figures."""
    try:
        import torch
    except ImportError:
        torch = None
    print("\n| work | ours, ns | PyTorch over ours |\n|---|---:|---|")
    x = logits(WIDE)
    report: Report = {}
    for hard in (False, True):
        calls: Calls = {OURS: partial(fs.gumbel_softmax, x, 0.7, hard=hard, seed=1)}
        if torch is not None:
            torch.set_num_threads(threads)
            theirs = torch.nn.functional.gumbel_softmax
            calls["PyTorch"] = partial(theirs, torch.from_numpy(x), 0.7, hard=hard)
        found = figures(timed(calls, seconds), x.size)
        label = "hard" if hard else "soft"
        report[label] = found
        others = [
            verdict(GUMBEL_SOFTMAX_AIM, f["time_over_fastsoftmax"])
            for name, f in found.items()
            if name != OURS
        ]
        work = f"{WIDE[0]} x {WIDE[1]}, sigma {SIGMA:g}, gumbel_softmax, {label}"
        print(f"| {work} | {found[OURS]['ns_per_element']:.3f} | {'; '.join(others)} |")
    return report


def measure_kinds(_threads: int, seconds: float) -> Report:
    """Print what kinds of rows take relative to random ones."""
    cases = {
        work.filter_label: partial(fs.sample, seed=1, **work.filters)
        for work in AIMS
        if work.shape[1] == WIDE[1] and work.sigma == SIGMA and not work.without_replacement
    }
    return over_random(cases, seconds / 2)


def measure_sweep(threads: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Print times per element over the row length."""
    found: dict[str, list[dict[str, Any]]] = {}
    for title, filters in (("plain", {}), ("top_p = 0.9", {"top_p": 0.9})):
        print(f"\n{title}")
        found[title] = []
        for n in SWEEP_LENGTHS:
            work = Work((max(1, SWEEP_SIZE // n), n), filters)
            row = row_of(work, timed(contestants(work, threads), seconds))
            found[title].append(row)
            times = [f"{m} {f['ns_per_element']:.3f}" for m, f in row["contestants"].items()]
            print(f"{work.shape[0]} x {n}: " + ", ".join(times), flush=True)
    return found


def plot(sweep: dict[str, list[dict[str, Any]]], stem: Path) -> None:
    """Draw them as STEM.png."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, len(sweep), figsize=(10, 4.5), sharey=True)
    for axis, (title, rows) in zip(axes, sweep.items(), strict=True):
        for name in rows[0]["contestants"]:
            ns = [row["contestants"][name]["ns_per_element"] for row in rows]
            label = name if name == OURS else f"PyTorch: {name}"
            axis.plot(SWEEP_LENGTHS, ns, marker="o", markersize=4, label=label)
        axis.set(title=title, xlabel="row length", xscale="log", yscale="log")
        axis.legend()
    axes[0].set_ylabel("ns per element")
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=80)


SECTIONS = {
    "aims": measure_aims,
    "gumbel_softmax": measure_gumbel_softmax,
    "over_random": measure_kinds,
}

if __name__ == "__main__":
    run(str(__doc__).splitlines()[0], SECTIONS, measure_sweep, plot)
