#!/usr/bin/env python3
"""How close the plan's choice comes to what arithmetic and memory allow, from compare_kernels.

Reads what compare_kernels wrote as JSON, with repetitions, and prints a table in Markdown, in ns
per element: for each row length the arithmetic alone, the memory traffic alone, their larger one as
the bound, the plan's choice (auto), its share of the bound, and the fastest forced algorithm.

arithmetic  rows in cache: the fastest at any length; from memory: auto in cache at this length or
            the nearest, and where x and y of a row exceed the last level, online
memory      memcpy of the same bytes; and another reading where x and y of a row exceed the last
            level
bytes       of an element that a row must move

    ./compare_kernels --max_log2=26 --benchmark_repetitions=5 --benchmark_out=rows.json ...
    python bench/roofline.py rows.json --dtype f32 --isa avx512
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from two_pass_paper import Series, power, read, table

ITEMSIZE = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2}


def last_level(file: Path) -> int:
    """Bytes of the last-level cache, as the run saw it."""
    context = json.loads(file.read_text(encoding="utf-8"))["context"]
    return int(context["caches"].split()[2])


def at(times: dict[int, float], length: int) -> float:
    """Find the time at this length, or at the nearest that was measured."""
    return times[min(times, key=lambda n: abs(n.bit_length() - length.bit_length()))]


def rows_of(series: Series, stem: str, where: str, dtype: str, cache: int) -> list[list[str]]:
    """List the table's rows for one of cache and memory; `stem` is softmax/<dtype>/<isa>."""
    suffix = f"/{where}"
    forced = {
        name.removeprefix(stem + "/").removesuffix(suffix): times
        for name, times in series.items()
        if name.startswith(stem + "/") and name.endswith(suffix) and "/auto/" not in name
    }
    cached = series[f"{stem}/auto/cache"]
    online = series[f"{stem}/online/cache"]
    rows = []
    for length, ns in series[f"{stem}/auto/{where}"].items():
        fits = 2 * length * ITEMSIZE[dtype] <= cache
        if where == "cache":
            arithmetic = min(cached.values())
        else:
            arithmetic = at(cached if fits else online, length)
        memory = at(series[f"memcpy/{dtype}{suffix}"], length)
        if not fits:
            memory += at(series[f"read/{dtype}{suffix}"], length)
        bound = max(arithmetic, memory)
        best = min(
            (name for name in forced if length in forced[name]), key=lambda n: forced[n][length]
        )
        rows.append(
            [
                f"{where}, {power(length)}",
                str((2 if fits else 3) * ITEMSIZE[dtype]),
                f"{arithmetic:.3f}",
                f"{memory:.3f}",
                f"{ns:.3f}",
                f"{100 * bound / ns:.0f} %",
                f"`{best}` {forced[best][length]:.3f}",
                f"{100 * (ns / forced[best][length] - 1):+.0f} %",
            ]
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--dtype", default="f32", choices=ITEMSIZE)
    parser.add_argument("--isa", default="avx512")
    arguments = parser.parse_args()

    series = read(arguments.files)
    stem = f"softmax/{arguments.dtype}/{arguments.isa}"
    cache = last_level(arguments.files[0])
    head = [
        "rows",
        "bytes",
        "arithmetic",
        "memory",
        "auto",
        "of the bound",
        "fastest",
        "auto behind",
    ]
    found = [
        row
        for where in ("cache", "memory")
        for row in rows_of(series, stem, where, arguments.dtype, cache)
    ]
    print(table(head, found))


if __name__ == "__main__":
    main()
