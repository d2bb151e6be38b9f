"""What the subcommands share: the error they raise, byte counts as text, installed peers."""

from __future__ import annotations

import argparse
import importlib.metadata
import re

# Import name -> distribution names that may provide it.
PEERS: dict[str, tuple[str, ...]] = {
    "scipy": ("scipy",),
    "torch": ("torch",),
    "jax": ("jax",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "ml_dtypes": ("ml_dtypes",),
    "tqdm": ("tqdm",),
}

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class CommandError(Exception):
    """Something the user can act on: printed as one line, exit status 2."""


def one_line(error: BaseException) -> str:
    """Return the message of `error` without line breaks; its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def os_reason(error: OSError) -> str:
    """Return the operating system's own words, without the path that `str(error)` repeats."""
    return error.strerror or one_line(error)


def byte_count(text: str) -> int:
    """Read ``65536``, ``64K``, ``64 MiB`` or ``2g`` (powers of 1024) as an `argparse` type."""
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 65536, 64K or 2MiB")
    return int(match[1]) << (10 * _UNITS[match[2]])


def positive_int(text: str) -> int:
    """Read a whole number of at least 1 as an `argparse` type."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def readable(count: int) -> str:
    """Bytes as text: ``48 KiB``, ``1.5 GiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.4g} {unit}"


def peer_versions() -> dict[str, str | None]:
    """Look up the version of each peer, None where it is missing; imports none of them."""
    found: dict[str, str | None] = {}
    for module, distributions in PEERS.items():
        found[module] = None
        for distribution in distributions:
            try:
                found[module] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found
