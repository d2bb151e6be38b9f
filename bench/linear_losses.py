"""Sections `linear` and `filter` of bench_losses.py: layers whose scores are never all there.

For x (N, D) and W (V, D): the median time of each call over that of the product `x @ W.T` alone, by
the same BLAS in the same process; and how much more memory the process held at its peak than before
the call, less the gradients, each call in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import ratio
from tables import Array, Calls, Report, timed, verdict
from threadpoolctl import threadpool_limits

SHAPE = (512, 1024, 32_000)  # rows, inputs, classes
PRODUCT = "x @ W.T"
LOSS, GRADIENTS, TOPK = "loss", "loss and gradients", "linear_topk, k = 10"
SMALL, TWICE = "in 10 MiB", "scores computed twice"
TORCH = "PyTorch: loss and gradients"
AIMS = {LOSS: 1.05, GRADIENTS: 3.3, TOPK: 1.1}  # of the product's time, at most
MEMORY_AIM = 0.05  # of PyTorch's

Problem = tuple[Array, Array, Any]


def problem(rows: int, inputs: int, classes: int) -> Problem:
    """Draw inputs, weights and targets."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((rows, inputs), dtype=np.float32)
    weights = rng.standard_normal((classes, inputs), dtype=np.float32) / np.float32(32)
    return x, weights, rng.integers(0, classes, rows)


def with_torch(x: Array, weights: Array, targets: Any) -> Callable[[], object]:
    """Give PyTorch's loss and gradients, scores and all."""
    import torch

    torch.set_num_threads(fs.get_num_threads())
    a, w = (torch.from_numpy(v).requires_grad_() for v in (x, weights))
    t = torch.from_numpy(targets)

    def call() -> None:
        a.grad = w.grad = None
        torch.nn.functional.cross_entropy(a @ w.T, t).backward()  # type: ignore[no-untyped-call]

    return call


def calls_of(given: Problem) -> Calls:
    """Line up what is measured."""
    x, weights, targets = given
    loss = partial(fs.linear_cross_entropy, x, weights, targets)
    calls: Calls = {
        LOSS: loss,
        GRADIENTS: partial(loss, need_grad=True),
        SMALL: partial(loss, need_grad=True, tile_bytes=10 << 20),
        TWICE: partial(loss, need_grad=True, tile_bytes=0),
        TOPK: partial(fs.linear_topk, x, weights, 10),
    }
    with contextlib.suppress(ImportError):
        calls[TORCH] = with_torch(*given)
    return calls


def resident(field: str) -> int:
    """Bytes of memory that the process holds (VmRSS), or held at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith(field))
    return 1024 * int(line.split()[1])


def touch_buffers(name: str) -> None:
    """Have the BLAS touch the memory that it packs operands into, which it keeps anyway."""
    rows, inputs, _ = SHAPE
    x, weights, _ = problem(rows, inputs, 4096)
    scores = x @ weights.T
    scores @ weights
    scores.T @ x
    if name == TORCH:
        with_torch(*problem(rows, inputs, 1024))()


def print_peak(name: str, threads: int, shape: tuple[int, int, int] = SHAPE) -> None:
    """Print what one call of this process takes, in bytes."""
    fs.set_num_threads(threads)
    touch_buffers(name)
    given = problem(*shape)
    call = calls_of(given)[name]
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")  # VmHWM starts anew
    call()
    gradients = 0 if name in (LOSS, TOPK) else given[0].nbytes + given[1].nbytes
    print(resident("VmHWM") - before - gradients)


def peak_of(name: str, threads: int, script: Sequence[str] = (__file__,)) -> int:
    """Peak memory of a call in a process of its own, as `script` prints it."""
    run = [sys.executable, *script, name, str(threads)]
    limited = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(run, check=True, capture_output=True, text=True, env=limited)
    return int(done.stdout)


def measure_linear(threads: int, seconds: float) -> list[Report]:
    """Print the table of linear layers and return its figures."""
    given = problem(*SHAPE)
    x, weights, _ = given
    scores = np.empty((x.shape[0], weights.shape[0]), np.float32)
    calls: Calls = {PRODUCT: lambda: np.matmul(x, weights.T, out=scores), **calls_of(given)}
    with threadpool_limits(threads):
        timings = timed(calls, 6 * seconds)
    peaks = {name: peak_of(name, threads) for name in calls if name != PRODUCT}
    shape = " x ".join(str(n) for n in SHAPE)
    print(f"\n| {shape} | ms | over {PRODUCT} | peak memory, MB | of PyTorch's |")
    print("|---|---:|---:|---:|---:|")
    found = []
    for name, timing in timings.items():
        row: Report = {"call": name, "ms": timing.median / 1e6}
        row["over_product"] = ratio(timing, timings[PRODUCT])
        cells = [name, f"{row['ms']:.0f}", verdict(AIMS.get(name), row["over_product"], less=True)]
        if name not in peaks:
            cells += ["", ""]
        else:
            row["peak_bytes"] = peaks[name]
            share = peaks[name] / peaks[TORCH] if TORCH in peaks else None
            aim = MEMORY_AIM if name in (GRADIENTS, SMALL, TWICE) else None
            cells += [f"{peaks[name] / 1e6:.1f}", verdict(aim, share, less=True)]
        print("| " + " | ".join(cells) + " |", flush=True)
        found.append(row)
    return found


def measure_filter(threads: int, seconds: float) -> list[Report]:
    """Print what `grad_mass_tol` saves where probabilities fall with the rank of a class."""
    rows, inputs, classes = 512, 512, 64_000
    x, weights, _ = problem(rows, inputs, classes)
    weights *= np.float32(0.1)
    rng = np.random.default_rng(7)
    ranks = np.arange(1, classes + 1)
    print("\n| probabilities | grad_mass_tol | of the time without | grad_x off by, of itself |")
    print("|---|---:|---:|---:|")
    found = []
    for power in (1.0, 1.5):
        p = ranks**-power / (ranks**-power).sum()
        targets = rng.choice(classes, rows, p=p)
        call = partial(
            fs.linear_cross_entropy, x, weights, targets, np.log(p).astype("f4"), need_grad=True
        )
        exact = call().grad_x
        for tol in (0.01, 0.1):
            with threadpool_limits(threads):
                filtered = partial(call, grad_mass_tol=tol)
                timings = timed({"without": call, "with": filtered}, 2 * seconds)
            error = np.linalg.norm(filtered().grad_x - exact) / np.linalg.norm(exact)
            share = ratio(timings["with"], timings["without"])
            print(f"| rank^-{power:g} | {tol:g} | {share:.2f} | {error:.1e} |", flush=True)
            found.append({"power": power, "tol": tol, "of_time": share, "error": float(error)})
    return found


if __name__ == "__main__":  # CALL THREADS [ROWS INPUTS CLASSES]
    sizes = [int(size) for size in sys.argv[3:]]
    print_peak(sys.argv[1], int(sys.argv[2]), (sizes[0], sizes[1], sizes[2]) if sizes else SHAPE)
