#!/usr/bin/env python3
"""fastsoftmax on a GPU beside PyTorch, a Triton softmax, CuPy and the card's own copy.

Inputs, and the outputs of contestants that take them, rotate through more memory than L2 holds.
Rounds time every contestant once, in an order drawn anew, with CUDA events around as many calls as
take a few milliseconds; figures are medians. Results are compared with the CPU's, bit by bit,
before anything is timed. Needs the CUDA library (docs/cuda.md) and PyTorch for CUDA.

    python bench/bench_cuda.py                     the table of docs/cuda.md
    python bench/bench_cuda.py --op sample         one operation
    python bench/bench_cuda.py --json times.json --plot docs/plots/cuda.png
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np
from cuda_contestants import TOP_P, TOPK, Call, Work, contestants, prepare, works
from fastsoftmax import _core

BATCH_BYTES = 2 << 30  # of input, where the card has room
EVENT_SECONDS = 0.004
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
PEERS = ["torch", "compiled", "Triton", "CuPy"]


def seconds(torch: Any, call: Call, inputs: list[tuple[Any, ...]], calls: int) -> float:
    """Return the time of one call, from events around `calls` of them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(calls):
        call(*inputs[i % len(inputs)])
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3 / calls


def check_bits(torch: Any, op: str, arguments: tuple[Any, ...]) -> None:
    """Raise where the first rows do not have the bits of the CPU."""
    rows = max(1, min(len(arguments[0]), (1 << 22) // arguments[0].shape[1]))
    some = [array[:rows] for array in arguments]

    def results(arrays: list[Any]) -> Any:
        if op == "softmax":
            return (fs.softmax(arrays[0]),)
        if op == "softmax_backward":
            return (fs.softmax_backward(arrays[0], arrays[1]),)
        if op == "cross_entropy":
            return fs.cross_entropy(arrays[0], arrays[1], need_grad=True)
        if op == "softmax_topk":
            return fs.softmax_topk(arrays[0], TOPK)
        return (fs.sample(arrays[0], top_p=TOP_P, seed=1),)

    def bits(result: Any) -> Any:
        kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
        return result.cpu().reshape(-1).view(kinds[result.element_size()]).numpy()

    expected = results([array.cpu() for array in some])
    for given, wanted in zip(results(some), expected, strict=True):
        np.testing.assert_array_equal(bits(given), bits(wanted))


def measure(torch: Any, work: Work, rounds: int) -> dict[str, float]:
    """Return the median time of a call for all contestants that can do the work, and a copy."""
    properties = torch.cuda.get_device_properties(0)
    size = work.rows * work.length * ITEM_BYTES[work.dtype]
    sets = 1 + -(-2 * properties.L2_cache_size // size)
    inputs = [prepare(torch, work) for _ in range(sets)]
    check_bits(torch, work.op, inputs[0])
    target = torch.empty_like(inputs[0][0])
    field = {
        "copy": lambda x, *_: target.copy_(x),
        **contestants(torch, work.op),
    }
    calls: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    for name, call in field.items():
        try:
            call(*inputs[0])
        except (RuntimeError, ValueError) as error:
            print(f"# {name} {work}: {error}", file=sys.stderr)
            continue
        once = seconds(torch, call, inputs, 3)
        calls[name] = max(len(inputs), int(EVENT_SECONDS / once))
        times[name] = []
    order = list(times)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(seconds(torch, field[name], inputs, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def share_of_copy(work: Work, times: dict[str, float]) -> float:
    """Return the bandwidth of the operation's arrays as a share of the copy's."""
    return work.streams / times["fastsoftmax"] / (2 / times["copy"])


def row(work: Work, times: dict[str, float]) -> str:
    """Return a line of the table."""
    ours = times["fastsoftmax"]
    peers = [f"{times[name] / ours:.2f}" if name in times else "" for name in PEERS]
    cells = [work.op, work.rows, work.length, work.dtype, f"{ours * 1e6:.1f}"]
    share = f"{share_of_copy(work, times):.0%}"
    return "| " + " | ".join(str(cell) for cell in [*cells, share, *peers]) + " |"


def plot(measured: list[tuple[Work, dict[str, float]]], title: str, path: Path) -> None:
    """Draw the shares of the copy's bandwidth over the length of the rows."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    lines: dict[str, list[tuple[int, float]]] = {}
    for work, times in measured:
        if work.op in ("softmax", "softmax_backward"):
            point = (work.length, share_of_copy(work, times))
            lines.setdefault(f"{work.op}, {work.dtype}", []).append(point)
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", xlabel="length of the rows", ylabel="of the copy's bandwidth", ylim=0)
    axes.set_title(title)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--op", help="only this operation")
    parser.add_argument("--json", type=Path, help="file for all times")
    parser.add_argument("--plot", type=Path, help="file for a plot")
    args = parser.parse_args()
    status = _core._cuda_status()
    if not status["available"]:
        parser.exit(1, f"no CUDA: {status['reason']}\n")
    torch = importlib.import_module("torch")
    batch = min(BATCH_BYTES, torch.cuda.get_device_properties(0).total_memory // 16)
    title = f"{status['devices'][0]}, PyTorch {torch.__version__}"
    print(f"{title}; microseconds, and the others' time over ours\n")
    headings = ["Operation", "Rows", "Length", "dtype", "us", "of copy", *PEERS]
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    measured = []
    for work in works(ITEM_BYTES, batch):
        if args.op in (None, work.op):
            times = measure(torch, work, args.rounds)
            print(row(work, times), flush=True)
            measured.append((work, times))
    if args.json:
        kept = [{"work": vars(work), "seconds": times} for work, times in measured]
        args.json.write_text(json.dumps({"status": status, "times": kept}, indent=2))
    if args.plot:
        plot(measured, title, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
