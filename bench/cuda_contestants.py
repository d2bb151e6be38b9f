"""What bench_cuda.py times: operations of fastsoftmax on a GPU, and how others do the same work."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastsoftmax as fs

Call = Callable[..., Any]  # of the arrays that prepare() makes
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1 << 20]
TOPK = 50
TOP_P = 0.9


@dataclass(frozen=True)
class Work:
    """An operation on rows of a length and a type."""

    op: str
    rows: int
    length: int
    dtype: str

    @property
    def streams(self) -> int:
        """How many arrays of the input's size the operation has to read or write."""
        return {"softmax": 2, "softmax_backward": 3, "cross_entropy": 2}.get(self.op, 1)


def works(item_bytes: dict[str, int], batch_bytes: int) -> list[Work]:
    """Return what is measured: batches of one size for all lengths and types, and vocabularies."""
    batches = [
        Work(op, max(1, batch_bytes // (item_bytes[dtype] * n)), n, dtype)
        for op in ("softmax", "softmax_backward")
        for dtype in ("float32", "bfloat16")
        for n in LENGTHS
    ]
    vocabularies = [
        Work(op, rows, n, "float32")
        for op in ("cross_entropy", "softmax_topk", "sample")
        for rows, n in ((8, 131072), (512, 32000), (512, 131072))
    ]
    return batches + vocabularies


def prepare(torch: Any, work: Work) -> tuple[Any, ...]:
    """Return new arguments of the contestants, on the GPU; the first has the scores' size."""
    dtype = getattr(torch, work.dtype)
    x = torch.randn((work.rows, work.length), device="cuda", dtype=dtype) * 3
    if work.op == "softmax":
        return x, torch.empty_like(x)
    if work.op == "softmax_backward":
        return x, torch.softmax(torch.randn_like(x) * 3, -1), torch.empty_like(x)
    if work.op == "cross_entropy":
        return x, torch.randint(work.length, (work.rows,), device="cuda")
    return (x,)


def contestants(torch: Any, op: str) -> dict[str, Call]:
    """Return all that can do an operation on this machine, none of it compiled yet."""
    torch.compiler.reset()  # functions of one line share its limit of recompilations
    found = {
        "softmax": _softmax,
        "softmax_backward": _softmax_backward,
        "cross_entropy": _cross_entropy,
        "softmax_topk": _softmax_topk,
        "sample": _sample,
    }[op](torch)
    return {name: call for name, call in found.items() if call is not None}


def _softmax(torch: Any) -> dict[str, Call | None]:
    compiled = torch.compile(lambda x: torch.softmax(x, -1), dynamic=False)
    return {
        "fastsoftmax": lambda x, out: fs.softmax(x, out=out),
        "torch": lambda x, out: torch.softmax(x, -1, out=out),
        "compiled": lambda x, _: compiled(x),
        "Triton": _triton_softmax(),
        "CuPy": _cupy_softmax(),
    }


def _softmax_backward(torch: Any) -> dict[str, Call | None]:
    backward = torch.ops.aten._softmax_backward_data
    formula = torch.compile(
        lambda grad, y: y * (grad - (grad * y).sum(-1, keepdim=True)), dynamic=False
    )
    return {
        "fastsoftmax": lambda grad, y, out: fs.softmax_backward(grad, y, out=out),
        "torch": lambda grad, y, out: backward.out(grad, y, -1, grad.dtype, grad_input=out),
        "compiled": lambda grad, y, _: formula(grad, y),
    }


def _cross_entropy(torch: Any) -> dict[str, Call | None]:
    def loss_and_gradient(x: Any, targets: Any) -> Any:
        leaf = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf, targets)
        return loss, torch.autograd.grad(loss, leaf)[0]

    return {
        "fastsoftmax": lambda x, targets: fs.cross_entropy(x, targets, need_grad=True),
        "torch": loss_and_gradient,
    }


def _softmax_topk(torch: Any) -> dict[str, Call | None]:
    def topk(x: Any) -> Any:
        return torch.topk(torch.softmax(x, -1), TOPK)

    return {
        "fastsoftmax": lambda x: fs.softmax_topk(x, TOPK),
        "torch": topk,
        "compiled": torch.compile(topk, dynamic=False),
    }


def _sample(torch: Any) -> dict[str, Call | None]:
    def nucleus(x: Any) -> Any:
        p, order = torch.sort(torch.softmax(x, -1), dim=-1, descending=True)
        p[p.cumsum(-1) - p >= TOP_P] = 0.0
        return order.gather(-1, torch.multinomial(p, 1))

    return {
        "fastsoftmax": lambda x: fs.sample(x, top_p=TOP_P, seed=1),
        "torch": nucleus,
        "compiled": torch.compile(nucleus, dynamic=False),
    }


def _triton_softmax() -> Call | None:
    """Return Triton's softmax, a program to a row, if it is there; up to 2^17 elements."""
    try:
        triton = importlib.import_module("triton")
        tl = importlib.import_module("triton.language")
    except ImportError:
        return None

    def kernel(out, x, stride, n, BLOCK: tl.constexpr):  # type: ignore  # noqa: N803
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        scores = tl.load(x + row * stride + at, mask=at < n, other=-float("inf")).to(tl.float32)
        terms = tl.exp(scores - tl.max(scores, axis=0))
        tl.store(out + row * stride + at, terms / tl.sum(terms, axis=0), mask=at < n)

    kernel.__globals__["tl"] = tl
    compiled = triton.jit(kernel)

    def call(x: Any, out: Any) -> None:
        rows, n = x.shape
        if n > 1 << 17:
            raise ValueError("too long for one Triton program")
        block = triton.next_power_of_2(n)
        warps = min(32, max(1, block // 256))
        compiled[(rows,)](out, x, x.stride(0), n, BLOCK=block, num_warps=warps)

    return call


def _cupy_softmax() -> Call | None:
    """Return the formula in CuPy, if it is there."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return None

    def call(x: Any, out: Any) -> None:
        if x.element_size() == 2:
            raise ValueError("CuPy has no bfloat16")
        scores, result = cupy.asarray(x), cupy.asarray(out)
        cupy.exp(scores - scores.max(axis=1, keepdims=True), out=result)
        result /= result.sum(axis=1, keepdims=True)

    return call
