"""Which block length the lane sums allow: NumPy float32 simulation of the reduction order.

A block has 64 lanes; lane j adds the terms j, j + 64, ... in order, and the lanes join by halving.
What is measured is the sum alone: its error relative to the exact sum of the same float32 terms, in
units of 2^-23. In a constant row nothing averages out, so these errors reach the result whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LANES = 64
JOIN_LANES = 16
TERMS_PER_LANE = (4, 8, 16, 32, 64)
CONSTANTS = 2**18
CHUNK = 2**10

Floats = npt.NDArray[np.float32]


def block_sums(terms: Floats, *, join_in_double: bool) -> npt.NDArray[np.float64]:
    """Return the sums of float32 blocks of shape (rows, k, 64), of shape (rows,).

    With `join_in_double`, the last 16 lanes are joined in float64 instead of float32.
    """
    lanes = np.zeros((terms.shape[0], LANES), np.float32)
    for k in range(terms.shape[1]):
        lanes = lanes + terms[:, k]
    half = LANES // 2
    while half >= JOIN_LANES:
        lanes = lanes[:, :half] + lanes[:, half:]
        half //= 2
    wide = lanes.astype(np.float64) if join_in_double else lanes
    while half > 0:
        wide = wide[:, :half] + wide[:, half:]
        half //= 2
    return wide[:, 0].astype(np.float64)


def _worst(terms: Floats) -> tuple[float, float]:
    # Exact to 2^-40: at most 4096 terms of 24 bits, of one order of magnitude.
    exact = terms.astype(np.float64).sum(axis=(1, 2))
    errors = [
        float(np.max(np.abs(block_sums(terms, join_in_double=wide) - exact) / exact)) * 2.0**23
        for wide in (False, True)
    ]
    return errors[0], errors[1]


def measure(rng: np.random.Generator) -> list[dict[str, float]]:
    """Return one record per number of terms in a lane, with the worst errors."""
    table = []
    for k in TERMS_PER_LANE:
        constant, random = (0.0, 0.0), (0.0, 0.0)
        # Every mantissa that e^c can have lies in [0.70, 1.42].
        terms = np.linspace(0.7, 1.42, CONSTANTS, dtype=np.float32)
        # In a constant row all lanes are equal and joining them is exact, so one is enough.
        lane = np.zeros_like(terms)
        for _ in range(k):
            lane = lane + terms
        exact = terms.astype(np.float64) * k
        worst = float(np.max(np.abs(lane.astype(np.float64) - exact) / exact)) * 2.0**23
        constant = (worst, worst)
        for _ in range(16):
            logits = rng.normal(0.0, 1.0, (CHUNK, k, LANES))
            errors = _worst(np.exp(logits).astype(np.float32))
            random = (max(random[0], errors[0]), max(random[1], errors[1]))
        table.append(
            {
                "block": k * LANES,
                "terms per lane": k,
                "constant, float32": constant[0],
                "constant, last 16 in float64": constant[1],
                "random, float32": random[0],
                "random, last 16 in float64": random[1],
            }
        )
    return table


def markdown(table: list[dict[str, float]]) -> str:
    """Return the table that docs/numerics.md shows."""
    lines = [
        "| block | terms per lane | constant rows | random rows, halving in f32 "
        "| random rows, last 16 lanes in f64 |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in table:
        lines.append(
            f"| {row['block']} | {row['terms per lane']} | {row['constant, float32']:.2f} "
            f"| {row['random, float32']:.2f} | {row['random, last 16 in float64']:.2f} |"
        )
    return "\n".join(lines)
