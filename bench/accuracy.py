#!/usr/bin/env python3
"""Errors of softmax, log_softmax and logsumexp in ulp: fastsoftmax beside SciPy and PyTorch.

An error is |result - exact| in units of the last place of the exact result, in the result's type.
Elements whose exact result is below the smallest normal number are left out. logsumexp is the sum
of the maximum and a logarithm, which may cancel, so that no error relative to the result itself is
bounded, whoever computes it; its unit is the last place of the larger of the two.

Exact means float64 for float32 rows, and for float64 rows a long double of 64 bits or more (x87,
or IEEE quadruple); rounding errors of x - max are carried along. `--check-reference` compares both
with mpmath at 200 digits.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import accuracy_blocks
import fastsoftmax as fs
import numpy as np
import numpy.typing as npt
from accuracy_inputs import HOSTILE, REALISTIC

Array: TypeAlias = npt.NDArray[Any]
Library: TypeAlias = Callable[[str, Array], Array]
Record: TypeAlias = dict[str, Any]

OPS = ("softmax", "log_softmax", "logsumexp")
SIZES = (10, 512, 1000, 4096, 32768, 131072, 2**20, 2**24)
ELEMENTS = 2**20  # of the rows taken together, where a single one is shorter
CHUNK = 2**20


class Reference:
    """Exact results of rows `x` of shape (rows, n), chunk by chunk along a row.

    Attributes
    ----------
    max, log_sum : ndarray of shape (rows, 1)
        The largest element, and the logarithm of the sum of e**(x - max).
    """

    def __init__(self, x: Array) -> None:
        self._x = x
        self._wide = np.float64 if x.dtype == np.float32 else np.longdouble
        self.max = x.max(axis=1, keepdims=True).astype(self._wide)
        first = x.argmax(axis=1)
        rest = np.zeros_like(self.max)
        for start, _, _, e in self._exponentials():
            here = (first >= start) & (first < start + e.shape[1])
            e[here, first[here] - start] = 0
            rest += e.sum(axis=1, keepdims=True)
        self._sum = 1 + rest
        self.log_sum = np.log1p(rest)

    def _exponentials(self) -> Iterator[tuple[int, Array, Array, Array]]:
        # d + low = x - max without a rounding error, and e = e**(d + low).
        for start in range(0, self._x.shape[1], CHUNK):
            x = self._x[:, start : start + CHUNK].astype(self._wide)
            with np.errstate(invalid="ignore", under="ignore"):
                d = x - self.max
                part = d - x
                low = (x - (d - part)) + (-self.max - part)
                low[np.isinf(d)] = 0
                yield start, d, low, np.exp(d) * (1 + low)

    def chunks(self, op: str) -> Iterator[tuple[slice, Array]]:
        """Yield columns and the exact softmax or log_softmax in them."""
        for start, d, low, e in self._exponentials():
            columns = slice(start, start + d.shape[1])
            yield columns, e / self._sum if op == "softmax" else (d - self.log_sum) + low


def _ulp(exact: Array, dtype: np.dtype[Any]) -> Array:
    _, exponent = np.frexp(exact)
    place: Array = np.ldexp(np.ones_like(exact), exponent - 1 - np.finfo(dtype).nmant)
    return place


def _errors(reference: Reference, op: str, got: Array) -> tuple[float, float]:
    # Worst and mean; nan where no element is left to judge.
    dtype = got.dtype
    worst, total, count = 0.0, 0.0, 0
    if op == "logsumexp":
        scale = np.maximum(np.abs(reference.max), reference.log_sum)
        error = np.abs((got[:, None] - reference.max) - reference.log_sum) / _ulp(scale, dtype)
        return float(error.max()), float(error.mean())
    for columns, exact in reference.chunks(op):
        judged = np.isfinite(exact) & (np.abs(exact) >= np.finfo(dtype).tiny)
        if not judged.any():
            continue
        value = exact[judged]
        error = np.abs(got[:, columns][judged] - value) / _ulp(value, dtype)
        error[np.isnan(error)] = np.inf
        worst = max(worst, float(error.max()))
        total += float(error.sum())
        count += error.size
    return (worst, total / count) if count else (math.nan, math.nan)


def libraries() -> dict[str, Library]:
    """Return what is installed, by name: functions of an op's name and rows."""
    found: dict[str, Library] = {"fastsoftmax": lambda op, x: getattr(fs, op)(x, axis=-1)}
    try:
        import scipy.special

        found["SciPy"] = lambda op, x: getattr(scipy.special, op)(x, axis=-1)
    except ImportError:
        pass
    try:
        import torch

        found["PyTorch"] = lambda op, x: getattr(torch, op)(torch.from_numpy(x), dim=-1).numpy()
    except ImportError:
        pass
    return found


def measure(dtype: str, sizes: list[int], seed: int) -> list[Record]:
    """Return one record for each input, size, op and library."""
    records: list[Record] = []
    for kind, inputs in (("realistic", REALISTIC), ("hostile", HOSTILE)):
        for name, make in inputs.items():
            for n in sizes:
                rng = np.random.default_rng([seed, n, len(name)])
                x = make(rng, max(1, ELEMENTS // n), n).astype(dtype)
                reference = Reference(x)
                for op in OPS:
                    for library, function in libraries().items():
                        worst, mean = _errors(reference, op, function(op, x))
                        case = {"dtype": dtype, "kind": kind, "input": name, "size": n, "op": op}
                        records.append({**case, "library": library, "worst": worst, "mean": mean})
                print(f"{dtype}: {name}, {n}", file=sys.stderr)
    return records


def check_reference(seed: int) -> None:
    """Print the largest error of the references themselves, in ulp of the dtype."""
    import mpmath  # type: ignore[import-untyped, unused-ignore]

    mpmath.mp.dps = 200
    for dtype in ("float32", "float64"):
        worst = 0.0
        for make in (*REALISTIC.values(), *HOSTILE.values()):
            x = make(np.random.default_rng(seed), 1, 100).astype(dtype)
            exact = [mpmath.exp(mpmath.mpf(float(v))) for v in x[0]]
            total = mpmath.fsum(exact)
            for op in ("softmax", "log_softmax"):
                ((_, got),) = Reference(x).chunks(op)
                for e, value in zip(exact, got[0], strict=True):
                    true = e / total
                    if op == "log_softmax" and e != 0:
                        true = mpmath.log(true)
                    if abs(true) < np.finfo(dtype).tiny or e == 0:
                        continue
                    high = float(value)
                    difference = (true - mpmath.mpf(high)) - mpmath.mpf(float(value - high))
                    ulp = _ulp(np.array([high]), np.dtype(dtype))[0]
                    worst = max(worst, float(abs(difference)) / float(ulp))
        print(f"{dtype}: the reference is within {worst:.2g} ulp of mpmath")


def _row(records: list[Record], label: str) -> str:
    cells = [label]
    for library in dict.fromkeys(r["library"] for r in records):
        own = [r for r in records if r["library"] == library and not math.isnan(r["mean"])]
        if not own:
            cells.append("")
            continue
        worst = max(r["worst"] for r in own)
        mean = sum(r["mean"] for r in own) / len(own)
        cells.append(" / ".join(f"{v:.2f}" if v < 1000 else f"{v:.1e}" for v in (worst, mean)))
    return "| " + " | ".join(cells) + " |"


def markdown(records: list[Record]) -> str:
    """Return the tables of docs/numerics.md: worst / mean, every size weighing the same."""
    names = list(dict.fromkeys(r["library"] for r in records))
    lines = []
    for dtype in dict.fromkeys(r["dtype"] for r in records):
        for op in OPS:
            chosen = [r for r in records if r["dtype"] == dtype and r["op"] == op]
            lines += ["", f"**{op}, {dtype}**", "", f"| input | {' | '.join(names)} |"]
            lines.append("|---|" + "---:|" * len(names))
            for label in dict.fromkeys(r["input"] for r in chosen):
                lines.append(_row([r for r in chosen if r["input"] == label], label))
        chosen = [r for r in records if r["dtype"] == dtype and r["op"] == "softmax"]
        lines += ["", f"**softmax, {dtype}, all inputs by row length**", ""]
        lines += [f"| length | {' | '.join(names)} |", "|---:|" + "---:|" * len(names)]
        for size in dict.fromkeys(r["size"] for r in chosen):
            lines.append(_row([r for r in chosen if r["size"] == size], str(size)))
    return "\n".join(lines[1:])


def versions() -> str:
    """Return a line that names what was measured."""
    parts = [f"fastsoftmax {fs.__version__} ({fs.isa_in_use()})", f"NumPy {np.__version__}"]
    for module in ("scipy", "torch"):
        if module in sys.modules:
            parts.append(f"{module} {sys.modules[module].__version__}")
    return ", ".join([*parts, f"Python {platform.python_version()}", platform.machine()])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Errors in ulp, beside SciPy and PyTorch.")
    parser.add_argument("--quick", action="store_true", help="rows of at most 131072 elements")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="one dtype only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the docs")
    parser.add_argument("--block", action="store_true", help="lane sums, plain and compensated")
    parser.add_argument("--check-reference", action="store_true", help="compare with mpmath")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.block:
        print(accuracy_blocks.markdown(accuracy_blocks.measure(np.random.default_rng(0))))
        return
    if arguments.check_reference:
        check_reference(arguments.seed)
        return
    sizes = [n for n in SIZES if not arguments.quick or n <= 131072]
    records: list[Record] = []
    for dtype in [arguments.dtype] if arguments.dtype else ["float32", "float64"]:
        if dtype == "float64" and np.finfo(np.longdouble).nmant < 63:
            print("float64 left out: long double has no more bits here", file=sys.stderr)
            continue
        records += measure(dtype, sizes, arguments.seed)
    if arguments.json:
        arguments.json.write_text(json.dumps({"versions": versions(), "records": records}))
    if arguments.markdown:
        print(versions())
        print(markdown(records))
        return
    for r in records:
        print(
            f"{r['dtype']} {r['op']:<11} {r['input']:<20} {r['size']:>9} {r['library']:<11} "
            f"worst {r['worst']:.3f} mean {r['mean']:.3f}"
        )


if __name__ == "__main__":
    main()
