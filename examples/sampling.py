"""Write text with a trigram model, and see what each way of choosing the next token does to it.

Data: the help texts that come with Python (`pydoc_data.topics`; nothing is downloaded), cut into
words and punctuation. The model is an interpolated trigram model with Witten-Bell weights: for any
two tokens it gives logits over the whole vocabulary. The last tenth of the topics is held out and
says how good the model is. Then several texts are decoded at a time, each with its own random
numbers, and the mean surprise of the chosen tokens (-log2 of their probability under the model) is
compared with what the model expects of a text, its entropy.

Run:  python examples/sampling.py --tokens 60

Exit status 1 where the model is no better than one that knows how frequent each token is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pydoc_data.topics import topics

import fastsoftmax as fs
import numpy as np

TEXTS = 16  # decoded at a time; the first one is shown
OPTIONS: dict[str, dict[str, float]] = {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "temperature 0.6": {"temperature": 0.6},
    "temperature 1.5": {"temperature": 1.5},
    "top_k 20": {"top_k": 20},
    "top_p 0.8": {"top_p": 0.8},
    "min_p 0.1": {"min_p": 0.1},
    "typical_p 0.7": {"typical_p": 0.7},
    "top_n_sigma 4": {"top_n_sigma": 4.0},
}


def tokens_of(names: list[str]) -> list[str]:
    """Cut what is prose in the help texts on these topics into words and signs."""
    paragraphs = [text for name in names for text in topics[name].split("\n\n")]
    prose = [text for text in paragraphs if re.search(r"\w [a-z]+ [a-z]+.*[.:]\s*$", text)]
    return re.findall(r"[\w'\u2019-]*\w(?:\.\w+)*|[.,:;?!()]", " ".join(prose))


class Trigram:
    """Probabilities of the next of `size` tokens after two others.

    After a context that was seen n times with t different successors, the weight of what was seen
    is n / (n + t), and the rest goes to the shorter context.
    """

    def __init__(self, ids: np.ndarray, size: int) -> None:
        self.size = size
        counts = np.bincount(ids, minlength=size) + 0.5  # what was never seen is possible
        self.frequency = counts / counts.sum()
        self.after_one = self._successors(ids[:-1], ids[1:])
        self.after_two = self._successors(ids[:-2] * size + ids[1:-1], ids[2:])

    def _successors(
        self, context: np.ndarray, following: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs that occur, sorted by context: their contexts, successors and counts."""
        pairs, counts = np.unique(context * self.size + following, return_counts=True)
        return pairs // self.size, pairs % self.size, counts

    def logits(self, contexts: np.ndarray) -> np.ndarray:
        """Log-probabilities, float32 of shape (rows, size), after `contexts` of shape (rows, 2)."""
        p = np.tile(self.frequency, (len(contexts), 1))
        for row, (first, second) in zip(p, contexts.tolist(), strict=True):
            for key, (seen, successors, counts) in (
                (second, self.after_one),
                (first * self.size + second, self.after_two),
            ):
                begin, end = np.searchsorted(seen, [key, key + 1])
                if begin < end:
                    total = counts[begin:end].sum()
                    row *= (end - begin) / (total + end - begin)
                    row[successors[begin:end]] += counts[begin:end] / (total + end - begin)
        return np.log(p).astype(np.float32)


def bits(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Surprise of one token in each row."""
    log_p = np.take_along_axis(fs.log_softmax(logits), tokens[:, None], -1)[:, 0]
    return -log_p / np.log(2)


def held_out_surprise(model: Trigram, ids: np.ndarray) -> tuple[float, float]:
    """Mean surprise at 1,000 held-out tokens, by the model and by frequency alone."""
    at = np.linspace(2, len(ids) - 1, 1000).astype(int)
    found = [
        bits(model.logits(np.stack([ids[part - 2], ids[part - 1]], 1)), ids[part])
        for part in np.split(at, 20)
    ]
    return float(np.mean(found)), float(-np.log2(model.frequency[ids[at]]).mean())


def decode(
    model: Trigram, start: np.ndarray, length: int, choose: Callable[[np.ndarray, int], np.ndarray]
) -> tuple[np.ndarray, float, float]:
    """Write `length` tokens to each of `TEXTS` texts that begin with the two tokens `start`.

    Returns
    -------
    texts : ndarray of shape (TEXTS, 2 + length)
    surprise, entropy : float
        Means over all tokens, in bits.
    """
    texts = np.tile(start, (TEXTS, 1))
    surprise, entropy = [], []
    for step in range(length):
        logits = model.logits(texts[:, -2:])
        tokens = choose(logits, step)
        surprise.append(bits(logits, tokens).mean())
        entropy.append(fs.softmax_stats(logits).entropy.mean() / np.log(2))
        texts = np.concatenate([texts, tokens[:, None]], axis=1)
    return texts, float(np.mean(surprise)), float(np.mean(entropy))


def as_text(words: list[str]) -> str:
    """Join tokens, without a space before signs that end something."""
    return re.sub(r" ([.,;:!?)])|([(]) ", r"\1\2", " ".join(words))


def main() -> int:
    """Train, decode with every option, and print a table and one text for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=60, help="of each text; default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    names = sorted(topics)
    split = len(names) * 9 // 10
    train, rest = tokens_of(names[:split]), tokens_of(names[split:])
    vocabulary = sorted({*train, *rest})
    number = {word: i for i, word in enumerate(vocabulary)}
    model = Trigram(np.array([number[word] for word in train]), len(vocabulary))
    ours, plain = held_out_surprise(model, np.array([number[word] for word in rest]))
    print(f"{len(train)} tokens of training, {len(vocabulary)} different ones")
    print(f"held-out surprise: {ours:.2f} bits a token, by frequency alone {plain:.2f}\n")

    def sampler(options: dict[str, float]) -> Callable[[np.ndarray, int], np.ndarray]:
        return lambda logits, step: fs.sample(logits, seed=args.seed, position=step, **options)

    mirostat = fs.Mirostat(tau=3.0, eta=0.2, seed=args.seed)
    ways = {name: sampler(options) for name, options in OPTIONS.items()}
    ways["Mirostat, tau 3"] = lambda logits, _step: mirostat.sample(logits)

    start = np.array([number["."], number["The"]])
    shown = []
    print(f"{'':16} {'surprise':>9} {'entropy':>9} {'different tokens':>17}")
    for name, choose in ways.items():
        texts, surprise, entropy = decode(model, start, args.tokens, choose)
        different = np.unique(texts).size
        print(f"{name:16} {surprise:9.2f} {entropy:9.2f} {different:9d} of {texts[:, 2:].size}")
        shown.append(f"{name}: {as_text([vocabulary[i] for i in texts[0, 1:].tolist()])}")
    print("\n" + "\n\n".join(shown))

    if ours >= plain:
        print("the model has learned nothing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
