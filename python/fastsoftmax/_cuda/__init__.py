"""Functions of arrays on an NVIDIA GPU: what the compiled part calls where the first one is there.

Each takes what the function of the same name in fastsoftmax takes, and returns arrays of the
library of its first argument, on the same device.
"""

from ._arrays import DeviceArray
from ._backward import log_softmax_backward, softmax_backward
from ._loss import cross_entropy
from ._rows import log_softmax, logsumexp, softmax
from ._sample import sample
from ._stats import softmax_stats
from ._topk import softmax_topk, topk

__all__ = [
    "DeviceArray",
    "cross_entropy",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "sample",
    "softmax",
    "softmax_backward",
    "softmax_stats",
    "softmax_topk",
    "topk",
]
