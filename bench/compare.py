#!/usr/bin/env python3
"""fastsoftmax beside its peers and memcpy of the same bytes, at the shapes the project aims at.

One process, pinned to as many CPUs as threads; every round times each contestant once, in an order
drawn anew; figures are medians, ratios are medians over the rounds. What `python -m fastsoftmax
bench` is for a user's minute, this is for the developer: more shapes, the logarithmic operations,
results allocated afresh, and times over the row length as JSON and as plots.

    python bench/compare.py                       the table of aims, one thread
    python bench/compare.py --sweep --plot times  float32 rows of 16 to 2^24, times.png
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli import _contestants as field
from fastsoftmax._cli._measure import Case, Timing, aligned_zeros, measure, ratio, scores
from fastsoftmax._cli._npy import bfloat16
from fastsoftmax._cli.info import machine, machine_line


@dataclass(frozen=True)
class Work:
    """One line of the table: an operation on one array, with what it aims at."""

    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    op: str = "softmax"
    fresh: bool = False  # the result is allocated by the call
    torch: float | None = None  # aim: times as fast as PyTorch
    onnxruntime: float | None = None
    memcpy: float | None = None  # aim: at most this many times memcpy's time

    @property
    def label(self) -> str:
        """The line's name, such as 'softmax float32 16x1000'."""
        case = Case(self.dtype, self.shape, self.axis)
        return f"{self.op} {case.label}" + (" fresh" if self.fresh else "")


def _aims() -> list[Work]:
    big = ((4096, 1024), (64, 131072))
    inner = ((64, 1024, 64), (16, 3, 50176), (32, 21, 128, 128))
    return [
        Work((10,), torch=1.5),
        Work((16, 1000), torch=2.2, onnxruntime=1.5),
        *(Work((8192, n), torch=2.3, onnxruntime=1.2, memcpy=1.4) for n in (64, 128)),
        *(Work(s, torch=2.1, onnxruntime=1.1, memcpy=1.2) for s in ((4096, 1024), (1024, 4096))),
        Work((256, 32768), torch=2.0, onnxruntime=1.4, memcpy=1.35),
        *(Work(s, torch=2.0, onnxruntime=1.6, memcpy=1.35) for s in ((64, 131072), (16, 262144))),
        Work((1, 1 << 20), torch=1.8, onnxruntime=1.6, memcpy=1.7),
        Work((1, 1 << 26), torch=2.2, onnxruntime=1.9, memcpy=2.2),
        *(Work(s, fresh=True, torch=3.0) for s in big),
        *(Work(s, dtype=t, torch=2.2) for t in ("bfloat16", "float16", "float64") for s in big),
        *(Work(s, axis=0, torch=3.5, memcpy=1.8) for s in ((4096, 1024), (1024, 4096))),
        *(Work(s, axis=1, torch=2.2, memcpy=1.8) for s in inner),
        *(Work((64, 131072), op=op, torch=3.0) for op in ("log_softmax", "logsumexp")),
    ]


def _sweep() -> list[Work]:
    """Batches of 2^22 elements, as rows of every power of two."""
    lengths = [1 << e for e in range(4, 25)]
    return [Work((max(1, (1 << 22) // n), n)) for n in lengths]


def _ours(work: Work, x: Any, out: Any) -> field.Contestant:
    operation = getattr(fs, work.op)
    if work.fresh:
        return field.Contestant("fastsoftmax", lambda: operation(x, work.axis), lambda: out)
    return field.Contestant("fastsoftmax", lambda: operation(x, work.axis, out=out), lambda: out)


def _torch(work: Work, x: Any, out: Any, threads: int) -> field.Contestant:
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)

    def tensor(array: Any) -> Any:
        if array.dtype.name == "bfloat16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    source, target, operation = tensor(x), tensor(out), getattr(torch, work.op)
    if work.fresh:
        return field.Contestant("PyTorch", lambda: operation(source, work.axis), lambda: out)
    return field.Contestant(
        "PyTorch", lambda: operation(source, work.axis, out=target), lambda: out
    )


def _contestants(work: Work, threads: int, peers: set[str]) -> list[field.Contestant]:
    dtype = bfloat16() if work.dtype == "bfloat16" else np.dtype(work.dtype)
    x = scores(Case(work.dtype, work.shape, work.axis), dtype)
    shape = list(work.shape)
    copy = aligned_zeros(work.shape, dtype)
    if work.op == "logsumexp":
        del shape[work.axis]
    out = copy if work.op != "logsumexp" else aligned_zeros(tuple(shape), dtype)
    task = field.Task(x, copy, work.axis, threads)
    found = [field.memcpy(task), _ours(work, x, out)]
    if "torch" in peers:
        found.append(_torch(work, x, out, threads))
    if work.op == "softmax" and not work.fresh:
        others = {"onnxruntime": field.onnxruntime, "scipy": field.scipy, "jax": field.jax}
        for name, builder in others.items():
            try:
                if name in peers:
                    found.append(builder(task))
            except field.NotOfferedError:
                continue
    return found


def _verdict(aim: float | None, value: float | None, *, less: bool = False) -> str:
    if value is None:
        return "-"
    if aim is None:
        return f"{value:.2f}"
    met = value <= aim if less else value >= aim
    return f"{value:.2f} ({'aim' if met else 'not'} {aim:g})"


def _row(work: Work, timings: dict[str, Timing]) -> dict[str, Any]:
    size = int(np.prod(work.shape, dtype=np.int64))
    ours = timings["fastsoftmax"]
    figures = {
        name: {
            "ns_per_element": timing.median / size,
            "spread": timing.spread,
            "time_over_fastsoftmax": ratio(timing, ours),
            "rounds": len(timing.samples),
        }
        for name, timing in timings.items()
    }
    return {**asdict(work), "label": work.label, "contestants": figures}


def _line(work: Work, row: dict[str, Any]) -> str:
    over = {name: f["time_over_fastsoftmax"] for name, f in row["contestants"].items()}
    cells = [
        f"`{work.label}`",
        f"{row['contestants']['fastsoftmax']['ns_per_element']:.3f}",
        _verdict(work.torch, over.get("PyTorch")),
        _verdict(work.onnxruntime, over.get("ONNX Runtime")),
        _verdict(work.memcpy, 1 / over["memcpy"], less=True),
        _verdict(None, over.get("SciPy")),
        _verdict(None, over.get("JAX")),
    ]
    return "| " + " | ".join(cells) + " |"


def _plot(rows: list[dict[str, Any]], stem: Path) -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (times, share) = pyplot.subplots(2, 1, figsize=(8, 9), sharex=True)
    for name in rows[0]["contestants"]:
        kept = [row for row in rows if name in row["contestants"]]
        lengths = [row["shape"][row["axis"]] for row in kept]
        ns = [row["contestants"][name]["ns_per_element"] for row in kept]
        copy = [row["contestants"]["memcpy"]["ns_per_element"] for row in kept]
        times.plot(lengths, ns, marker="o", label=name)
        share.plot(lengths, [c / v for c, v in zip(copy, ns, strict=True)], marker="o")
    times.set(xscale="log", yscale="log", ylabel="ns per element")
    share.set(xscale="log", xlabel="row length", ylabel="fraction of memcpy's speed")
    times.legend()
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=120)


def main() -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only lines with TEXT in them")
    parser.add_argument("--sweep", action="store_true", help="float32 rows of 16 to 2^24")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="writes STEM.png")
    arguments = parser.parse_args()

    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[-arguments.threads :])
    fs.set_num_threads(arguments.threads)
    peers = {name for name in field.PEERS if importlib.util.find_spec(name)}
    facts = machine()
    print(machine_line(facts) + "; ns per element, and times over ours (memcpy: ours over its)")
    print("\n| work | ours | PyTorch | ONNX Runtime | memcpy | SciPy | JAX |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    for work in _sweep() if arguments.sweep else _aims():
        if arguments.rows not in work.label:
            continue
        contestants = _contestants(work, arguments.threads, peers)
        timings = measure(contestants, time.perf_counter() + arguments.seconds)
        rows.append(_row(work, timings))
        print(_line(work, rows[-1]), flush=True)
    if arguments.json:
        report = {"machine": facts, "threads": arguments.threads, "results": rows}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        _plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
