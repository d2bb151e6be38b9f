from collections.abc import Sequence
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ._cuda import DeviceArray
from ._plan import Plan
from ._results import (
    AdaptiveWeights,
    CrossEntropy,
    GumbelSoftmax,
    GumbelTopK,
    LinearCrossEntropy,
    LinearGradients,
    LinearTopK,
    PartialFC,
    SampleResult,
    SoftmaxStats,
    SoftmaxTopK,
    SoftmaxTopKLogsumexp,
    TopK,
)
from ._sparse_rows import SparseRows

class _SupportsDLPack(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, int]: ...

class _TorchDType(Protocol):
    @property
    def is_floating_point(self) -> bool: ...

class _CacheSizes(TypedDict):
    l1: int
    l2: int
    last_level: int

class _Tuning(TypedDict):
    constants: dict[str, int]
    origin: str
    path: str

class _Tuned(TypedDict):
    before: dict[str, int]
    after: dict[str, int]
    path: str
    comparisons: list[tuple[str, int, float, int]]

_Floating = TypeVar("_Floating", bound=np.floating[Any])
_Tensor = TypeVar("_Tensor", bound=_SupportsDLPack)
_Out = TypeVar("_Out", bound=_SupportsDLPack)

_Array: TypeAlias = ArrayLike | _SupportsDLPack
_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Algorithm: TypeAlias = Literal[
    "auto", "three_pass_reload", "three_pass_recompute", "two_pass", "online", "online_reload"
]
_Reduction: TypeAlias = Literal["mean", "sum", "none"]
_Empty: TypeAlias = Literal["nan", "zero"]
_DType: TypeAlias = DTypeLike | _TorchDType | None
_Seed: TypeAlias = _Array | np.random.Generator | None
_Isa: TypeAlias = Literal["scalar", "neon", "avx2", "avx512"]

def version() -> str: ...
def compiler() -> str: ...
def isas_built() -> list[_Isa]: ...
def isas_supported() -> list[_Isa]: ...
def isa_in_use() -> _Isa: ...
def use_isa(name: _Isa) -> None: ...
def caches() -> _CacheSizes: ...
def get_num_threads() -> int: ...
def set_num_threads(n: SupportsIndex) -> None: ...
def _exchange_num_threads(n: SupportsIndex) -> int: ...
def _tuning() -> _Tuning: ...
def _use_constants(
    *,
    reload_bytes: int,
    parallel_reload_bytes: int,
    recompute_bytes: int,
    stream_bytes: int,
    elements_per_thread: int,
) -> None: ...
def _tune(seconds: float, save: bool) -> _Tuned: ...
def _cuda_status() -> dict[str, Any]: ...
def _cuda_run(
    op: str,
    x: DeviceArray,
    out: DeviceArray,
    where: DeviceArray | None,
    axes: Sequence[int],
    temperature: float | DeviceArray,
    empty_is_zero: bool,
    algorithm: str,
    device: int,
    stream: int,
) -> None: ...
def _cuda_backward(
    op: str,
    grad: DeviceArray,
    y: DeviceArray,
    out: DeviceArray,
    axes: Sequence[int],
    temperature: float | DeviceArray,
    device: int,
    stream: int,
) -> None: ...
def _cuda_cross_entropy(
    logits: DeviceArray,
    targets: DeviceArray,
    axis: int,
    weight: DeviceArray | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    reduction: str,
    grad_out: float | DeviceArray,
    loss: DeviceArray,
    grad: DeviceArray | None,
    logsumexp: DeviceArray | None,
    device: int,
    stream: int,
) -> None: ...
def _cuda_softmax_stats(
    x: DeviceArray,
    axis: int,
    temperature: float | DeviceArray,
    where: DeviceArray | None,
    results: Sequence[DeviceArray],
    device: int,
    stream: int,
) -> None: ...
def _cuda_softmax_topk(
    x: DeviceArray,
    k: int,
    axis: int,
    values: DeviceArray,
    indices: DeviceArray,
    logsumexp: DeviceArray | None,
    where: DeviceArray | None,
    temperature: float | DeviceArray,
    over_selected: bool,
    log: bool,
    empty_is_zero: bool,
    zero_is_one: bool,
    device: int,
    stream: int,
) -> None: ...
def _cuda_topk(
    x: DeviceArray,
    k: int,
    axis: int,
    largest: bool,
    values: DeviceArray,
    indices: DeviceArray,
    device: int,
    stream: int,
) -> None: ...
def _cuda_sample(
    x: DeviceArray,
    axis: int,
    indices: DeviceArray,
    logprobs: DeviceArray | None,
    where: DeviceArray | None,
    options: dict[str, Any],
    device: int,
    stream: int,
) -> None: ...
def _cuda_device_of(address: int) -> int: ...
def _cuda_order(device: int, before: int, after: int) -> None: ...
def _reset_tuning() -> bool: ...
def explain(
    x: _Array,
    axis: _Axis = -1,
    *,
    op: Literal["softmax", "log_softmax", "logsumexp"] = "softmax",
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: _SupportsDLPack | None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> Plan: ...
@overload
def softmax(
    x: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: _Out,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> _Out: ...
@overload
def softmax(
    x: NDArray[_Floating],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[_Floating]: ...
@overload
def softmax(
    x: NDArray[np.integer[Any]] | NDArray[np.bool_],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[np.float64]: ...
@overload
def softmax(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: type[_Floating] | np.dtype[_Floating],
    algorithm: _Algorithm = "auto",
) -> NDArray[_Floating]: ...
@overload
def softmax(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[Any]: ...
@overload
def softmax(
    x: _Tensor,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> _Tensor: ...
@overload
def softmax(
    x: ArrayLike,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[Any]: ...
@overload
def log_softmax(
    x: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: _Out,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> _Out: ...
@overload
def log_softmax(
    x: NDArray[_Floating],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[_Floating]: ...
@overload
def log_softmax(
    x: NDArray[np.integer[Any]] | NDArray[np.bool_],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[np.float64]: ...
@overload
def log_softmax(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: type[_Floating] | np.dtype[_Floating],
    algorithm: _Algorithm = "auto",
) -> NDArray[_Floating]: ...
@overload
def log_softmax(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[Any]: ...
@overload
def log_softmax(
    x: _Tensor,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> _Tensor: ...
@overload
def log_softmax(
    x: ArrayLike,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    algorithm: _Algorithm = "auto",
) -> NDArray[Any]: ...
@overload
def logsumexp(
    x: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: _Out,
    dtype: _DType = None,
) -> _Out: ...
@overload
def logsumexp(
    x: NDArray[_Floating],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: None = None,
) -> NDArray[_Floating] | _Floating: ...
@overload
def logsumexp(
    x: NDArray[np.integer[Any]] | NDArray[np.bool_],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: None = None,
) -> NDArray[np.float64] | np.float64: ...
@overload
def logsumexp(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: type[_Floating] | np.dtype[_Floating],
) -> NDArray[_Floating] | _Floating: ...
@overload
def logsumexp(
    x: NDArray[Any],
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: _DType = None,
) -> Any: ...
@overload
def logsumexp(
    x: _Tensor,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: _DType = None,
) -> _Tensor: ...
@overload
def logsumexp(
    x: ArrayLike,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    keepdims: bool = False,
    out: None = None,
    dtype: _DType = None,
) -> Any: ...
@overload
def softmax_backward(
    grad: _Array,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def softmax_backward(
    grad: NDArray[_Floating],
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[_Floating]: ...
@overload
def softmax_backward(
    grad: NDArray[Any],
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[Any]: ...
@overload
def softmax_backward(
    grad: _Tensor,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> _Tensor: ...
@overload
def softmax_backward(
    grad: ArrayLike,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[Any]: ...
@overload
def log_softmax_backward(
    grad: _Array,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: _Out,
) -> _Out: ...
@overload
def log_softmax_backward(
    grad: NDArray[_Floating],
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[_Floating]: ...
@overload
def log_softmax_backward(
    grad: NDArray[Any],
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[Any]: ...
@overload
def log_softmax_backward(
    grad: _Tensor,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> _Tensor: ...
@overload
def log_softmax_backward(
    grad: ArrayLike,
    y: _Array,
    axis: _Axis = -1,
    *,
    temperature: _Array = 1.0,
    out: None = None,
) -> NDArray[Any]: ...
@overload
def cross_entropy(
    logits: _Array,
    targets: _Array,
    axis: SupportsIndex = -1,
    *,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_out: _Array | None = None,
    need_grad: Literal[True],
    inplace_grad: bool = False,
) -> CrossEntropy: ...
@overload
def cross_entropy(
    logits: _Array,
    targets: _Array,
    axis: SupportsIndex = -1,
    *,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_out: _Array | None = None,
    need_grad: bool = False,
    inplace_grad: Literal[True],
) -> CrossEntropy: ...
@overload
def cross_entropy(
    logits: _Array,
    targets: _Array,
    axis: SupportsIndex = -1,
    *,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_out: _Array | None = None,
    need_grad: Literal[False] = False,
    inplace_grad: Literal[False] = False,
) -> Any: ...
@overload
def cross_entropy(
    logits: _Array,
    targets: _Array,
    axis: SupportsIndex = -1,
    *,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_out: _Array | None = None,
    need_grad: bool = False,
    inplace_grad: bool = False,
) -> Any: ...
def linear_logsumexp(
    x: _Array, W: _Array, bias: _Array | None = None, *, temperature: float = 1.0
) -> Any: ...
def linear_log_prob(
    x: _Array,
    W: _Array,
    ids: _Array,
    bias: _Array | None = None,
    *,
    temperature: float = 1.0,
) -> Any: ...
def linear_topk(
    x: _Array,
    W: _Array,
    k: SupportsIndex,
    bias: _Array | None = None,
    *,
    temperature: float = 1.0,
    log: bool = False,
) -> LinearTopK: ...
def linear_cross_entropy(
    x: _Array,
    W: _Array,
    targets: _Array,
    bias: _Array | None = None,
    *,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_out: _Array | None = None,
    need_grad: bool = False,
    grad_mass_tol: float = 0.0,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
    tile_bytes: SupportsIndex = 50331648,
) -> LinearCrossEntropy: ...
def linear_cross_entropy_backward(
    forward: LinearCrossEntropy,
    x: _Array,
    W: _Array,
    targets: _Array,
    bias: _Array | None = None,
    *,
    grad_out: _Array | None = None,
    weight: _Array | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    reduction: _Reduction = "mean",
    grad_mass_tol: float = 0.0,
    vocab_start: SupportsIndex = 0,
    vocab_size: SupportsIndex | None = None,
) -> LinearGradients: ...
def merge_shards(
    shards: Sequence[LinearCrossEntropy],
    targets: _Array | None = None,
    *,
    weight: _Array | None = None,
    z_loss: float = 0.0,
    reduction: _Reduction = "mean",
) -> LinearCrossEntropy: ...
def _add_rows(W: _Array, ids: _Array, values: _Array, alpha: float) -> Any: ...
def _coalesce_rows(ids: _Array, values: _Array, num_rows: SupportsIndex) -> SparseRows: ...
def _tree_loss(
    tree: _Tree,
    arrays: tuple[Any, ...],
    targets: _Array,
    reduction: str,
    ignore_index: SupportsIndex,
    grad_out: _Array | None,
    need_grad: bool,
) -> tuple[Any, ...]: ...
def _tree_log_prob(tree: _Tree, arrays: tuple[Any, ...], ids: _Array | None) -> Any: ...
def _tree_topk(
    tree: _Tree,
    arrays: tuple[Any, ...],
    k: SupportsIndex,
    min_log_prob: float,
    beam: SupportsIndex | None,
) -> tuple[Any, Any, Any]: ...
def _tree_sample(
    tree: _Tree, arrays: tuple[Any, ...], seed: Any, position: SupportsIndex
) -> Any: ...
def _sampled_loss(
    kind: str,
    x: _Array,
    W: _Array,
    targets: _Array,
    sample: tuple[Any, ...],
    bias: _Array | None,
    logq: str | None,
    remove_hits: bool,
    reduction: str,
    ignore_index: SupportsIndex,
    grad_out: _Array | None,
    need_grad: bool,
    vocab_start: SupportsIndex,
    vocab_size: SupportsIndex | None,
    forward: tuple[_Array, _Array] | None = None,
) -> tuple[Any, ...]: ...
def _partial_fc_sample(
    targets: _Array,
    V: SupportsIndex,
    rate: float,
    seed: _Seed,
    position: SupportsIndex,
    ignore_index: SupportsIndex,
    vocab_start: SupportsIndex,
    vocab_size: SupportsIndex | None,
) -> PartialFC: ...
def _partial_fc_loss(
    x: _Array,
    W: _Array,
    targets: _Array,
    ids: _Array,
    log_correction: _Array | None,
    margin: str,
    margin_size: float,
    scale: float,
    normalize: bool,
    reduction: str,
    ignore_index: SupportsIndex,
    grad_out: _Array | None,
    need_grad: bool,
    vocab_start: SupportsIndex,
    vocab_size: SupportsIndex | None,
    totals: tuple[_Array, _Array] | None,
) -> Any: ...
def _augment_reduce_step(
    model: str,
    rates: tuple[float, float],
    draws: SupportsIndex,
    seed: int,
    location: NDArray[np.float64],
    scale: NDArray[np.float64],
    visits: NDArray[np.int32],
    x: _Array,
    W: _Array,
    targets: _Array,
    ids: _Array,
    log_expected_count: _Array,
    examples: _Array,
    bias: _Array | None,
    update: bool,
    reduction: str,
    ignore_index: SupportsIndex,
    grad_out: _Array | None,
    need_grad: bool,
) -> tuple[Any, ...]: ...
def _augment_reduce_losses(
    rates: tuple[float, float],
    location: NDArray[np.float64],
    scale: NDArray[np.float64],
    visits: NDArray[np.int32],
    losses: NDArray[np.float64],
    examples: _Array,
    update: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def _frequency_classes(counts: NDArray[np.int64], classes: SupportsIndex) -> NDArray[np.int64]: ...
@overload
def softmax_topk(
    x: _Array,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    normalize: Literal["full", "topk"] = "full",
    log: bool = False,
    empty: _Empty = "nan",
    return_logsumexp: Literal[False] = False,
) -> SoftmaxTopK: ...
@overload
def softmax_topk(
    x: _Array,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    normalize: Literal["full", "topk"] = "full",
    log: bool = False,
    empty: _Empty = "nan",
    return_logsumexp: Literal[True],
) -> SoftmaxTopKLogsumexp: ...
@overload
def softmax_topk(
    x: _Array,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    normalize: Literal["full", "topk"] = "full",
    log: bool = False,
    empty: _Empty = "nan",
    return_logsumexp: bool = False,
) -> SoftmaxTopK | SoftmaxTopKLogsumexp: ...
def topk(
    x: _Array, k: SupportsIndex, axis: SupportsIndex = -1, *, largest: bool = True
) -> TopK: ...
def softmax_stats(
    x: _Array,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
) -> SoftmaxStats: ...
@overload
def sample(
    logits: NDArray[Any],
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    top_k: _Array | None = None,
    top_p: _Array | None = None,
    min_p: _Array | None = None,
    typical_p: _Array | None = None,
    top_n_sigma: _Array | None = None,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
    return_logprobs: Literal[False] = False,
    top_logprobs: Literal[0] = 0,
) -> NDArray[np.int64] | np.int64: ...
@overload
def sample(
    logits: _Tensor,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    top_k: _Array | None = None,
    top_p: _Array | None = None,
    min_p: _Array | None = None,
    typical_p: _Array | None = None,
    top_n_sigma: _Array | None = None,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
    return_logprobs: Literal[False] = False,
    top_logprobs: Literal[0] = 0,
) -> _Tensor: ...
@overload
def sample(
    logits: ArrayLike,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    top_k: _Array | None = None,
    top_p: _Array | None = None,
    min_p: _Array | None = None,
    typical_p: _Array | None = None,
    top_n_sigma: _Array | None = None,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
    return_logprobs: Literal[False] = False,
    top_logprobs: Literal[0] = 0,
) -> NDArray[np.int64] | np.int64: ...
@overload
def sample(
    logits: _Array,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    top_k: _Array | None = None,
    top_p: _Array | None = None,
    min_p: _Array | None = None,
    typical_p: _Array | None = None,
    top_n_sigma: _Array | None = None,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
    return_logprobs: Literal[True],
    top_logprobs: SupportsIndex = 0,
) -> SampleResult: ...
@overload
def sample(
    logits: _Array,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    top_k: _Array | None = None,
    top_p: _Array | None = None,
    min_p: _Array | None = None,
    typical_p: _Array | None = None,
    top_n_sigma: _Array | None = None,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
    return_logprobs: bool = False,
    top_logprobs: SupportsIndex = 0,
) -> Any: ...
@overload
def gumbel_softmax(
    logits: _Array,
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: _Out,
    dtype: _DType = None,
    return_soft: Literal[False] = False,
) -> _Out: ...
@overload
def gumbel_softmax(
    logits: NDArray[_Floating],
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    return_soft: Literal[False] = False,
) -> NDArray[_Floating]: ...
@overload
def gumbel_softmax(
    logits: NDArray[np.integer[Any]] | NDArray[np.bool_],
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: None = None,
    return_soft: Literal[False] = False,
) -> NDArray[np.float64]: ...
@overload
def gumbel_softmax(
    logits: NDArray[Any],
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: type[_Floating] | np.dtype[_Floating],
    return_soft: Literal[False] = False,
) -> NDArray[_Floating]: ...
@overload
def gumbel_softmax(
    logits: NDArray[Any],
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    return_soft: Literal[False] = False,
) -> NDArray[Any]: ...
@overload
def gumbel_softmax(
    logits: _Tensor,
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    return_soft: Literal[False] = False,
) -> _Tensor: ...
@overload
def gumbel_softmax(
    logits: ArrayLike,
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: None = None,
    dtype: _DType = None,
    return_soft: Literal[False] = False,
) -> NDArray[Any]: ...
@overload
def gumbel_softmax(
    logits: _Array,
    temperature: _Array,
    *,
    hard: bool = False,
    seed: _Seed = None,
    axis: SupportsIndex = -1,
    position: _Array = 0,
    row_ids: _Array | None = None,
    where: _Array | None = None,
    empty: _Empty = "nan",
    out: _SupportsDLPack | None = None,
    dtype: _DType = None,
    return_soft: Literal[True],
) -> GumbelSoftmax: ...
def gumbel_topk(
    logits: _Array,
    k: SupportsIndex,
    axis: SupportsIndex = -1,
    *,
    temperature: _Array = 1.0,
    where: _Array | None = None,
    seed: _Seed = None,
    position: _Array = 0,
    row_ids: _Array | None = None,
) -> GumbelTopK: ...
def _adaptive_loss(
    x: _Array,
    weights: AdaptiveWeights,
    targets: _Array,
    reduction: _Reduction,
    ignore_index: SupportsIndex,
    grad_out: _Array | None,
    need_grad: bool,
) -> Any: ...
def _adaptive_log_prob(x: _Array, weights: AdaptiveWeights, ids: _Array | None) -> Any: ...
def _adaptive_topk(x: _Array, weights: AdaptiveWeights, k: SupportsIndex) -> TopK: ...
def _adaptive_sample(
    x: _Array,
    weights: AdaptiveWeights,
    seed: _Seed,
    position: _Array,
    row_ids: _Array | None,
) -> Any: ...
def _adaptive_cutoffs(
    counts: _Array,
    in_features: SupportsIndex,
    clusters: SupportsIndex,
    div_value: float,
    cost: tuple[float, float, float, float, float],
) -> tuple[int, ...]: ...

class _Sampler:
    def __init__(
        self, counts: NDArray[np.int64], power: float, reserved: NDArray[np.int64]
    ) -> None: ...
    @staticmethod
    def uniform(V: SupportsIndex) -> _Sampler: ...
    @staticmethod
    def log_uniform(V: SupportsIndex) -> _Sampler: ...
    def classes(self) -> int: ...
    def sample(
        self, n: SupportsIndex, unique: bool, seed: _Seed, position: SupportsIndex
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[int, bool, float, float]]: ...
    def log_prob(self, ids: NDArray[np.int64]) -> NDArray[np.float64]: ...
    def log_expected_count(
        self, ids: NDArray[np.int64], times: tuple[int, bool, float, float], drawn: bool
    ) -> NDArray[np.float64]: ...
    def __getstate__(self) -> tuple[str, int | NDArray[np.float64]]: ...
    def __setstate__(self, state: tuple[str, int | NDArray[np.float64]]) -> None: ...

class _Mirostat:
    def __init__(self, tau: float, eta: float) -> None: ...
    def sample(
        self,
        logits: _Array,
        axis: SupportsIndex,
        *,
        temperature: _Array,
        where: _Array | None,
        seed: _Seed,
        position: _Array,
        row_ids: _Array | None,
    ) -> Any: ...
    def mu(self) -> NDArray[np.float64]: ...
    def reset(self) -> None: ...

class _DeviceTensor:
    def __init__(self, tensor: Any, name: str, writable: bool, stream: int) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> list[int]: ...
    @property
    def strides(self) -> list[int]: ...
    @property
    def device(self) -> int: ...

class _Tree:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...  # raises TypeError
    @staticmethod
    def huffman(counts: NDArray[np.int64]) -> _Tree: ...
    @staticmethod
    def balanced(num_leaves: SupportsIndex) -> _Tree: ...
    @staticmethod
    def from_parents(
        parents: NDArray[np.int64], codes: NDArray[np.int64] | None, binary: bool | None
    ) -> _Tree: ...
    @staticmethod
    def from_paths(
        nodes: NDArray[np.int64], codes: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> _Tree: ...
    @staticmethod
    def from_clusters(labels: NDArray[np.int64]) -> _Tree: ...
    def num_leaves(self) -> int: ...
    def num_nodes(self) -> int: ...
    def num_weights(self) -> int: ...
    def is_binary(self) -> bool: ...
    def max_depth(self) -> int: ...
    def depths(self, leaves: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def parents(self) -> NDArray[np.int64]: ...
    def codes(self) -> NDArray[np.int64]: ...
    def paths(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...
    def equals(self, other: _Tree) -> bool: ...
