#!/usr/bin/env python3
"""Gradients and losses against what else there is, in one process, interleaved.

gradients: for each shape, axis and type, the median time of `softmax_backward` and
`log_softmax_backward` in nanoseconds per element, how often longer it takes than the sum of two
arrays written to a third (`numpy.add`), which moves the same bytes, and how often longer PyTorch
takes, which writes into a given array, too.

    python bench/bench_losses.py                      all sections, one thread
    python bench/bench_losses.py --only gradients     one of them
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import ratio
from numpy.typing import NDArray
from tables import OURS, Calls, Report, figures, run, timed, verdict

AnyArray = NDArray[Any]

ADD = "numpy.add"
ADD_AIM = 1.3  # aim: at most this many times the time of the addition


@dataclass(frozen=True)
class Gradient:
    """One line of the table of gradients."""

    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    aimed: bool = False  # at 1.3 times the addition, and not to be slower than PyTorch

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape))

    @property
    def label(self) -> str:
        """The line's name, such as 'float16 64 x 1024'."""
        shape = " x ".join(str(length) for length in self.shape)
        return f"{self.dtype} {shape}" + ("" if self.axis == -1 else f", axis {self.axis}")


GRADIENTS = [
    Gradient((4096, 1024), aimed=True),
    Gradient((64, 131_072), aimed=True),
    Gradient((64, 1024)),
    Gradient((1024, 4096)),
    Gradient((20_000, 100)),
    Gradient((65_536, 16)),
    Gradient((1024, 4096), axis=0),
    Gradient((64, 1000, 64), axis=1),
    Gradient((32, 21, 128, 128), axis=1),
    Gradient((4096, 1024), dtype="float64"),
    Gradient((4096, 1024), dtype="float16"),
]
OPS = ("softmax", "log_softmax")


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> AnyArray:
    """Draw normal numbers."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype)


def of_torch(op: str, axis: int, grad: AnyArray, y: AnyArray, threads: int) -> Calls:
    """Name PyTorch's gradient, as its autograd calls it."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    g, t, out = (torch.from_numpy(a) for a in (grad, y, np.zeros_like(y)))
    dim = axis % grad.ndim
    if op == "softmax":
        backward = torch.ops.aten._softmax_backward_data
        return {"PyTorch": lambda: backward(g, t, dim, t.dtype, grad_input=out)}
    log_backward = torch.ops.aten._log_softmax_backward_data
    return {"PyTorch": lambda: log_backward(g, t, dim, t.dtype, out=out)}


def of_gradient(op: str, work: Gradient, threads: int) -> Calls:
    """Line up all that can do this work."""
    grad = drawn(work.shape, work.dtype, 1)
    y = getattr(fs, op)(drawn(work.shape, work.dtype, 2), work.axis)
    backward = getattr(fs, f"{op}_backward")
    out, total = np.zeros_like(y), np.zeros_like(y)
    calls: Calls = {OURS: lambda: backward(grad, y, work.axis, out=out)}
    if work.dtype != "float16":  # which NumPy converts one by one
        calls[ADD] = lambda: np.add(grad, y, out=total)
    return calls | of_torch(op, work.axis, grad, y, threads)


def measure_gradients(threads: int, seconds: float) -> Report:
    """Print the table of gradients and return its figures."""
    found: Report = {}
    for op in OPS:
        print(f"\n| {op}_backward | ours, ns | ours / add | PyTorch |")
        print("|---|---:|---:|---:|")
        found[op] = []
        for work in GRADIENTS:
            timings = timed(of_gradient(op, work, threads), seconds)
            row = {**asdict(work), "contestants": figures(timings, work.size)}
            if ADD in timings:
                row["over_add"] = ratio(timings[OURS], timings[ADD])
            theirs = row["contestants"].get("PyTorch", {}).get("time_over_fastsoftmax")
            cells = [
                work.label,
                f"{row['contestants'][OURS]['ns_per_element']:.3f}",
                verdict(ADD_AIM if work.aimed else None, row.get("over_add"), less=True),
                verdict(1.0 if work.aimed else None, theirs),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
            found[op].append(row)
    return found


SECTIONS = {"gradients": measure_gradients}

if __name__ == "__main__":
    run(str(__doc__).splitlines()[0], SECTIONS)
