"""``python -m fastsoftmax info``: the library and the machine as the library sees it."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax import _core
from fastsoftmax._cli._common import CommandError, one_line, peer_versions, readable


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info",
        help="version, compiler, instruction sets, caches, threads, CUDA, peers",
        description="Show how the library was built and what it found on this machine.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def machine() -> dict[str, Any]:
    """Everything `info` shows, as plain JSON types; caches in bytes."""
    try:
        isa = str(_core.isa_in_use())
        threads = fastsoftmax.get_num_threads()
    except (ValueError, RuntimeError) as error:  # FASTSOFTMAX_ISA asks for what is not there
        raise CommandError(one_line(error)) from None
    caches = _core.caches()
    return {
        "version": _core.version(),
        "compiler": _core.compiler(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "isas_built": [str(name) for name in _core.isas_built()],
        "isas_supported": [str(name) for name in _core.isas_supported()],
        "isa_in_use": isa,
        "caches": {level: int(caches[level]) for level in ("l1", "l2", "last_level")},
        "threads": threads,
        "plan": _core._tuning(),
        "cuda": _core._cuda_status(),
        "peers": peer_versions(),
    }


def machine_line(facts: dict[str, Any]) -> str:
    """One line that a table of timings should carry."""
    caches = facts["caches"]
    return (
        f"fastsoftmax {facts['version']} ({facts['compiler']}), {facts['isa_in_use']}, "
        f"L1 {readable(caches['l1'])}, L2 {readable(caches['l2'])}, "
        f"last level {readable(caches['last_level'])}, "
        f"threads {facts['threads']}, Python {facts['python']}, NumPy {facts['numpy']}"
    )


def _plan_rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("plan's constants", plan["origin"])]
    for name, value in plan["constants"].items():
        unit = readable(value) if name.endswith("_bytes") else f"{value} elements"
        rows.append(("", f"{name.removesuffix('_bytes')} {unit}"))
    return rows


def _cuda_rows(cuda: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("CUDA", ", ".join(cuda["devices"]) if cuda["available"] else f"no: {cuda['reason']}")]
    if cuda["architectures"]:  # a library that is not ours has none
        rows.append(("", f"{cuda['library']}, for {cuda['architectures']}"))
    return rows


def run(args: argparse.Namespace) -> int:
    facts = machine()
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    caches = facts["caches"]
    peers = [f"{name} {version}" for name, version in facts["peers"].items() if version]
    rows = [
        ("fastsoftmax", facts["version"]),
        ("compiler", facts["compiler"]),
        ("Python", facts["python"]),
        ("NumPy", facts["numpy"]),
        ("platform", facts["platform"]),
        ("ISAs built", ", ".join(facts["isas_built"])),
        ("ISAs supported here", ", ".join(facts["isas_supported"])),
        ("ISA in use", facts["isa_in_use"]),
        (
            "caches",
            f"L1 {readable(caches['l1'])}, L2 {readable(caches['l2'])} per core, "
            f"last level {readable(caches['last_level'])}",
        ),
        ("threads", str(facts["threads"])),
        *_plan_rows(facts["plan"]),
        *_cuda_rows(facts["cuda"]),
        ("peers found", ", ".join(peers) or "none"),
    ]
    for label, value in rows:
        print(f"{label:<20} {value}")
    return 0
