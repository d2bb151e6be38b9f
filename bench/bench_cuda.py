#!/usr/bin/env python3
"""fastsoftmax on a GPU beside PyTorch, a Triton softmax, CuPy and the card's own copy.

Each contestant writes into an output of its own; inputs and outputs rotate through more memory than
L2 holds. Rounds time every contestant once, in an order drawn anew, with CUDA events around as many
calls as take a few milliseconds; figures are medians. Results are compared with the CPU's, bit by
bit, before anything is timed. Needs the CUDA library (docs/cuda.md) and PyTorch for CUDA.

    python bench/bench_cuda.py                     the table of docs/cuda.md
    python bench/bench_cuda.py --json times.json   and all times
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax import _core

Call = Callable[[Any, Any], Any]  # of an input and an output
BATCH_BYTES = 2 << 30  # of input, where the card has room
EVENT_SECONDS = 0.004
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1 << 20]


@dataclass(frozen=True)
class Work:
    """Rows of a length and a type."""

    rows: int
    length: int
    dtype: str


def works(item_bytes: dict[str, int], batch_bytes: int) -> list[Work]:
    """Batches of equal size for every length and type."""
    return [
        Work(max(1, batch_bytes // (item_bytes[dtype] * n)), n, dtype)
        for dtype in ("float32", "bfloat16")
        for n in LENGTHS
    ]


def triton_softmax() -> Call | None:
    """Return Triton's softmax, a program to a row, if it is there; up to 2^17 elements."""
    try:
        triton = importlib.import_module("triton")
        tl = importlib.import_module("triton.language")
    except ImportError:
        return None

    def kernel(out, x, stride, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: N803
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        scores = tl.load(x + row * stride + at, mask=at < n, other=-float("inf")).to(tl.float32)
        terms = tl.exp(scores - tl.max(scores, axis=0))
        tl.store(out + row * stride + at, terms / tl.sum(terms, axis=0), mask=at < n)

    kernel.__globals__["tl"] = tl
    compiled = triton.jit(kernel)

    def call(x: Any, out: Any) -> None:
        rows, n = x.shape
        if n > 1 << 17:
            raise ValueError("too long for one Triton program")
        block = triton.next_power_of_2(n)
        warps = min(32, max(1, block // 256))
        compiled[(rows,)](out, x, x.stride(0), n, BLOCK=block, num_warps=warps)

    return call


def cupy_softmax() -> Call | None:
    """Return the formula in CuPy, if it is there."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return None

    def call(x: Any, out: Any) -> None:
        if x.element_size() == 2:
            raise ValueError("CuPy has no bfloat16")
        scores, result = cupy.asarray(x), cupy.asarray(out)
        cupy.exp(scores - scores.max(axis=1, keepdims=True), out=result)
        result /= result.sum(axis=1, keepdims=True)

    return call


def contestants(torch: Any) -> dict[str, Call]:
    """Return all that this machine has."""
    compiled = torch.compile(lambda x: torch.softmax(x, -1), dynamic=False)
    found: dict[str, Call | None] = {
        "copy": lambda x, out: out.copy_(x),
        "fastsoftmax": lambda x, out: fs.softmax(x, out=out),
        "torch": lambda x, out: torch.softmax(x, -1, out=out),
        "compiled": lambda x, _: compiled(x),
        "Triton": triton_softmax(),
        "CuPy": cupy_softmax(),
    }
    return {name: call for name, call in found.items() if call is not None}


def seconds(torch: Any, call: Call, pairs: list[tuple[Any, Any]], calls: int) -> float:
    """Return the time of one call, from events around `calls` of them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(calls):
        call(*pairs[i % len(pairs)])
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3 / calls


def check_bits(x: Any) -> None:
    """Raise where the first rows do not have the bits of the CPU."""
    rows = x[: max(1, min(len(x), (1 << 22) // x.shape[1]))]
    kind = {2: "torch.int16", 4: "torch.int32"}[x.element_size()]
    integers = getattr(sys.modules["torch"], kind.removeprefix("torch."))
    on_gpu = fs.softmax(rows).cpu().view(integers).numpy()
    np.testing.assert_array_equal(on_gpu, fs.softmax(rows.cpu()).view(integers).numpy())


def measure(torch: Any, work: Work, rounds: int) -> dict[str, float]:
    """Return the median time of one call for each contestant that can do the work."""
    dtype = getattr(torch, work.dtype)
    properties = torch.cuda.get_device_properties(0)
    size = work.rows * work.length * dtype.itemsize
    copies = 1 + -(-2 * properties.L2_cache_size // size)
    pairs = []
    for _ in range(copies):
        x = torch.randn((work.rows, work.length), device="cuda", dtype=dtype) * 3
        pairs.append((x, torch.empty_like(x)))
    check_bits(pairs[0][0])

    calls: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    field = contestants(torch)
    for name, call in field.items():
        try:
            call(*pairs[0])
        except (RuntimeError, ValueError) as error:
            print(f"# {name} {work}: {error}", file=sys.stderr)
            continue
        once = seconds(torch, call, pairs, 3)
        calls[name] = max(len(pairs), int(EVENT_SECONDS / once))
        times[name] = []
    order = list(times)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(seconds(torch, field[name], pairs, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def row(work: Work, times: dict[str, float], item_bytes: int) -> str:
    """Return a line of the table: GB/s, and the share of the copy's."""
    moved = 2 * work.rows * work.length * item_bytes
    speeds = {name: moved / time * 1e-9 for name, time in times.items()}
    cells = [f"{speeds[name]:.0f}" if name in speeds else "" for name in HEADINGS]
    share = f"{speeds['fastsoftmax'] / speeds['copy']:.0%}"
    return "| " + " | ".join([str(work.rows), str(work.length), work.dtype, *cells, share]) + " |"


HEADINGS = ["fastsoftmax", "copy", "torch", "compiled", "Triton", "CuPy"]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="file for all times")
    args = parser.parse_args()
    status = _core._cuda_status()
    if not status["available"]:
        parser.exit(1, f"no CUDA: {status['reason']}\n")
    torch = importlib.import_module("torch")
    item_bytes = {"float32": 4, "bfloat16": 2}
    batch = min(BATCH_BYTES, torch.cuda.get_device_properties(0).total_memory // 16)
    print(f"{status['devices'][0]}, PyTorch {torch.__version__}, GB/s read and written\n")
    print("| Rows | Length | dtype | " + " | ".join(HEADINGS) + " | of copy |")
    print("|---" * (4 + len(HEADINGS)) + "|")
    kept = []
    for work in works(item_bytes, batch):
        times = measure(torch, work, args.rounds)
        print(row(work, times, item_bytes[work.dtype]), flush=True)
        kept.append({"work": vars(work), "seconds": times})
    if args.json:
        args.json.write_text(json.dumps({"status": status, "times": kept}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
