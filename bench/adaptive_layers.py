"""Section `adaptive` of bench_output_layers.py."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import ratio
from linear_losses import peak_of, resident
from numpy.typing import NDArray
from tables import OURS, Array, Calls, Report, timed, verdict
from threadpoolctl import threadpool_limits

ROWS, INPUTS, CLASSES = 1024, 512, 100_000
CUTOFFS = [2000, 10_000, 50_000]
GRADIENTS = "loss and gradients"
AIM = 1.5  # of PyTorch's time over ours
TORCH = "PyTorch"

Weights = fs.AdaptiveWeights


def problem() -> tuple[fs.AdaptiveSoftmax, Weights, Array, NDArray[np.int64]]:
    """Draw weights, inputs, and targets with probabilities of 1 / rank."""
    layer = fs.AdaptiveSoftmax(CUTOFFS)
    rng = np.random.default_rng(8)
    p = 1 / np.arange(1, CLASSES + 1)
    targets = rng.choice(CLASSES, ROWS, p=p / p.sum())
    x = rng.standard_normal((ROWS, INPUTS), dtype=np.float32)
    return layer, layer.init_weights(INPUTS, CLASSES, seed=9), x, targets


def torch_calls(weights: Weights, x: Array, targets: NDArray[np.int64]) -> Calls:
    """Name what PyTorch's class does; it has no top-k."""
    import torch

    torch.set_num_threads(fs.get_num_threads())
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(INPUTS, CLASSES, CUTOFFS)
    state = {"head.weight": weights.head}
    for i, (projection, tail) in enumerate(zip(weights.projections, weights.tails, strict=True)):
        state |= {f"tail.{i}.0.weight": projection, f"tail.{i}.1.weight": tail}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    leaf, t = torch.from_numpy(x).requires_grad_(), torch.from_numpy(targets)

    def backward() -> None:
        leaf.grad = None
        module.zero_grad()
        module(leaf, t).loss.backward()

    def without_graph(call: Any) -> Any:
        return torch.no_grad()(call)

    return {
        "loss": without_graph(lambda: module(leaf, t).loss),
        GRADIENTS: backward,
        "predict": without_graph(lambda: module.predict(leaf)),
    }


def calls_of() -> dict[str, Calls]:
    """Line up ours and PyTorch's for each kind of call."""
    layer, weights, x, targets = problem()
    ours: Calls = {
        "loss": partial(layer.loss, x, weights, targets),
        GRADIENTS: partial(layer.loss, x, weights, targets, need_grad=True),
        "predict": partial(layer.predict, x, weights),
        "topk, k = 10": partial(layer.topk, x, weights, 10),
    }
    theirs: Calls = {}
    with contextlib.suppress(ImportError):
        theirs = torch_calls(weights, x, targets)
    return {
        kind: {OURS: call, **({TORCH: theirs[kind]} if kind in theirs else {})}
        for kind, call in ours.items()
    }


@contextlib.contextmanager
def products_timed() -> Iterator[list[float]]:
    """Note how many seconds each `numpy.matmul` takes."""
    matmul, seconds = np.matmul, []

    def timed_matmul(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = matmul(*args, **options)
        seconds.append(time.perf_counter() - start)
        return result

    np.matmul = timed_matmul  # type: ignore[assignment]
    try:
        yield seconds
    finally:
        np.matmul = matmul


def share_of_products(calls: Calls) -> float:
    """Give the part of our time that is in products, the median of some calls."""
    shares = []
    for _ in range(9):
        start = time.perf_counter()
        with products_timed() as seconds:
            calls[OURS]()
        shares.append(sum(seconds) / (time.perf_counter() - start))
    return float(np.median(shares))


def print_peak(name: str, threads: int) -> None:
    """Print what the loss with gradients takes, `name` being whose it is, in bytes."""
    fs.set_num_threads(threads)
    call = calls_of()[GRADIENTS][name]
    np.ones((ROWS, INPUTS), np.float32) @ np.ones((INPUTS, 4096), np.float32)  # BLAS has its memory
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")  # VmHWM starts anew
    call()
    print(resident("VmHWM") - before)


def measure_adaptive(threads: int, seconds: float) -> list[Report]:
    """Print the table of adaptive softmax and return its figures."""
    print(f"\n| {ROWS} x {INPUTS} x {CLASSES}, {CUTOFFS} | ms | products | PyTorch |")
    print("|---|---:|---:|---:|")
    found = []
    with threadpool_limits(threads):
        for kind, calls in calls_of().items():
            timings = timed(calls, 4 * seconds)
            row: Report = {"call": kind, "ms": timings[OURS].median / 1e6}
            row["products"] = share_of_products(calls)
            if TORCH in timings:
                row["torch"] = ratio(timings[TORCH], timings[OURS])
            aim = AIM if kind == GRADIENTS else None
            cells = [kind, f"{row['ms']:.1f}", f"{row['products']:.0%}"]
            print("| " + " | ".join([*cells, verdict(aim, row.get("torch"))]) + " |", flush=True)
            found.append(row)
    script = str(Path(__file__).with_name("bench_output_layers.py"))
    for name in (OURS, TORCH):
        with contextlib.suppress(ImportError):
            peak = peak_of(name, threads, [script, "--peak"])
            print(f"{name}: {peak / 1e6:.1f} MB at the peak of {GRADIENTS}, gradients included")
            found.append({"call": f"peak of {name}", "bytes": peak})
    return found
