"""Real text for examples/language_model.py: the prose that ships with Python, as numbers of words.

It comes from the docstrings, comments and help topics of the standard library; every tenth file is
held out. `Corpus.baselines` says what models that only count achieve there.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from sysconfig import get_path

import numpy as np

END, UNKNOWN = 0, 1  # the word after each paragraph, and the one in place of all rare words
NOT_READ = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter"}
COMMENT = re.compile(r"(?:^[ \t]*#.*\n)+", re.MULTILINE)
DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
WORD = re.compile(r"[^\W\d_](?:[\w'\u2019.-]*\w)?|\d+|[.,:;?!()]")


def is_prose(paragraph: str) -> bool:
    """Whether it ends as a sentence does, has three words in a row, and is no doctest."""
    ends = paragraph.endswith((".", ":")) and ">>>" not in paragraph
    return ends and re.search(r"\w [a-z]+ [a-z]+", paragraph) is not None


def read_texts() -> list[list[str]]:
    """Read the words of each file and help topic, a newline after each paragraph.

    Files are in the order of their paths. A paragraph that occurs again is left out.
    """
    folder = Path(get_path("stdlib"))
    texts = []
    for path in sorted(folder.rglob("*.py")):
        if NOT_READ.isdisjoint(path.relative_to(folder).parts):
            source = path.read_text(encoding="utf-8", errors="replace")
            comments = [re.sub(r"(?m)^[ \t]*#+", "", block) for block in COMMENT.findall(source)]
            texts.append("\n\n".join(DOCSTRING.findall(source) + comments))
    texts += [topics[name] for name in sorted(topics)]

    seen: set[str] = set()
    result = []
    for text in texts:
        found = [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text)]
        fresh = [p for p in dict.fromkeys(found) if p not in seen and is_prose(p)]
        seen.update(fresh)
        result.append([word for p in fresh for word in (*WORD.findall(p.lower()), "\n")])
    return result


def perplexity(probabilities: np.ndarray) -> float:
    """Of a text, from the probabilities of its words."""
    return float(np.exp(-np.log(probabilities).mean()))


def frequency(counts: np.ndarray) -> np.ndarray:
    """Shares of words in a text, float64; half an occurrence is added to all of them."""
    shares: np.ndarray = (counts + 0.5) / (counts + 0.5).sum()
    return shares


@dataclass
class Corpus:
    """Words to train on and held-out words, as indices into `words`.

    Words are in the order of their frequency, after END and UNKNOWN.
    """

    words: list[str]
    train: np.ndarray
    validation: np.ndarray

    @classmethod
    def read(cls, size: int) -> Corpus:
        """Split the texts; the vocabulary is what is most frequent in those to train on."""
        texts = read_texts()
        parts = [
            [word for i, text in enumerate(texts) if (i % 10 == 9) == held_out for word in text]
            for held_out in (False, True)
        ]
        counts = Counter(word for word in parts[0] if word != "\n")
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
        number = {word: i for i, word in enumerate(["\n", "<unknown>", *frequent])}
        train, validation = (
            np.array([number.get(word, UNKNOWN) for word in part]) for part in parts
        )
        return cls(list(number), train, validation)

    @property
    def counts(self) -> np.ndarray:
        """How often each word occurs in the text to train on."""
        return np.bincount(self.train, minlength=len(self.words))

    def baselines(self) -> dict[str, float]:
        """Perplexity on the held-out words by their frequency, and by that of pairs.

        After a word that was seen n times with t different successors, the weight of what was seen
        is n / (n + t), and the rest goes to the frequency of words (Witten and Bell, 1991).
        """
        size, ids, following = len(self.words), self.train, self.validation
        before = np.concatenate([[END], following[:-1]])
        pairs, counts = np.unique(ids[:-1] * size + ids[1:], return_counts=True)
        wanted = before * size + following
        at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        seen = np.where(pairs[at] == wanted, counts[at], 0)
        n = np.bincount(ids[:-1], minlength=size)[before]
        t = np.bincount(pairs // size, minlength=size)[before]
        unigram = frequency(self.counts)[following]
        bigram = np.where(n > 0, (seen + t * unigram) / np.maximum(n + t, 1), unigram)
        return {"unigram": perplexity(unigram), "bigram": perplexity(bigram)}
