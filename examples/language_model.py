"""Train a model of the next word on real text, with one of several output layers.

Data: the prose in Python's standard library (corpus.py; nothing is downloaded). The embeddings of
the four words before, side by side, go through a hidden layer to a score for each word of the
vocabulary (Bengio et al., *A Neural Probabilistic Language Model*, 2003): to each by the full
softmax, whose scores are never formed as a whole, or to some by one of the others of
output_layers.py and sampled_layers.py, of which the latter have a training loss of their own.
Perplexity on held-out files is compared with that of counting words, and pairs of words; then the
model writes.

Run:  python examples/language_model.py --plot language_model.png
      python examples/language_model.py --output hierarchical --epochs 8
      python examples/language_model.py --output sampled
      python examples/language_model.py --compare --plot output_layers.png

Exit status 1 where the perplexity is not a fifth below that of counting words.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import fastsoftmax as fs
import numpy as np
from corpus import END, Corpus
from output_layers import EXACT, OutputLayer, Parameter
from sampled_layers import SAMPLED

CONTEXT = 4  # words
OUTPUTS = EXACT | SAMPLED


class Model:
    """Embeddings of the words before, a hidden layer (tanh), and an output layer."""

    def __init__(self, words: int, dim: int, output: OutputLayer, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.embedding = Parameter(generator.normal(0, 0.1, (words, dim)))
        self.hidden = Parameter(generator.normal(0, 0.5 / dim**0.5, (CONTEXT * dim, dim)))
        self.output = output

    def forward(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (N, CONTEXT * dim) of contexts (N, CONTEXT), and the hidden layer (N, dim)."""
        inputs = self.embedding.value[contexts].reshape(len(contexts), -1)
        return inputs, np.tanh(inputs @ self.hidden.value)

    def step(
        self, contexts: np.ndarray, targets: np.ndarray, rows: np.ndarray
    ) -> tuple[float, float]:
        """Learn from a batch, the examples `rows`; return loss and seconds in the output layer."""
        inputs, x = self.forward(contexts)
        start = perf_counter()
        loss, grad_x = self.output.loss(x, targets, rows)
        self.output.update()
        seconds = perf_counter() - start
        grad = grad_x * (1 - x * x)
        grad_inputs = (grad @ self.hidden.value.T).reshape(contexts.size, -1)
        self.hidden.update(inputs.T @ grad)
        words = len(self.embedding.value)
        self.embedding.update(fs.SparseRows.coalesce(contexts.ravel(), grad_inputs, words))
        return loss, seconds

    def loss(self, ids: np.ndarray) -> float:
        """Mean surprise at the words of a text, in nats."""
        contexts, targets = examples(ids)
        log_p = self.output.log_prob(self.forward(contexts)[1], targets)
        return -float(log_p.mean(dtype=np.float64))

    def write(self, texts: int, length: int, seed: int) -> np.ndarray:
        """Draw the first `length` words of several texts."""
        ids = np.full((texts, CONTEXT + length), END)
        for i in range(length):
            x = self.forward(ids[:, i : i + CONTEXT])[1]
            ids[:, i + CONTEXT] = self.output.sample(x, seed=seed, position=i)
        return ids[:, CONTEXT:]


def examples(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contexts of shape (words, CONTEXT), which may begin in earlier paragraphs, and the words."""
    padded = np.concatenate([np.full(CONTEXT, END), ids])
    return np.lib.stride_tricks.sliding_window_view(padded[:-1], CONTEXT), ids


class Report(NamedTuple):
    """What training has come to; losses in nats per word."""

    epochs: float
    seconds: float  # of training, not of evaluation
    training: float  # mean since the report before
    validation: float


class History(NamedTuple):
    """How training went."""

    reports: list[Report]
    step: float  # milliseconds, on average
    output: float  # of these in the output layer


def train(model: Model, corpus: Corpus, epochs: int, batch: int, seed: int) -> History:
    """Go through the text in random order, and print a report four times an epoch."""
    generator = np.random.default_rng(seed)
    contexts, targets = examples(corpus.train)
    order = np.concatenate([generator.permutation(len(targets)) for _ in range(epochs)])
    batches = np.split(order, range(batch, len(order), batch))
    parts = np.array_split(np.arange(len(batches)), 4 * epochs)
    seconds = in_output = 0.0
    reports = []
    print("epochs  seconds  training loss  validation loss  perplexity")
    for number, part in enumerate(parts, 1):
        losses = []
        start = perf_counter()
        for rows in (batches[i] for i in part):
            loss, share = model.step(contexts[rows], targets[rows], rows)
            losses.append(loss)
            in_output += share
        seconds += perf_counter() - start
        report = Report(
            number / 4, seconds, sum(losses) / len(losses), model.loss(corpus.validation)
        )
        perplexity = np.exp(report.validation)
        print("{:6.2f} {:8.1f} {:14.3f} {:16.3f} {:11.1f}".format(*report, perplexity), flush=True)
        reports.append(report)
    history = History(reports, 1000 * seconds / len(batches), 1000 * in_output / len(batches))
    print(
        f"{history.step:.1f} ms for a step of {batch} words, "
        f"{history.output / history.step:.0%} of them in the output layer\n"
    )
    return history


def plot_loss(axes: Any, reports: list[Report], baselines: dict[str, float]) -> None:
    """Draw the losses as training goes on; means in the middle of the steps they are of."""
    epochs = np.array([report.epochs for report in reports])
    training = [report.training for report in reports]
    axes.plot(epochs - epochs[0] / 2, training, marker=".", label="training")
    axes.plot(epochs, [report.validation for report in reports], marker=".", label="held out")
    for (name, perplexity), style in zip(baselines.items(), ("--", ":"), strict=True):
        label = f"{name}, held out"
        axes.axhline(np.log(perplexity), color="0.4", linestyle=style, label=label)
    axes.set(xlabel="epochs", ylabel="loss (nats per word)", xlim=(0, None))


def plot_outputs(axes: Any, histories: dict[str, History], baselines: dict[str, float]) -> None:
    """Draw perplexity over the time of training."""
    for name, history in histories.items():
        seconds = [report.seconds for report in history.reports]
        perplexities = [np.exp(report.validation) for report in history.reports]
        axes.plot(seconds, perplexities, marker=".", label=name)
    axes.axhline(baselines["bigram"], color="0.4", linestyle=":", label="bigram")
    axes.set(xlabel="seconds of training", ylabel="perplexity, held out", xscale="log")


def save_plot(path: Path, draw: Callable[[Any], None]) -> None:
    """Draw and save."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    draw(axes)
    axes.set_title("Next word in Python's documentation")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def print_outputs(histories: dict[str, History]) -> None:
    """Print what layers come to after the same epochs, and after the time that the fastest took."""
    shortest = min(history.reports[-1].seconds for history in histories.values())
    print(f"output          ms in layer  ms in all  perplexity  after {shortest:.1f} s")
    for name, (reports, step, output) in histories.items():
        at = np.array([report.seconds for report in reports])
        losses = [report.validation for report in reports]
        then = f"{np.exp(np.interp(shortest, at, losses)):.1f}" if at[0] <= shortest else "-"
        final = np.exp(losses[-1])
        print(f"{name:14} {output:12.1f} {step:10.1f} {final:11.1f} {then:>12}")


def show_texts(model: Model, corpus: Corpus, seed: int) -> None:
    """Print what the model writes."""
    for ids in model.write(4, 40, seed):
        text = " ".join(corpus.words[i] for i in ids).split(" \n")[0]
        print("\n" + re.sub(r" ([.,;:!?)])|([(]) ", r"\1\2", text))


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", choices=OUTPUTS, default="full", help="the output layer")
    parser.add_argument("--compare", action="store_true", help="train with all output layers")
    parser.add_argument("--epochs", type=int, default=2, help="times through the text")
    parser.add_argument("--dim", type=int, default=128, help="of embeddings and hidden layer")
    parser.add_argument("--vocabulary", type=int, default=10_000, help="different words")
    parser.add_argument("--batch", type=int, default=1024, help="words in a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="save the loss curve there")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one epoch of a small model (dim 32, 2000 words) on a part of the text",
    )
    args = parser.parse_args()
    for name in ("epochs", "dim", "batch"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.vocabulary < 100 or args.seed < 0:
        parser.error("--vocabulary must be at least 100, --seed not negative")
    if args.plot is not None and not args.plot.absolute().parent.is_dir():
        parser.error(f"--plot: there is no directory {args.plot.absolute().parent}")
    if args.quick:
        args.epochs, args.dim, args.vocabulary = 1, 32, 2000
    return args


def main() -> int:
    """Train, compare, plot, write."""
    args = read_arguments()
    corpus = Corpus.read(args.vocabulary)
    if args.quick:
        corpus.train = corpus.train[:100_000]
    size = len(corpus.words)
    print(f"{len(corpus.train)} words, {len(corpus.validation)} held out, {size} different ones")
    histories = {}
    for name in OUTPUTS if args.compare else (args.output,):
        print(f"\noutput: {name}")
        output = OUTPUTS[name](args.dim, corpus.counts, args.seed)
        model = Model(size, args.dim, output, args.seed)
        histories[name] = train(model, corpus, args.epochs, args.batch, args.seed)

    baselines = corpus.baselines()
    for name, perplexity in baselines.items():
        print(f"perplexity on held-out text, {name:10} {perplexity:8.1f}")
    ours = [float(np.exp(history.reports[-1].validation)) for history in histories.values()]
    if args.compare:
        print()
        print_outputs(histories)
    else:
        print(f"perplexity on held-out text, this model {ours[0]:8.1f}")
        show_texts(model, corpus, args.seed)
    if args.plot is not None:
        if args.compare:
            save_plot(args.plot, lambda axes: plot_outputs(axes, histories, baselines))
        else:
            reports = histories[args.output].reports
            save_plot(args.plot, lambda axes: plot_loss(axes, reports, baselines))
        print(f"\nplot: {args.plot}")
    if max(ours) > 0.8 * baselines["unigram"]:
        print("the model has learned too little", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
