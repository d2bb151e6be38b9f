"""Functions of arrays on an NVIDIA GPU: what the compiled part calls where the first one is there.

Each takes what the function of the same name in fastsoftmax takes, and returns arrays of the
library of its first argument, on the same device.
"""

from ._arrays import DeviceArray
from ._rows import log_softmax, logsumexp, softmax
from ._sample import sample

__all__ = ["DeviceArray", "log_softmax", "logsumexp", "sample", "softmax"]
