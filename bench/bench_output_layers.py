#!/usr/bin/env python3
"""Output layers over many classes against what else there is, in one process, interleaved.

hierarchical, class: loss and gradients of a Huffman tree and of classes of words, against PyTorch's
cross-entropy over all classes and the time it takes to read the vectors that are touched; targets
and counts with probabilities of 1 / rank.

leaves: log-probabilities of all classes over the product x @ W.T alone.

search: the ten best classes after training on real text, exactly and with a beam, and how much of
the tree is looked at; see layer_search.py.

build: time and memory of a Huffman tree of ten million counts.

adaptive: AdaptiveSoftmax and torch.nn.AdaptiveLogSoftmaxWithLoss with the same weights: the loss,
the loss with all gradients, the best class and the ten best; how much of the time products take;
and the memory that the process held at its peak more than before the call, each in a process of its
own.

crossovers: loss and gradients of all layers over the number of classes; up to 10 GB.

decoding: the ten best classes, and a draw, of all layers.

    python bench/bench_output_layers.py                      all sections, one thread
    python bench/bench_output_layers.py --only adaptive      one of them
"""

from __future__ import annotations

import sys

from adaptive_layers import measure_adaptive, print_peak
from layer_crossovers import measure_crossovers, measure_decoding
from layer_search import measure_search
from tables import run
from tree_layers import (
    measure_build,
    measure_classes,
    measure_hierarchical,
    measure_leaves,
    print_build,
)

SECTIONS = {
    "hierarchical": measure_hierarchical,
    "class": measure_classes,
    "leaves": measure_leaves,
    "search": measure_search,
    "build": measure_build,
    "adaptive": measure_adaptive,
    "crossovers": measure_crossovers,
    "decoding": measure_decoding,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:  # CALL THREADS, for measure_adaptive
        print_peak(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["--build"]:  # for measure_build
        print_build()
    else:
        run(str(__doc__).splitlines()[0], SECTIONS)
