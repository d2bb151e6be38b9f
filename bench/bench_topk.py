"""Softmax with top-k against what else there is, in one process, interleaved.

    python bench/bench_topk.py [--rounds 9] [--threads 1]

Prints, for each shape and k, the median time of `softmax_topk` in nanoseconds per element and how
often longer the others take: PyTorch's softmax and topk, its amax alone (the time of one read),
NumPy's argpartition of our softmax, and ONNX Runtime's Softmax and TopK, where installed. Then what
sorted, constant and one-hot rows take relative to random ones, and `softmax_stats` relative to
`logsumexp`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import fastsoftmax as fs
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Contestants = dict[str, Callable[[], Any]]

CASES = [
    *(((64, 131_072), k, "full") for k in (1, 5, 50, 256, 1024)),
    *(((64, 1024), k, "full") for k in (10, 50)),
    ((64, 32_000), 50, "full"),
    ((65_536, 64), 2, "topk"),
    ((65_536, 256), 8, "topk"),
]


def measure(contestants: Contestants, rounds: int) -> dict[str, float]:
    """Median nanoseconds of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, call in contestants.items():
            start = time.perf_counter_ns()
            call()
            if turn > 0:
                times[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def of_torch(x: Array, k: int, normalize: str, threads: int) -> Contestants:
    """Name PyTorch's softmax and topk, and its amax."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    t = torch.from_numpy(x)

    def softmax_topk() -> Any:
        values, indices = torch.topk(torch.softmax(t, -1), k)
        if normalize == "topk":
            values = values / values.sum(-1, keepdim=True)
        return values, indices

    return {"PyTorch": softmax_topk, "PyTorch amax": lambda: torch.amax(t, -1)}


def of_numpy(x: Array, k: int) -> Contestants:
    """Take softmax of ours, then NumPy's argpartition."""

    def softmax_argpartition() -> Any:
        p = fs.softmax(x)
        indices = np.argpartition(-p, k - 1, axis=-1)[:, :k]
        return np.take_along_axis(p, indices, -1), indices

    return {"argpartition": softmax_argpartition}


def of_onnxruntime(x: Array, k: int, threads: int) -> Contestants:
    """Make a model of Softmax and TopK."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return {}
    tensor, helper = onnx.TensorProto, onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["p"], axis=-1),
            helper.make_node("TopK", ["p", "k"], ["values", "indices"], axis=-1),
        ],
        "softmax_topk",
        [helper.make_tensor_value_info("x", tensor.FLOAT, list(x.shape))],
        [
            helper.make_tensor_value_info("values", tensor.FLOAT, None),
            helper.make_tensor_value_info("indices", tensor.INT64, None),
        ],
        [helper.make_tensor("k", tensor.INT64, [1], [k])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {"ONNX Runtime": lambda: session.run(None, {"x": x})}


def kinds(rows: int, n: int, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Yield rows of several kinds."""
    ramp = np.arange(n, dtype=np.float32) * np.float32(1e-3)
    one_hot = np.zeros(n, np.float32)
    one_hot[n // 3] = 5
    yield "random", 3 * rng.standard_normal((rows, n), dtype=np.float32)
    for name, row in (("ascending", ramp), ("descending", -ramp), ("one-hot", one_hot)):
        yield name, np.tile(row, (rows, 1))
    yield "constant", np.ones((rows, n), np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    fs.set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    print(f"fastsoftmax {fs.version()}, {fs.isa_in_use()}, {args.threads} thread(s)")
    for shape, k, normalize in CASES:
        x = 3 * rng.standard_normal(shape, dtype=np.float32)
        ours: Contestants = {
            "ours": lambda x=x, k=k, n=normalize: fs.softmax_topk(x, k, normalize=n)
        }
        others = of_torch(x, k, normalize, args.threads)
        if normalize == "full":
            others |= of_numpy(x, k) | of_onnxruntime(x, k, args.threads)
        times = measure(ours | others, args.rounds)
        own = times.pop("ours")
        ratios = ", ".join(f"{name} {taken / own:.2f}" for name, taken in times.items())
        print(f"{shape} k={k} {normalize}: {own / x.size:.3f} ns/element; {ratios}", flush=True)
    for k in (1, 50, 1024):
        rows = dict(kinds(16, 131_072, rng))
        times = measure(
            {name: lambda x=x, k=k: fs.softmax_topk(x, k) for name, x in rows.items()}, args.rounds
        )
        ratios = ", ".join(f"{name} {t / times['random']:.2f}" for name, t in times.items())
        print(f"(16, 131072) k={k}, relative to random rows: {ratios}", flush=True)
    x = 3 * rng.standard_normal((64, 131_072), dtype=np.float32)
    times = measure(
        {"stats": lambda: fs.softmax_stats(x), "logsumexp": lambda: fs.logsumexp(x)}, args.rounds
    )
    print(f"softmax_stats / logsumexp: {times['stats'] / times['logsumexp']:.2f}")


if __name__ == "__main__":
    main()
