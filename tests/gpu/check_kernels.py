"""Reads a build log with ptxas's report (-Xptxas=-v) and checks what it says of every kernel.

python tests/gpu/check_kernels.py BUILD_LOG

No kernel may spill registers to memory or keep arrays there, and none may need so many registers
that a multiprocessor has room for fewer threads than its kind is meant to have.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REGISTERS = 65536  # of a multiprocessor, in all architectures since compute capability 3.5
# Threads that should fit: enough loads in flight for the row lengths that a kernel is for. The
# first name that a kernel's contains is its kind.
THREADS = {
    "LossGroupRows": {"LNS0_6LayoutE0": 256, "LNS0_6LayoutE2": 256},
    "LossBlockRows": {"LNS0_6LayoutE0": 256, "LNS0_6LayoutE1": 128},
    "StatsGroupRows": {"LNS0_6LayoutE0": 256, "LNS0_6LayoutE2": 256},
    "StatsBlockRows": {"LNS0_6LayoutE0": 256, "LNS0_6LayoutE2": 128},
    "LossSum": 512,
    "LossDivisor": 512,
    "ShortRows": {"Li1E": 512, "Li4E": 512, "Li16E": 256},
    "BlockRows": 256,
    "SumParts": 384,
    "WriteParts": 512,
    "JoinParts": 768,
    "Columns": 256,
    "ShortGradients": {"Li1E": 1024, "Li4E": 640, "Li16E": 256},
    "BlockGradients": 384,
    "SumGradientParts": 768,
    "WriteGradientParts": 768,
    "JoinGradientParts": 768,
    "ColumnGradients": 512,
    "ObserveBlocks": 256,
    "JoinSums": 768,
    "SumExceptional": 256,
    "ChooseRows": 1024,
    "StoreSelected": 1024,
    "ShortTopk": 384,
    "SampleRows": 256,
    "SampleParts": 512,
}
# Not one for each type of elements.
ONE_FOR_ALL = ["JoinParts", "JoinGradientParts", "LossSum", "LossDivisor", "JoinSums"]
ONE_FOR_ALL += ["SampleRows", "SampleParts"]
TYPES = {"f32": "F32Ef", "f64": "F64Ed", "f16": "3f16", "bf16": "4bf16"}

Report = dict[str, tuple[int, int, int]]  # kernel and architecture: registers, stack, spilled bytes


def read(log: str) -> Report:
    """Return registers, bytes of stack and bytes spilled for each entry function."""
    report: Report = {}
    entry = last = ""
    stack = spilled = 0
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            entry = " ".join(found.groups())
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            now = [int(text) for text in found.groups()]
            if entry:
                stack, spilled = now
            elif last:  # a function that kernels call
                registers, *before = report[last]
                report[last] = (registers, max(before[0], now[0]), max(before[1], now[1]))
        elif (found := re.search(r"Used (\d+) registers", line)) and entry:
            report[entry] = (int(found.group(1)), stack, spilled)
            entry, last = "", entry
    return report


def threads_wanted(kernel: str) -> int:
    """Return how many threads of a kernel a multiprocessor should have room for."""
    for kind, wanted in THREADS.items():
        if kind not in kernel:
            continue
        if isinstance(wanted, int):
            return wanted
        return next(threads for steps, threads in wanted.items() if steps in kernel)
    raise ValueError(f"{kernel} is a kernel of an unknown kind")


def complaints(report: Report) -> list[str]:
    """Return what is wrong with the kernels."""
    found = []
    for kernel, (registers, stack, spilled) in report.items():
        if stack or spilled:
            found.append(f"{kernel}: {stack} bytes of stack, {spilled} bytes spilled")
        # Registers are handed out in units of eight for each thread.
        threads = REGISTERS // (-(-registers // 8) * 8)
        if threads < threads_wanted(kernel):
            found.append(f"{kernel}: {registers} registers, room for {threads} threads only")
    found += [
        f"no kernel of {kind} for {dtype}"
        for kind in THREADS
        for dtype, mangled in TYPES.items()
        if kind not in ONE_FOR_ALL and not any(kind in k and mangled in k for k in report)
    ]
    return found


def main() -> int:
    """Print the kernels with the most registers and what is wrong; return the exit status."""
    report = read(Path(sys.argv[1]).read_text())
    wrong = complaints(report)
    for kernel, numbers in sorted(report.items(), key=lambda item: -item[1][0])[:5]:
        print(numbers[0], "registers:", kernel)
    print(f"{len(report)} kernels, {len(wrong)} complaints")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
