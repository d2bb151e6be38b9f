#!/usr/bin/env python3
"""Output layers over many classes against what else there is, in one process, interleaved.

adaptive: AdaptiveSoftmax and torch.nn.AdaptiveLogSoftmaxWithLoss with the same weights: the loss,
the loss with all gradients, the best class and the ten best; how much of the time products take;
and the memory that the process held at its peak more than before the call, each in a process of its
own.

    python bench/bench_output_layers.py                      all sections, one thread
    python bench/bench_output_layers.py --only adaptive      one of them
"""

from __future__ import annotations

import sys

from adaptive_layers import measure_adaptive, print_peak
from tables import run

SECTIONS = {"adaptive": measure_adaptive}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:  # CALL THREADS, for measure_adaptive
        print_peak(sys.argv[2], int(sys.argv[3]))
    else:
        run(str(__doc__).splitlines()[0], SECTIONS)
