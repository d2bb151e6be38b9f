#!/usr/bin/env python3
"""Softmax with top-k against what else there is, in one process, interleaved.

Prints, for each shape and k that the project aims at, the median time of `softmax_topk` in
nanoseconds per element and how often longer the others take: PyTorch's softmax and topk, NumPy's
argpartition of our softmax, and ONNX Runtime's Softmax and TopK, where installed; and how often
longer `softmax_topk` takes than PyTorch's amax alone, the time of one read. Then what sorted,
constant and one-hot rows take relative to random ones, and `softmax_stats` relative to `logsumexp`.

    python bench/bench_topk.py                            the tables, one thread
    python bench/bench_topk.py --sweep --plot topk        times over k and over n, topk.png
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import Timing, ratio
from tables import OURS, Array, Calls, Report, figures, logits, over_random, run, timed, verdict

Normalize = Literal["full", "topk"]

AMAX = "PyTorch amax"


@dataclass(frozen=True)
class Work:
    """One line: k of each row, and what it aims at."""

    shape: tuple[int, int]
    k: int
    normalize: Normalize = "full"
    torch: float | None = None  # aim: times as fast as PyTorch
    amax: float | None = None  # aim: at most this many times the time of amax

    @property
    def size(self) -> int:
        """Elements."""
        return self.shape[0] * self.shape[1]

    @property
    def label(self) -> str:
        """The line's name, such as '64 x 1024'."""
        text = f"{self.shape[0]} x {self.shape[1]}"
        return text + (", over the k" if self.normalize == "topk" else "")


AIMS = [
    *(Work((64, 131_072), k, torch=10, amax=2.2) for k in (1, 5, 50)),
    Work((64, 131_072), 256, torch=8),
    Work((64, 131_072), 1024, torch=5),
    *(Work((64, 1024), k, torch=6) for k in (10, 50)),
    Work((64, 32_000), 50, torch=6),
    Work((65_536, 64), 2, "topk", torch=5),
    Work((65_536, 256), 8, "topk", torch=5),
]
STATS = 1.2  # aim: softmax_stats over logsumexp, at most

SWEEP_SIZE = 1 << 22
SWEEP_LENGTHS = (100, 316, 1000, 3162, 10_000, 31_623, 100_000, 316_228, 1_000_000)
# Title and label of the axis, and the works: over n in batches of 2^22 elements, and over k.
SWEEPS: dict[tuple[str, str], list[Work]] = {
    **{
        (f"k = {k}", "row length"): [Work((max(1, SWEEP_SIZE // n), n), k) for n in SWEEP_LENGTHS]
        for k in (5, 50)
    },
    ("64 rows of 131,072", "k"): [Work((64, 131_072), 1 << e) for e in range(13)],
}


def of_torch(x: Array, k: int, normalize: Normalize, threads: int) -> Calls:
    """Name PyTorch's softmax and topk, and its amax."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    t = torch.from_numpy(x)

    def softmax_topk() -> Any:
        values, indices = torch.topk(torch.softmax(t, -1), k)
        if normalize == "topk":
            values = values / values.sum(-1, keepdim=True)
        return values, indices

    return {"PyTorch": softmax_topk, AMAX: lambda: torch.amax(t, -1)}


def of_numpy(x: Array, k: int) -> Calls:
    """Take softmax of ours, then NumPy's argpartition."""

    def softmax_argpartition() -> Any:
        p = fs.softmax(x)
        indices = np.argpartition(-p, k - 1, axis=-1)[:, :k]
        return np.take_along_axis(p, indices, -1), indices

    return {"argpartition": softmax_argpartition}


def of_onnxruntime(x: Array, k: int, threads: int) -> Calls:
    """Make a model of Softmax and TopK."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return {}
    tensor, helper = onnx.TensorProto, onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["p"], axis=-1),
            helper.make_node("TopK", ["p", "k"], ["values", "indices"], axis=-1),
        ],
        "softmax_topk",
        [helper.make_tensor_value_info("x", tensor.FLOAT, list(x.shape))],
        [
            helper.make_tensor_value_info("values", tensor.FLOAT, None),
            helper.make_tensor_value_info("indices", tensor.INT64, None),
        ],
        [helper.make_tensor("k", tensor.INT64, [1], [k])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {"ONNX Runtime": lambda: session.run(None, {"x": x})}


def contestants(work: Work, threads: int) -> Calls:
    """Line up all that can do this work."""
    x, k, normalize = logits(work.shape), work.k, work.normalize
    calls: Calls = {OURS: lambda: fs.softmax_topk(x, k, normalize=normalize)}
    calls |= of_torch(x, k, normalize, threads)
    if normalize == "full":
        calls |= of_onnxruntime(x, k, threads) | of_numpy(x, k)
    return calls


def row_of(work: Work, timings: dict[str, Timing]) -> dict[str, Any]:
    """Give the figures of one line."""
    return {**asdict(work), "contestants": figures(timings, work.size)}


def line(work: Work, row: dict[str, Any]) -> str:
    """Write one line of the table of aims."""
    over = {name: f["time_over_fastsoftmax"] for name, f in row["contestants"].items()}
    cells = [
        work.label,
        str(work.k),
        f"{row['contestants'][OURS]['ns_per_element']:.3f}",
        verdict(work.torch, over.get("PyTorch")),
        verdict(work.amax, 1 / over[AMAX] if AMAX in over else None, less=True),
        verdict(None, over.get("ONNX Runtime")),
        verdict(None, over.get("argpartition")),
    ]
    return "| " + " | ".join(cells) + " |"


def measure_aims(threads: int, seconds: float) -> list[dict[str, Any]]:
    """Print the table of aims and return its figures."""
    print("| shape | k | ours, ns | PyTorch | ours / amax | ONNX Runtime | argpartition |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    rows = []
    for work in AIMS:
        rows.append(row_of(work, timed(contestants(work, threads), seconds)))
        print(line(work, rows[-1]), flush=True)
    return rows


def measure_kinds(_threads: int, seconds: float) -> Report:
    """Print what kinds of rows take relative to random ones."""
    return over_random({f"k = {k}": partial(fs.softmax_topk, k=k) for k in (1, 50, 1024)}, seconds)


def measure_stats(_threads: int, seconds: float) -> float:
    """Print what softmax_stats takes relative to logsumexp."""
    x = logits((64, 131_072))
    timings = timed({"stats": lambda: fs.softmax_stats(x), "lse": lambda: fs.logsumexp(x)}, seconds)
    value = ratio(timings["stats"], timings["lse"])
    print(f"\nsoftmax_stats over logsumexp, 64 x 131072: {verdict(STATS, value, less=True)}")
    return value


def measure_sweep(threads: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Print times per element over the row length and over k."""
    found = {}
    for (title, along), works in SWEEPS.items():
        rows = found[f"{title}, over {along}"] = [
            row_of(work, timed(contestants(work, threads), seconds)) for work in works
        ]
        print(f"\n{title}")
        for work, row in zip(works, rows, strict=True):
            times = [f"{n} {f['ns_per_element']:.3f}" for n, f in row["contestants"].items()]
            print(f"{work.label} k={work.k}: " + ", ".join(times), flush=True)
    return found


def plot(sweep: dict[str, list[dict[str, Any]]], stem: Path) -> None:
    """Draw them as STEM.png."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, len(SWEEPS), figsize=(14, 4.8), sharey=True)
    for axis, (title, along) in zip(axes, SWEEPS, strict=True):
        rows = sweep[f"{title}, over {along}"]
        at = [row["k"] if along == "k" else row["shape"][1] for row in rows]
        for name in rows[0]["contestants"]:
            ns = [row["contestants"][name]["ns_per_element"] for row in rows]
            axis.plot(at, ns, marker="o", markersize=4, label=name)
        axis.set(title=title, xlabel=along, xscale="log", yscale="log")
    axes[0].set_ylabel("ns per element")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=80)


SECTIONS = {
    "aims": measure_aims,
    "over_random": measure_kinds,
    "stats_over_logsumexp": measure_stats,
}

if __name__ == "__main__":
    run(str(__doc__).splitlines()[0], SECTIONS, measure_sweep, plot)
