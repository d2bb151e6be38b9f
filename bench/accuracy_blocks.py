"""Why lanes carry their rounding errors: NumPy float32 simulation of the reduction order.

A block has 64 lanes; lane j adds the terms j, j + 64, ... in order, and the lanes join by halving.
What is measured is the sum alone: its error relative to the exact sum of the same float32 terms, in
units of 2^-23. In a constant row nothing averages out, so these errors reach the result whole.
Plain lanes, whose error grows with the block, stand beside lanes as the kernels have them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LANES = 64
JOIN_LANES = 16
TERMS_PER_LANE = (4, 8, 16, 32, 64)
CONSTANTS = 2**18
RANDOM_ROWS = 2**14
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


def add_terms(terms: Floats) -> tuple[Floats, Floats]:
    """Add float32 terms of shape (k, n) in order: their sums and the errors carried, shape (n,)."""
    total = np.zeros_like(terms[0])
    error = np.zeros_like(terms[0])
    for term in terms:
        larger = total + term
        error = error - ((larger - total) - term)
        total = larger
    return total, error


def carried_sums(terms: Floats) -> npt.NDArray[np.float64]:
    """Return the sums of float32 blocks of shape (rows, k, 64), of shape (rows,), as kernels do."""
    total, error = add_terms(np.moveaxis(terms, 1, 0))
    wide = total.astype(np.float64)
    half = LANES // 2
    while half > 0:
        if half == JOIN_LANES // 2:
            wide = wide + error
        wide = wide[:, :half] + wide[:, half:]
        error = error[:, :half] + error[:, half:]
        half //= 2
    return wide[:, 0]


def _worst(sums: npt.NDArray[np.float64], exact: npt.NDArray[np.float64]) -> float:
    return float(np.max(np.abs(sums - exact) / exact)) * 2.0**23


def _worst_constant(terms_per_lane: int) -> tuple[float, float]:
    # All lanes are equal, so that joining them is exact and one is enough. Every e^c has its
    # mantissa in [1, 2); a row's last block may have fewer terms per lane.
    term = np.exp2(np.linspace(0.0, 1.0, CONSTANTS, endpoint=False)).astype(np.float32)
    worst = [0.0, 0.0]
    for k in range(1, terms_per_lane + 1):
        total, error = add_terms(np.broadcast_to(term, (k, CONSTANTS)))
        plain = total.astype(np.float64)
        exact = k * term.astype(np.float64)
        for i, lane in enumerate((plain, plain + error)):
            worst[i] = max(worst[i], _worst(lane, exact))
    return worst[0], worst[1]


def _worst_random(rng: np.random.Generator, terms_per_lane: int) -> list[float]:
    worst = [0.0, 0.0, 0.0]
    for _ in range(RANDOM_ROWS // CHUNK):
        logits = rng.normal(0.0, 1.0, (CHUNK, terms_per_lane, LANES))
        terms = np.exp(logits).astype(np.float32)
        exact = terms.astype(np.float64).sum(axis=(1, 2))
        sums = (
            block_sums(terms, join_in_double=False),
            block_sums(terms, join_in_double=True),
            carried_sums(terms),
        )
        worst = [max(w, _worst(s, exact)) for w, s in zip(worst, sums, strict=True)]
    return worst


def measure(rng: np.random.Generator) -> list[dict[str, float]]:
    """Return one record per number of terms in a lane, with the worst errors."""
    table = []
    for k in TERMS_PER_LANE:
        plain, carried = _worst_constant(k)
        in_float, in_double, random_carried = _worst_random(rng, k)
        table.append(
            {
                "block": k * LANES,
                "terms per lane": k,
                "constant": plain,
                "constant, carried": carried,
                "random, float32": in_float,
                "random, last 16 lanes in float64": in_double,
                "random, carried": random_carried,
            }
        )
    return table


def markdown(table: list[dict[str, float]]) -> str:
    """Return the table that docs/numerics.md shows."""
    lines = [
        "| block | terms per lane | constant rows, plain | constant rows, errors carried "
        "| random rows, plain | random rows, last 16 lanes in f64 | random rows, errors carried |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in table:
        cells = [f"{v:.2f}" for v in list(row.values())[2:]]
        lines.append(f"| {row['block']} | {row['terms per lane']} | {' | '.join(cells)} |")
    return "\n".join(lines)
