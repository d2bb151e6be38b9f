"""How fast samplers of classes and sparse rows are beside NumPy and PyTorch.

`samplers`: 8192 of 10^6 classes, one position after the other; for others the nearest they have.
`rows`: 100,000 of 500,000 rows of 128 added to a matrix, beside NumPy's expression for it, and
beside reading those rows alone.
`losses`: losses over a sample, and how much of that their products take by themselves;
`partial_fc`: the same of `partial_fc_loss`, beside `linear_cross_entropy` of the sample's rows.
"""

from __future__ import annotations

import contextlib
from functools import partial
from itertools import count
from typing import Any

import fastsoftmax as fs
import numpy as np
from fastsoftmax._cli._measure import ratio
from tables import Calls, Report, run, timed, verdict
from threadpoolctl import threadpool_limits

CLASSES = 10**6
DRAWS = 8192
PARTIAL = CLASSES // 10
NUMPY, TORCH = "Generator.choice(p=...)", "torch.multinomial"
TORCH_DISTINCT = "torch.multinomial, distinct"
SHUFFLE, PARTIAL_FC = "Generator.permutation", "partial_fc_sample, a tenth"
PAIRS = (  # ours, theirs, aim
    ("unigram", NUMPY, 20.0),
    ("unigram", TORCH, 10.0),
    ("unigram, distinct", TORCH_DISTINCT, None),
    ("log-uniform", NUMPY, None),
    ("log-uniform, distinct", TORCH_DISTINCT, None),
    ("uniform, a tenth, distinct", SHUFFLE, None),
    (PARTIAL_FC, SHUFFLE, 5.0),
)
ADDED, EXPRESSION, READ = "add_to", "W[ids] += alpha * values", "numpy.take"


def sampling_calls(threads: int) -> Calls:
    """Line up what is measured."""
    counts = 1 + 10**9 // np.arange(1, CLASSES + 1)
    weights = counts**0.75
    p = weights / weights.sum()
    unigram, log_uniform = fs.UnigramSampler(counts), fs.LogUniformSampler(CLASSES)
    uniform = fs.UniformSampler(CLASSES)
    step = count()
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, 1024)

    def draw(sampler: Any, n: int, unique: bool = False) -> Any:
        return lambda: sampler.sample(n, unique=unique, seed=1, position=next(step))

    calls: Calls = {
        "unigram": draw(unigram, DRAWS),
        "unigram, distinct": draw(unigram, DRAWS, True),
        "log-uniform": draw(log_uniform, DRAWS),
        "log-uniform, distinct": draw(log_uniform, DRAWS, True),
        "uniform, a tenth, distinct": draw(uniform, PARTIAL, True),
        PARTIAL_FC: lambda: fs.partial_fc_sample(
            targets, CLASSES, 0.1, seed=1, position=next(step)
        ),
        NUMPY: lambda: rng.choice(CLASSES, DRAWS, p=p),
        SHUFFLE: lambda: rng.permutation(CLASSES),
    }
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(threads)
        w = torch.from_numpy(weights.astype(np.float32))
        calls[TORCH] = lambda: torch.multinomial(w, DRAWS, replacement=True)
        calls[TORCH_DISTINCT] = lambda: torch.multinomial(w, DRAWS)
    return calls


def samplers(threads: int, seconds: float) -> Report:
    """Print times of samplers, and others' over them."""
    timings = timed(sampling_calls(threads), 4 * seconds)
    print("| | microseconds | beside | its time over ours |")
    print("|---|---:|---|---:|")
    found: Report = {}
    for ours, theirs, aim in PAIRS:
        if theirs not in timings:
            continue
        times = ratio(timings[theirs], timings[ours])
        found[f"{ours} / {theirs}"] = times
        print(f"| {ours} | {timings[ours].median / 1e3:.0f} | {theirs} | {verdict(aim, times)} |")
    return found


def rows(_threads: int, seconds: float) -> Report:
    """Print times of adding rows over that of reading them."""
    rng = np.random.default_rng(0)
    total, used, columns = 500_000, 100_000, 128
    matrix = np.ones((total, columns), np.float32)
    ids = np.sort(rng.choice(total, used, replace=False))
    values = rng.standard_normal((used, columns), dtype=np.float32)
    grad = fs.SparseRows(ids, values, total)
    alpha = np.float32(-0.1)
    read = np.empty_like(values)

    def expression() -> None:
        matrix[ids] += alpha * values

    calls: Calls = {
        ADDED: lambda: grad.add_to(matrix, float(alpha)),
        EXPRESSION: expression,
        READ: lambda: np.take(matrix, ids, axis=0, out=read, mode="clip"),
    }
    timings = timed(calls, 2 * seconds)
    print("\n| 100,000 rows of 128 | milliseconds | over reading them |")
    print("|---|---:|---:|")
    found: Report = {}
    for name, timing in timings.items():
        found[name] = ratio(timing, timings[READ])
        print(f"| `{name}` | {timing.median / 1e6:.1f} | {found[name]:.2f} |")
    return found


def losses(threads: int, seconds: float) -> Report:
    """Print times of losses over a sample, and the share of it that products alone would take."""
    rows, inputs = 1024, 512
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, inputs), dtype=np.float32)
    weights = 0.05 * rng.standard_normal((CLASSES, inputs), dtype=np.float32)
    targets = rng.integers(0, CLASSES, rows)
    sample = fs.UniformSampler(CLASSES).sample(DRAWS, seed=1)
    gathered = weights[sample.ids]
    scores = x @ gathered.T
    one, three = "one product", "three products"
    calls: Calls = {
        "sampled_softmax_loss": lambda: fs.sampled_softmax_loss(x, weights, targets, sample),
        "... with gradients": lambda: fs.sampled_softmax_loss(
            x, weights, targets, sample, need_grad=True
        ),
        "nce_loss with gradients": lambda: fs.nce_loss(x, weights, targets, sample, need_grad=True),
        one: lambda: x @ gathered.T,
        three: lambda: (x @ gathered.T, scores @ gathered, scores.T @ x),
    }
    for model in ("softmax", "probit", "logistic"):
        kept = fs.AugmentReduce(rows, model, seed=1)
        step = partial(kept.step, x, weights, targets, sample, np.arange(rows))
        calls[f"AugmentReduce, {model}, with gradients"] = step
    with threadpool_limits(threads):
        timings = timed(calls, 2 * seconds)
    print(f"\n| {rows} x {inputs}, {DRAWS} of {CLASSES} classes | milliseconds | of it products |")
    print("|---|---:|---:|")
    found: Report = {}
    for name, timing in timings.items():
        if name in (one, three):
            continue
        found[name] = ratio(timings[three if "gradients" in name else one], timing)
        print(f"| `{name}` | {timing.median / 1e6:.1f} | {found[name]:.0%} |")
    return found


def partial_fc(threads: int, seconds: float) -> Report:
    """Print times of Partial FC, and the share of it that products alone would take."""
    inputs, classes = 512, 100_000
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((classes, inputs), dtype=np.float32)
    three = "three products"
    print(f"\n| {inputs} inputs, a tenth of {classes} classes | milliseconds | of it products |")
    print("|---|---:|---:|")
    found: Report = {}
    for rows in (128, 1024):
        x = rng.standard_normal((rows, inputs), dtype=np.float32)
        targets = rng.integers(0, classes, rows)
        sample = fs.partial_fc_sample(targets, classes, 0.1, seed=1)
        gathered = weights[sample.ids]
        scores = x @ gathered.T
        arguments = (x, weights, targets, sample)
        calls: Calls = {
            "partial_fc_loss": lambda arguments=arguments: fs.partial_fc_loss(
                *arguments, need_grad=True
            ),
            "... with arcface": lambda arguments=arguments: fs.partial_fc_loss(
                *arguments, margin="arcface", need_grad=True
            ),
            "linear_cross_entropy": lambda x=x, w=gathered, t=sample.remapped_targets: (
                fs.linear_cross_entropy(x, w, t, need_grad=True)
            ),
            three: lambda x=x, w=gathered, z=scores: (x @ w.T, z @ w, z.T @ x),
        }
        with threadpool_limits(threads):
            timings = timed(calls, 2 * seconds)
        for name, timing in timings.items():
            if name == three:
                continue
            key = f"{name}, {rows} rows"
            found[key] = ratio(timings[three], timing)
            print(f"| `{key}` | {timing.median / 1e6:.1f} | {found[key]:.0%} |")
    return found


if __name__ == "__main__":
    run(
        "Samplers and sparse rows beside their peers.",
        {"samplers": samplers, "rows": rows, "losses": losses, "partial_fc": partial_fc},
    )
