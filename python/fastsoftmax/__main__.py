"""The command line: ``python -m fastsoftmax``.

Exit status: 0 done, 1 a result was wrong (`bench`), 2 bad arguments or bad files (one line on
stderr says which), 128 + n stopped by signal n.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import fastsoftmax
from fastsoftmax import _core
from fastsoftmax._cli import apply, bench, info, sample, tune
from fastsoftmax._cli._common import CommandError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastsoftmax",
        description="Fast, accurate softmax, log-softmax and log-sum-exp.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "--include-dir", action="store_true", help="print the directory of the C++ headers"
    )
    parser.add_argument(
        "--cmake-dir", action="store_true", help="print the directory for CMake's fastsoftmax_DIR"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for module in (info, apply, sample, bench, tune):
        module.add_parser(commands)
    return parser


def _join_axis(arguments: Sequence[str]) -> list[str]:
    """Turn ``--axis -2,-1`` into ``--axis=-2,-1``, which argparse takes for an option otherwise."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--axis":
            joined[-1] = f"--axis={argument}"
        else:
            joined.append(argument)
    return joined


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; `arguments` defaults to those of the process."""
    parser = _parser()
    args = parser.parse_args(_join_axis(sys.argv[1:] if arguments is None else arguments))
    asked = {
        "version": lambda: f"fastsoftmax {_core.version()}",
        "include_dir": fastsoftmax.include_dir,
        "cmake_dir": fastsoftmax.cmake_dir,
    }
    try:
        answers = [answer() for name, answer in asked.items() if getattr(args, name)]
    except FileNotFoundError as error:
        print(f"fastsoftmax: error: {error}", file=sys.stderr)
        return 2
    for answer in answers:
        print(answer)
    if args.command is None:
        if not answers:
            parser.print_help(sys.stderr)
        return 0 if answers else 2
    try:
        status = int(args.run(args))
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(f"fastsoftmax {args.command}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as in `... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print(f"fastsoftmax {args.command}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
