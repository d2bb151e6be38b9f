"""``python -m fastsoftmax tune``: measure the constants of the plan, or forget them."""

from __future__ import annotations

import argparse

import fastsoftmax
from fastsoftmax._cli._common import CommandError, one_line, os_reason


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "tune",
        help="measure on this machine what the plan rests on",
        description="Measure the constants by which a call chooses its algorithm, stores and "
        "threads, and keep them for later processes. Let the machine do nothing else meanwhile.",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="stop after this many seconds (default 10)"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="measure and show, store nothing")
    action.add_argument("--reset", action="store_true", help="remove what was stored")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        if args.reset:
            print("removed" if fastsoftmax.reset_tuning() else "nothing was stored")
        else:
            print(fastsoftmax.tune(seconds=args.seconds, save=not args.dry_run))
    except OSError as error:
        raise CommandError(f"{error.filename}: {os_reason(error)}") from None
    except (ValueError, RuntimeError) as error:
        raise CommandError(one_line(error)) from None
    return 0
