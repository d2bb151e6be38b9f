"""``python -m fastsoftmax bench``: softmax on this machine, beside memcpy and installed peers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax._cli import _contestants as field
from fastsoftmax._cli import _table
from fastsoftmax._cli._common import CommandError, one_line, os_reason, positive_int
from fastsoftmax._cli._contestants import Contestant
from fastsoftmax._cli._measure import (
    Case,
    Timing,
    aligned_zeros,
    measure,
    ratio,
    reference,
    relative_error,
    scores,
)
from fastsoftmax._cli._npy import bfloat16
from fastsoftmax._cli.info import machine, machine_line

CASES = (
    Case("float32", (10,)),
    Case("float32", (16, 1000)),
    Case("float32", (8192, 64)),
    Case("float32", (4096, 1024)),
    Case("float32", (256, 32768)),
    Case("float32", (16, 262144)),
    Case("float32", (1, 1 << 24)),
    Case("float32", (1024, 4096), axis=0),
    Case("float16", (4096, 1024)),
    Case("bfloat16", (4096, 1024)),
    Case("float64", (4096, 1024)),
)

Builders = list[tuple[str, field.Builder]]


# 4 ulp, which is what fastsoftmax promises, and for float64 as much again for the reference.
_OWN_LIMIT = {"float16": 2.0**-8, "bfloat16": 2.0**-5, "float32": 2.0**-21, "float64": 2.0**-49}
# A peer's error that is worth a remark beside its time, in multiples of that.
_REMARKABLE = 8


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="a table of timings on this machine, beside memcpy and installed peers",
        description="Time softmax on this machine in one process and interleaved rounds, beside "
        "memcpy of the same bytes, NumPy, and whichever of SciPy, PyTorch, ONNX Runtime and JAX "
        "are installed. Results are checked before they are timed.",
    )
    parser.add_argument(
        "--seconds",
        type=positive_int,
        default=60,
        metavar="S",
        help="for the whole table; default: %(default)s",
    )
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="threads of every contestant"
    )
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        help=f"of {', '.join(field.PEERS)}, separated by commas, or 'none'; default: all installed",
    )
    parser.add_argument("--rows", metavar="TEXT", default="", help="only rows whose label has TEXT")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures there")
    parser.set_defaults(run=run)


def _peers(text: str | None) -> list[str]:
    found = [name for name in field.PEERS if importlib.util.find_spec(name)]
    if text is None:
        return found
    asked = [] if text == "none" else text.split(",")
    for name in asked:
        if name not in field.PEERS:
            raise CommandError(f"--peers: {name!r} is none of {', '.join(field.PEERS)}")
        if name not in found:
            raise CommandError(f"--peers: {name} is not installed")
    return asked


def _without_missing_types(cases: list[Case]) -> tuple[list[Case], list[str]]:
    """Drop the cases whose type is not installed, with a note for each."""
    if importlib.util.find_spec("ml_dtypes"):
        return cases, []
    kept = [case for case in cases if case.dtype != "bfloat16"]
    dropped = [case for case in cases if case.dtype == "bfloat16"]
    return kept, [f"{case.label} left out: it needs the package ml_dtypes" for case in dropped]


def _limit_cpus(threads: int) -> str | None:
    """Keep this process to `threads` CPUs; return a remark where that is not possible.

    It is the only limit that every peer heeds: JAX has no setting of its own.
    """
    if not hasattr(os, "sched_setaffinity"):
        return "JAX chooses its own number of threads on this system"
    allowed = sorted(os.sched_getaffinity(0))
    if threads < len(allowed):
        seen: set[str] = set()
        first: list[int] = []
        second: list[int] = []
        for cpu in allowed:  # one hardware thread of each core first
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            core = siblings.read_text() if siblings.exists() else str(cpu)
            (second if core in seen else first).append(cpu)
            seen.add(core)
        os.sched_setaffinity(0, (first + second)[:threads])
    return None


def _line_up(
    case: Case, task: field.Task, builders: Builders, notes: list[str]
) -> tuple[list[Contestant], dict[str, float]]:
    """Find the contestants that can do `case`, and their relative errors against float64.

    Raises
    ------
    ArithmeticError
        When fastsoftmax itself is wrong.
    """
    expected = reference(task.x, case.axis)
    checked = [field.memcpy(task)]
    errors: dict[str, float] = {}
    inexact: list[str] = []
    for name, builder in builders:
        own = name.startswith("fastsoftmax")
        try:
            contestant = builder(task)
            task.out.fill(0)
            contestant.call()
            error = relative_error(contestant.result(), expected, case.dtype)
        except Exception as failure:  # peers fail in their own ways, and must not end the table
            if own:
                raise
            notes.append(f"{case.label}: {name} left out: {one_line(failure)[:120]}")
            continue
        if own and error > _OWN_LIMIT[case.dtype]:
            raise ArithmeticError(f"{case.label}: relative error {error:.2g} of {name}")
        if error == math.inf:
            notes.append(f"{case.label}: {name} left out: its result is not a softmax of this type")
            continue
        if error > _REMARKABLE * _OWN_LIMIT[case.dtype]:
            inexact.append(f"{name} {error:.1e}")
        checked.append(contestant)
        errors[name] = error
    if inexact:
        notes.append(f"{case.label}: relative errors up to: {', '.join(inexact)}")
    if not any(c.allocates and c.name != field.NEW_ARRAY for c in checked):
        checked = [c for c in checked if c.name != field.NEW_ARRAY]
    return checked, errors


def _speed(timings: dict[str, Timing], contestants: list[Contestant]) -> dict[str, float]:
    """Compare times with fastsoftmax's, for the same work.

    Those that allocate their result are compared with the call that does so too.
    """
    factors = {}
    for contestant in contestants:
        own = field.NEW_ARRAY if contestant.allocates else "fastsoftmax"
        factors[contestant.name] = ratio(timings[contestant.name], timings[own])
    return factors


def _run_case(
    case: Case, threads: int, builders: Builders, deadline: float, notes: list[str]
) -> tuple[dict[str, Any], dict[str, Timing]]:
    dtype = bfloat16() if case.dtype == "bfloat16" else np.dtype(case.dtype)
    task = field.Task(scores(case, dtype), aligned_zeros(case.shape, dtype), case.axis, threads)
    contestants, errors = _line_up(case, task, builders, notes)
    timings = measure(contestants, deadline)
    factors = _speed(timings, contestants)
    figures = {}
    for contestant in contestants:
        timing = timings[contestant.name]
        low, high = timing.quartiles
        figures[contestant.name] = {
            "ns_per_element": timing.median / case.size,
            "quartiles_ns_per_element": [low / case.size, high / case.size],
            "rounds": len(timing.samples),
            "calls_per_sample": timing.calls_per_sample,
            "worst_relative_error": errors.get(contestant.name),
            "takes_out": not contestant.allocates,
            "time_over_memcpy": ratio(timing, timings["memcpy"]),
            "time_over_fastsoftmax": factors[contestant.name],
        }
    record = {"dtype": case.dtype, "shape": case.shape, "axis": case.axis, "contestants": figures}
    return record, timings


def _check_report(path: Path) -> None:
    """Refuse a report that could not be written, before a minute is spent on it."""
    if path.is_dir():
        raise CommandError(f"{path} is a directory")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandError(f"cannot write {path}")


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    cases = [case for case in CASES if args.rows in case.label]
    if not cases:
        raise CommandError(f"no row has {args.rows!r} in its label")
    cases, notes = _without_missing_types(cases)
    if not cases:
        raise CommandError(notes[0])
    peers = _peers(args.peers)
    builders = field.installed(peers)
    if args.json is not None:
        _check_report(args.json)
    threads = args.threads or fastsoftmax.get_num_threads()
    remark = _limit_cpus(threads)
    if remark is not None:
        notes.append(remark)
    fastsoftmax.set_num_threads(threads)
    facts = machine()
    print(machine_line(facts))
    versions = [f"{name} {facts['peers'][name]}" for name in peers]
    print("peers: " + (", ".join(versions) or "none") + "; NumPy and SciPy use one thread")
    print("ns per element: median of the rounds, with half the interquartile range in percent")

    names = ["memcpy", *(name for name, _ in builders)]
    if not {"SciPy", "JAX"} & set(names):
        names.remove(field.NEW_ARRAY)
    print(_table.heading(names), flush=True)
    records = []
    for number, case in enumerate(cases):
        now = time.perf_counter()
        left = max(0.0, started + args.seconds - now) / (len(cases) - number)
        try:
            record, timings = _run_case(case, threads, builders, now + left, notes)
        except ArithmeticError as error:
            print(f"fastsoftmax bench: wrong result: {one_line(error)}", file=sys.stderr)
            return 1
        records.append(record)
        print(_table.times(case, names, timings), flush=True)

    print("\n" + _table.ratios(records, cases, names))
    for note in notes:
        print(f"note: {note}")
    if args.json is not None:
        report = {"machine": facts, "threads": threads, "results": records, "notes": notes}
        try:
            args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot write {args.json}: {os_reason(error)}") from None
    return 0
