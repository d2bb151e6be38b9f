"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import emulated_gpu
import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(params=["float16", "bfloat16", "float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    if request.param == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(request.param)


def _reference(
    op: str,
    x: Any,
    axis: Any = -1,
    temperature: Any = 1.0,
    where: Any = True,
    keepdims: bool = False,
) -> NDArray[np.float64]:
    """Compute `op` by its formula in float64, for finite values and rows that admit something."""
    z = np.asarray(x, np.float64) / np.asarray(temperature, np.float64)
    z = np.where(where, z, -np.inf)
    top = z.max(axis=axis, keepdims=True, initial=-np.inf)
    shifted = z - np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        log_sum = np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    if op == "logsumexp":
        result = top + log_sum
        return result if keepdims else np.squeeze(result, axis=axis)
    return shifted - log_sum if op == "log_softmax" else np.exp(shifted - log_sum)


@pytest.fixture(scope="session")
def reference() -> Callable[..., NDArray[np.float64]]:
    return _reference


class Sampling:
    """What `sample` promises, by its definition in float64."""

    @staticmethod
    def filtered(
        x: Any,
        *,
        temperature: float = 1.0,
        max_surprise: float | None = None,
        top_n_sigma: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        where: Any = True,
    ) -> NDArray[np.float64]:
        """Probabilities that one row has after the filters; scores as the library rounds them."""
        arithmetic = np.float64 if x.dtype == np.float64 or x.dtype.kind in "biu" else np.float32
        with np.errstate(over="ignore"):
            z = (x.astype(arithmetic) / arithmetic(temperature)).astype(np.float64)
        z = np.where(where, z, -np.inf)
        p = np.exp(z - z.max())
        p /= p.sum()

        def keep(mask: NDArray[np.bool_]) -> None:
            nonlocal p
            mask[np.argmax(p)] |= not (mask & (p > 0)).any()
            p = np.where(mask, p, 0.0)
            p /= p.sum()

        def fewest(order: NDArray[np.int64], mass: float) -> NDArray[np.bool_]:
            count = 1 + int(np.searchsorted(np.cumsum(p[order]), mass))
            return np.isin(np.arange(p.size), order[:count])

        if max_surprise is not None:
            surprise = -np.log2(p, where=p > 0, out=np.full(p.shape, np.inf))
            keep(surprise <= max_surprise)
        if top_n_sigma:
            keep(z >= z.max() - top_n_sigma * z[np.isfinite(z)].std())
        if top_k:
            keep(np.isin(np.arange(p.size), np.argsort(-p, kind="stable")[:top_k]))
        if top_p is not None and top_p < 1:
            keep(fewest(np.argsort(-p, kind="stable"), top_p))
        if min_p:
            keep(p >= min_p * p.max())
        if typical_p is not None and typical_p < 1:
            nats = -np.log(p, where=p > 0, out=np.full(p.shape, np.inf))
            entropy = (p[p > 0] * nats[p > 0]).sum()
            keep(fewest(np.argsort(np.abs(nats - entropy), kind="stable"), typical_p))
        return p

    @staticmethod
    def p_value(indices: Any, p: NDArray[np.float64]) -> float:
        """Chi-square test of drawn indices against `p`; 0 where one was drawn that cannot be.

        Elements of which less than 8 are expected are counted together.
        """
        stats = pytest.importorskip("scipy.stats")
        counts = np.bincount(np.ravel(indices), minlength=p.size)
        if counts[p == 0].any():
            return 0.0
        order = np.argsort(p)
        counts, expected = counts[order], counts.sum() * p[order]
        rare = int((expected < 8).sum())
        together = (np.cumsum(expected[:rare]) // 8).astype(np.int64)
        together = np.minimum(together, max(together[-1] - 1, 0)) if rare else together
        starts = np.concatenate([np.unique(together, return_index=True)[1], range(rare, p.size)])
        starts = starts.astype(np.int64)
        observed, expected = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
        if expected[0] < 8 and expected.size > 1:
            observed[1] += observed[0]
            expected[1] += expected[0]
            observed, expected = observed[1:], expected[1:]
        if observed.size == 1:
            return 1.0
        return float(stats.chisquare(observed, expected).pvalue)


@pytest.fixture(scope="session")
def sampling() -> type[Sampling]:
    return Sampling


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a libfastsoftmax_cuda that runs the kernels on this CPU."""
    library = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    if not emulated_gpu.build(library):
        pytest.skip("no C++ compiler for the emulated library")
    return library


@pytest.fixture
def with_device(emulated: Path) -> Callable[[str], str]:
    """Run statements in a process of its own that finds the emulated library; returns stdout."""
    return lambda body: emulated_gpu.run(emulated, body)


@pytest.fixture
def allocating(with_device: Callable[[str], str]) -> Callable[[str], str]:
    """Run statements as with_device does; results can be allocated for arrays of the tests."""
    return lambda body: with_device(f"allocate()\n{body}")


@pytest.fixture
def with_cupy(with_device: Callable[[str], str]) -> Callable[[str], str]:
    """Run statements as with_device does; there is a stand-in for CuPy."""
    return lambda body: with_device(f"install_cupy()\n{body}")
