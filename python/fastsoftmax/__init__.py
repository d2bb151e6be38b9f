"""Softmax, log-softmax and log-sum-exp with the same bits from every algorithm and machine.

>>> import fastsoftmax as fs
>>> fs.softmax([0.0, 0.0])
array([0.5, 0.5])
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import _core
from ._adaptive_layout import AdaptiveCost
from ._adaptive_softmax import AdaptiveSoftmax
from ._augment_reduce import AugmentReduce
from ._class_sample import Sample
from ._class_softmax import ClassSoftmax
from ._core import (
    caches,
    compiler,
    cross_entropy,
    explain,
    get_num_threads,
    gumbel_softmax,
    gumbel_topk,
    isa_in_use,
    isas_built,
    isas_supported,
    linear_cross_entropy,
    linear_cross_entropy_backward,
    linear_log_prob,
    linear_logsumexp,
    linear_topk,
    log_softmax,
    log_softmax_backward,
    logsumexp,
    merge_shards,
    sample,
    set_num_threads,
    softmax,
    softmax_backward,
    softmax_stats,
    softmax_topk,
    topk,
    use_isa,
    version,
)
from ._hierarchical_softmax import HierarchicalSoftmax
from ._in_batch import InBatchSampler
from ._mirostat import Mirostat
from ._partial_fc import partial_fc_loss, partial_fc_loss_backward, partial_fc_sample
from ._plan import Plan
from ._results import (
    AdaptiveLoss,
    AdaptiveWeights,
    ClassLoss,
    CrossEntropy,
    GumbelSoftmax,
    GumbelTopK,
    LinearCrossEntropy,
    LinearGradients,
    LinearTopK,
    PartialFC,
    Paths,
    SampledLoss,
    SampleResult,
    SoftmaxStats,
    SoftmaxTopK,
    SoftmaxTopKLogsumexp,
    TopK,
    TreeLoss,
    TreeLossBias,
    TreeTopK,
    TreeTopKVisited,
)
from ._sampled_softmax import (
    nce_loss,
    negative_sampling_loss,
    sampled_softmax_loss,
    sampled_softmax_loss_backward,
)
from ._samplers import (
    LogUniformSampler,
    UniformSampler,
    UnigramSampler,
)
from ._sparse_rows import SparseRows
from ._threads import register_threadpoolctl, threads
from ._tree import Tree
from ._tune import Tuning, reset_tuning, tune

__version__ = version()

__all__ = [
    "AdaptiveCost",
    "AdaptiveLoss",
    "AdaptiveSoftmax",
    "AdaptiveWeights",
    "AugmentReduce",
    "ClassLoss",
    "ClassSoftmax",
    "CrossEntropy",
    "GumbelSoftmax",
    "GumbelTopK",
    "HierarchicalSoftmax",
    "InBatchSampler",
    "LinearCrossEntropy",
    "LinearGradients",
    "LinearTopK",
    "LogUniformSampler",
    "Mirostat",
    "PartialFC",
    "Paths",
    "Plan",
    "Sample",
    "SampleResult",
    "SampledLoss",
    "SoftmaxStats",
    "SoftmaxTopK",
    "SoftmaxTopKLogsumexp",
    "SparseRows",
    "TopK",
    "Tree",
    "TreeLoss",
    "TreeLossBias",
    "TreeTopK",
    "TreeTopKVisited",
    "Tuning",
    "UniformSampler",
    "UnigramSampler",
    "__version__",
    "caches",
    "cmake_dir",
    "compiler",
    "cross_entropy",
    "explain",
    "get_num_threads",
    "gumbel_softmax",
    "gumbel_topk",
    "include_dir",
    "isa_in_use",
    "isas_built",
    "isas_supported",
    "linear_cross_entropy",
    "linear_cross_entropy_backward",
    "linear_log_prob",
    "linear_logsumexp",
    "linear_topk",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "merge_shards",
    "nce_loss",
    "negative_sampling_loss",
    "partial_fc_loss",
    "partial_fc_loss_backward",
    "partial_fc_sample",
    "register_threadpoolctl",
    "reset_tuning",
    "sample",
    "sampled_softmax_loss",
    "sampled_softmax_loss_backward",
    "set_num_threads",
    "softmax",
    "softmax_backward",
    "softmax_stats",
    "softmax_topk",
    "threads",
    "topk",
    "tune",
    "use_isa",
    "version",
]


def _installed(*parts: str) -> str:
    # Beside the compiled module, where an editable install puts them too.
    path = Path(_core.__file__).parent.joinpath(*parts)
    if not path.is_dir():
        raise FileNotFoundError(f"this copy of fastsoftmax came without {path}")
    return str(path)


def include_dir() -> str:
    """Directory of the C++ headers, for the compiler's include path.

    Raises
    ------
    FileNotFoundError
        Where the package runs from a build tree instead of an installed wheel.
    """
    return _installed("include")


def cmake_dir() -> str:
    """Directory to pass to CMake as ``fastsoftmax_DIR`` for ``find_package(fastsoftmax)``.

    Raises
    ------
    FileNotFoundError
        Where the package runs from a build tree instead of an installed wheel.
    """
    return _installed("lib", "cmake", "fastsoftmax")


if "threadpoolctl" in sys.modules:
    register_threadpoolctl()
