#!/usr/bin/env python3
"""fastsoftmax on a GPU beside PyTorch, a Triton softmax, CuPy and the card's own copy.

Inputs, and the outputs of contestants that take them, rotate through more memory than L2 holds.
Rounds time every contestant once, in an order drawn anew, with CUDA events around as many calls as
take a few milliseconds; figures are medians. The result of the call that is timed is compared with
the CPU's, bit by bit, before anything is timed. Needs the CUDA library (docs/cuda.md) and PyTorch
for CUDA.

    python bench/bench_cuda.py                     the table of docs/cuda.md
    python bench/bench_cuda.py --op sample         one operation
    python bench/bench_cuda.py --json times.json --plot docs/figures/cuda.png
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cuda_contestants import LENGTHS, Call, Work, contestants, prepare, works
from fastsoftmax import _core

BATCH_BYTES = 2 << 30  # of input, where the card has room
EVENT_SECONDS = 0.004
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
PEERS = ["torch", "compiled", "Triton", "CuPy"]
CHECKED_ELEMENTS = 1 << 22
SHARES = [  # of the copy's bandwidth that are aimed at: lengths of rows, the least share
    ("softmax", 64, 512, 0.85),
    ("softmax", 1024, 262144, 0.9),
    ("softmax_backward", LENGTHS[0], LENGTHS[-1], 0.9),
]


def seconds(torch: Any, call: Call, inputs: list[tuple[Any, ...]], calls: int) -> float:
    """Return the time of one call, from events around `calls` of them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(calls):
        call(*inputs[i % len(inputs)])
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3 / calls


def check_bits(torch: Any, work: Work, call: Call, arguments: tuple[Any, ...]) -> None:
    """Raise where the first rows of a call do not have the bits of the CPU."""
    rows = max(1, CHECKED_ELEMENTS // work.length)
    if work.op == "cross_entropy":  # the mean is that of all rows
        rows = work.rows

    def bits(result: Any) -> Any:
        kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
        some = result[:rows] if result.ndim > 0 else result
        return some.cpu().reshape(-1).view(kinds[some.element_size()]).numpy()

    def results(given: list[Any]) -> Any:
        result = call(*given)
        return [bits(part) for part in (result if isinstance(result, tuple) else (result,))]

    found = results(list(arguments))
    expected = results([array[:rows].cpu() for array in arguments])
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, wanted)


def measure(torch: Any, work: Work, rounds: int) -> dict[str, float]:
    """Return the median time of a call for all contestants that can do the work, and a copy."""
    properties = torch.cuda.get_device_properties(0)
    size = work.rows * work.length * ITEM_BYTES[work.dtype]
    sets = 1 + -(-2 * properties.L2_cache_size // size)
    inputs = [prepare(torch, work) for _ in range(sets)]
    field = contestants(torch, work.op)
    check_bits(torch, work, field["fastsoftmax"], inputs[0])
    arguments = dict.fromkeys(field, inputs)
    field["copy"] = lambda x, target: target.copy_(x)
    arguments["copy"] = [(x, torch.empty_like(x)) for x, *_ in inputs]
    calls: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    for name, call in field.items():
        try:
            call(*arguments[name][0])
        except Exception as error:  # of the peer's own kind
            if name not in PEERS:
                raise
            print(f"# {name} {work}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        once = seconds(torch, call, arguments[name], 3)
        calls[name] = max(sets, int(EVENT_SECONDS / once))
        times[name] = []
    order = list(times)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(seconds(torch, field[name], arguments[name], calls[name]))
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


def summary(measured: list[tuple[Work, dict[str, float]]]) -> list[str]:
    """Return lines on what is aimed at: against torch, and as shares of the copy's bandwidth."""

    def of(op: str, shortest: int, longest: int) -> list[tuple[Work, dict[str, float]]]:
        return [m for m in measured if m[0].op == op and shortest <= m[0].length <= longest]

    def over_torch(shortest: int) -> list[float]:
        chosen = [times for _, times in of("softmax", shortest, 262144) if "torch" in times]
        return [times["torch"] / times["fastsoftmax"] for times in chosen]

    lines, shares = [], []
    if ratios := over_torch(1024):
        least = f"torch's time over ours is at least {min(ratios):.3f} (aim: 1)"
        lines.append(f"softmax, rows of 1,024 to 262,144: {least}")
    if ratios := over_torch(4097):
        mean = f"torch's time over ours is {statistics.fmean(ratios):.2f} in the mean (aim: 2)"
        lines.append(f"softmax, rows above 4,096, to 262,144: {mean}")
    for op, shortest, longest, aim in SHARES:
        if chosen := of(op, shortest, longest):
            least = f"{min(share_of_copy(*m) for m in chosen):.1%} (aim: {aim:.0%})"
            shares.append(f"{op} of {shortest:,} to {longest:,} {least}")
    if shares:
        lines.append(f"least share of the copy's bandwidth: {', '.join(shares)}")
    return lines


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
    for path in (args.json, args.plot):
        if path and not path.parent.is_dir():
            parser.error(f"{path.parent} is not a directory")
    if args.plot:
        importlib.import_module("matplotlib.pyplot")
    status = _core._cuda_status()
    if not status["available"]:
        parser.exit(1, f"no CUDA: {status['reason']}\n")
    torch = importlib.import_module("torch")
    batch = min(BATCH_BYTES, torch.cuda.get_device_properties(0).total_memory // 16)
    card, date = torch.cuda.get_device_name(0), datetime.date.today().isoformat()
    title = f"{card}, {date}, PyTorch {torch.__version__}"
    print(f"{title}; microseconds, and the others' time over ours.")
    print("Times include the call from Python, which may be most of those below about 100 us.\n")
    headings = ["Operation", "Rows", "Length", "dtype", "us", "of copy", *PEERS]
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|")
    measured = []
    for work in works(ITEM_BYTES, batch):
        if args.op in (None, work.op):
            times = measure(torch, work, args.rounds)
            print(row(work, times), flush=True)
            measured.append((work, times))
    print("", *summary(measured), sep="\n")
    if args.json:
        kept = [{"work": vars(work), "seconds": times} for work, times in measured]
        facts = {"card": card, "date": date, "torch": torch.__version__, "status": status}
        args.json.write_text(json.dumps(facts | {"times": kept}, indent=2))
    if args.plot:
        plot(measured, title, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
