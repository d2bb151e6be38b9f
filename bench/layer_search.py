"""Section `search` of bench_output_layers.py: the ten best of 100,000 classes, after training.

The model is that of examples/language_model.py, with a Huffman tree, and its text is the one there,
of 13,000 different words. So classes are, one after the other,

words: the next word; all other classes never occur;
pairs: the next two words. The most frequent pairs have a class each, all others share one.
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
from tables import Array, Calls, Report, timed, verdict
from threadpoolctl import threadpool_limits

CLASSES, INPUTS, K = 100_000, 128, 10
EPOCHS, BATCH = 4, 1024
AIMS = (0.05, 20.0)  # of the nodes, at most; of PyTorch's time over ours
TORCH = "PyTorch: product and topk"
BEAM = 64

Ids = NDArray[np.int64]

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


def with_next(ids: Ids, size: int) -> Ids:
    """Join the number of each word and that of the one behind it."""
    return ids[:-1] * size + ids[1:]


def targets_of(kind: str, train: Ids, held_out: Ids, size: int) -> tuple[Ids, Ids]:
    """Give the class behind each context, of the text to train on and of the other."""
    if kind == "words":
        return train, held_out
    found, counts = np.unique(with_next(train, size), return_counts=True)
    known = found[np.sort(np.argsort(-counts, kind="stable")[: CLASSES - 1])]

    def classes_of(ids: Ids) -> Ids:
        wanted = with_next(ids, size)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, at, CLASSES - 1)

    return classes_of(train), classes_of(held_out)


def trained(kind: str) -> tuple[Any, Array, float]:
    """Train; give the output layer, its inputs on held-out text, and the perplexity there."""
    from corpus import Corpus
    from language_model import Model, examples
    from output_layers import Hierarchical

    corpus = Corpus.read(CLASSES)
    targets, held_out = targets_of(kind, corpus.train, corpus.validation, len(corpus.words))
    contexts = examples(corpus.train)[0][: len(targets)]
    output = Hierarchical(INPUTS, np.bincount(targets, minlength=CLASSES), 0)
    model = Model(len(corpus.words), INPUTS, output, 0)
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(targets))
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            model.step(contexts[rows], targets[rows], rows)
    x = model.forward(examples(corpus.validation)[0][: len(held_out)])[1]
    loss = -float(output.log_prob(x, held_out).mean(dtype=np.float64))
    return output, x, float(np.exp(loss))


def visits(kind: str, output: Any, x: Array, perplexity: float) -> Report:
    """Print how many nodes exact searches look at, and what a beam finds."""
    weights, bias = output.values
    exact = output.layer.topk(x, weights, K, bias, return_visited=True)
    shares = exact.visited / output.layer.tree.num_nodes
    beam = output.layer.topk(x, weights, K, bias, beam=BEAM).indices
    pairs = zip(exact.indices, beam, strict=True)
    same = float(np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs]))
    met = "aim" if shares.mean() < AIMS[0] else "not"
    print(
        f"\n{CLASSES} {kind}, {EPOCHS} epochs, perplexity {perplexity:.0f} on held-out text; nodes "
        f"looked at for the {K} best: mean {shares.mean():.2%} ({met} {AIMS[0]:.0%}), median "
        f"{np.median(shares):.2%}, most {shares.max():.2%}; a beam of {BEAM} finds {same:.1%} of "
        f"them\n\n| the {K} best | ms | PyTorch |\n|---|---:|---:|"
    )
    return {"perplexity": perplexity, "visited": float(shares.mean()), "beam_finds": same}


def measure_search(threads: int, seconds: float) -> list[Report]:
    """Print what share of the nodes is visited, and times; return the figures."""
    found = []
    for kind in ("words", "pairs"):
        with threadpool_limits(threads):
            output, x, perplexity = trained(kind)
        some = x[np.random.default_rng(1).choice(len(x), 2000, replace=False)]
        found.append({"kind": kind, **visits(kind, output, some, perplexity)})
        for rows in (1, 64):
            batch = some[:rows]
            search = partial(output.layer.topk, batch, output.values[0], K, output.values[1])
            calls: Calls = {"exact": search, f"beam of {BEAM}": partial(search, beam=BEAM)}
            with contextlib.suppress(ImportError):
                import torch

                torch.set_num_threads(threads)
                a, w = torch.from_numpy(batch), torch.randn(CLASSES, INPUTS)
                calls[TORCH] = lambda a=a, w=w: torch.topk(a @ w.T, K)  # type: ignore[misc]
            with threadpool_limits(threads):
                timings = timed(calls, 2 * seconds)
            for name, timing in timings.items():
                row: Report = {"kind": kind, "rows": rows, "call": name, "ms": timing.median / 1e6}
                if TORCH in timings and name != TORCH:
                    row["torch"] = ratio(timings[TORCH], timing)
                aim = AIMS[1] if name == "exact" else None
                cells = [f"{rows} rows, {name}", f"{row['ms']:.3f}", verdict(aim, row.get("torch"))]
                print("| " + " | ".join(cells) + " |", flush=True)
                found.append(row)
    return found
