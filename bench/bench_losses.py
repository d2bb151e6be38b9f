#!/usr/bin/env python3
"""Gradients and losses against what else there is, in one process, interleaved.

gradients: for each shape, axis and type, the median time of `softmax_backward` and
`log_softmax_backward` in nanoseconds per element, how often longer it takes than the sum of two
arrays written to a third (`numpy.add`), which moves the same bytes, and how often longer PyTorch
takes, which writes into a given array, too.

cross_entropy: the loss alone, and the loss with the gradient of the logits, new and in place;
PyTorch's is `cross_entropy` and its `backward`.

linear, filter: see linear_losses.py.

    python bench/bench_losses.py                      all sections, one thread
    python bench/bench_losses.py --only gradients     one of them
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import ratio
from linear_losses import measure_filter, measure_linear
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


@dataclass(frozen=True)
class Loss:
    """One line of the table of losses; aims are of PyTorch's time over ours."""

    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    aims: tuple[float | None, float | None] = (None, None)  # loss, loss with gradient
    options: tuple[tuple[str, float], ...] = ()
    probabilities: bool = False

    @property
    def label(self) -> str:
        """The line's name, such as 'float16 64 x 1024, label_smoothing 0.1'."""
        name = Gradient(self.shape, self.axis, self.dtype).label
        extra = [f"{key} {value:g}" for key, value in self.options]
        return ", ".join([name, *extra, *(["probabilities"] if self.probabilities else [])])


LOSSES = [
    Loss((64, 131_072), aims=(6.0, 4.0)),
    Loss((512, 32_000)),
    Loss((4096, 1024)),
    Loss((8192, 100)),
    Loss((65_536, 10)),
    Loss((16, 21, 256, 256), axis=1),
    Loss((8, 3, 224, 224), axis=1),
    Loss((4096, 1024), dtype="float16"),
    Loss((4096, 1024), dtype="float64"),
    Loss((4096, 1024), options=(("label_smoothing", 0.1),)),
    Loss((4096, 1024), probabilities=True),
]
LOSS, NEW, IN_PLACE = "loss", "with gradient", "in place"


def loss_calls(work: Loss) -> dict[str, Calls]:
    """Line up ours and PyTorch's for each kind of call."""
    logits = drawn(work.shape, work.dtype, 3)
    axis = work.axis % logits.ndim
    rows = tuple(n for i, n in enumerate(work.shape) if i != axis)
    rng = np.random.default_rng(4)
    targets: AnyArray = rng.integers(0, work.shape[axis], rows)
    if work.probabilities:
        targets = np.asarray(fs.softmax(drawn(work.shape, work.dtype, 5), axis))
    options: dict[str, Any] = dict(work.options)
    overwritten = logits.copy()

    def in_place() -> object:
        return fs.cross_entropy(overwritten, targets, axis, inplace_grad=True, **options)

    calls: dict[str, Calls] = {
        LOSS: {OURS: lambda: fs.cross_entropy(logits, targets, axis, **options)},
        NEW: {OURS: lambda: fs.cross_entropy(logits, targets, axis, need_grad=True, **options)},
        IN_PLACE: {OURS: in_place},
    }
    try:
        import torch
    except ImportError:
        return calls
    torch.set_num_threads(fs.get_num_threads())
    theirs, t = torch.from_numpy(logits), torch.from_numpy(targets)
    leaf = theirs.clone().requires_grad_()

    def loss_of(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(z, t, **options)

    def backward() -> None:
        leaf.grad = None
        loss_of(leaf).backward()  # type: ignore[no-untyped-call]

    calls[LOSS]["PyTorch"] = lambda: loss_of(theirs)
    calls[NEW]["PyTorch"] = backward
    return calls


def measure_losses(_threads: int, seconds: float) -> list[Report]:
    """Print the table of cross-entropies and return its figures."""
    print("\n| cross_entropy | loss, ns | PyTorch | with gradient, ns | PyTorch | in place, ns |")
    print("|---|---:|---:|---:|---:|---:|")
    found = []
    for work in LOSSES:
        row: Report = asdict(work)
        cells = [work.label]
        for aim, (kind, calls) in zip((*work.aims, None), loss_calls(work).items(), strict=True):
            row[kind] = figures(timed(calls, seconds), int(np.prod(work.shape)))
            cells.append(f"{row[kind][OURS]['ns_per_element']:.3f}")
            if kind != IN_PLACE:
                theirs = row[kind].get("PyTorch", {}).get("time_over_fastsoftmax")
                cells.append(verdict(aim, theirs))
        print("| " + " | ".join(cells) + " |", flush=True)
        found.append(row)
    return found


SECTIONS = {
    "gradients": measure_gradients,
    "cross_entropy": measure_losses,
    "linear": measure_linear,
    "filter": measure_filter,
}

if __name__ == "__main__":
    run(str(__doc__).splitlines()[0], SECTIONS)
