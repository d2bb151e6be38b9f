"""Section `search` of bench_output_layers.py: the ten best of 100,000 classes, after training.

The model is that of examples/language_model.py, with a Huffman tree, and its text is the one there.
That has 13,000 different words, so a class is a pair: the next two words. The most frequent
pairs have classes of their own, all others share one.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fastsoftmax._cli._measure import ratio
from numpy.typing import NDArray
from tables import Calls, Report, timed, verdict
from threadpoolctl import threadpool_limits

CLASSES, INPUTS, K = 100_000, 128, 10
EPOCHS, BATCH = 4, 1024
AIMS = (0.05, 20.0)  # of the nodes, at most; of PyTorch's time over ours
TORCH = "PyTorch: product and topk"

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


def pairs(ids: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Give each word a number together with the one behind it."""
    return ids[:-1] * size + ids[1:]


def trained() -> tuple[Any, NDArray[np.int64], NDArray[np.int64], float]:
    """Train; give the model, contexts and targets that are held out, and their perplexity."""
    from corpus import Corpus
    from language_model import Model, examples
    from output_layers import Hierarchical

    corpus = Corpus.read(CLASSES)
    size = len(corpus.words)
    found, counts = np.unique(pairs(corpus.train, size), return_counts=True)
    chosen = np.sort(np.argsort(-counts, kind="stable")[: CLASSES - 1])

    def classes_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
        wanted = pairs(ids, size)
        at = np.minimum(np.searchsorted(found[chosen], wanted), len(chosen) - 1)
        return np.where(found[chosen][at] == wanted, at, CLASSES - 1)

    def split(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return examples(ids)[0][:-1], classes_of(ids)

    contexts, targets = split(corpus.train)
    output = Hierarchical(INPUTS, np.bincount(targets, minlength=CLASSES), 0)
    model = Model(size, INPUTS, output, 0)
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(targets))
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            model.step(contexts[rows], targets[rows])
    contexts, targets = split(corpus.validation)
    x = model.forward(contexts)[1]
    loss = -float(output.log_prob(x, targets).mean(dtype=np.float64))
    return model, contexts, targets, float(np.exp(loss))


def measure_search(threads: int, seconds: float) -> list[Report]:
    """Print what share of the nodes is visited, and times; return the figures."""
    with threadpool_limits(threads):
        model, contexts, _targets, perplexity = trained()
    output = model.output
    x = model.forward(contexts)[1]
    weights, bias = output.values
    some = np.random.default_rng(1).choice(len(x), 2000, replace=False)
    visited = output.layer.topk(x[some], weights, K, bias, return_visited=True).visited
    shares = visited / output.layer.tree.num_nodes
    met = "aim" if shares.mean() < AIMS[0] else "not"
    print(
        f"\n{CLASSES} pairs of words, {EPOCHS} epochs, perplexity {perplexity:.0f} on held-out "
        f"text; nodes looked at for the {K} best: mean {shares.mean():.2%} ({met} {AIMS[0]:.0%}), "
        f"median {np.median(shares):.2%}, most {shares.max():.2%}"
    )
    found: list[Report] = [{"perplexity": perplexity, "visited": float(shares.mean())}]
    print(f"\n| the {K} best of {CLASSES} | ms | PyTorch |\n|---|---:|---:|")
    for rows in (1, 64):
        batch = np.ascontiguousarray(x[some[:rows]])
        calls: Calls = {
            "exact": partial(output.layer.topk, batch, weights, K, bias),
            "beam of 64": partial(output.layer.topk, batch, weights, K, bias, beam=64),
        }
        with contextlib.suppress(ImportError):
            import torch

            torch.set_num_threads(threads)
            a, w = torch.from_numpy(batch), torch.randn(CLASSES, INPUTS)
            calls[TORCH] = lambda a=a, w=w: torch.topk(a @ w.T, K)  # type: ignore[misc]
        with threadpool_limits(threads):
            timings = timed(calls, 2 * seconds)
        for name, timing in timings.items():
            row: Report = {"rows": rows, "call": name, "ms": timing.median / 1e6}
            if TORCH in timings and name != TORCH:
                row["torch"] = ratio(timings[TORCH], timing)
            aim = AIMS[1] if name == "exact" else None
            cells = [f"{rows} rows, {name}", f"{row['ms']:.3f}", verdict(aim, row.get("torch"))]
            print("| " + " | ".join(cells) + " |", flush=True)
            found.append(row)
    exact = output.layer.topk(x[some], weights, K, bias).indices
    beam = output.layer.topk(x[some], weights, K, bias, beam=64).indices
    same = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(exact, beam, strict=True)])
    print(f"a beam of 64 finds {same:.1%} of the {K} best")
    return [*found, {"beam_finds": float(same)}]
