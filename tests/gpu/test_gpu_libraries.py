"""On a GPU: results for arrays of JAX, CuPy and Numba are of their library, with the CPU's bits.

Needs an NVIDIA GPU, the CUDA library (docs/cuda.md) and these libraries; skips without them.
"""

from __future__ import annotations

import importlib

import fastsoftmax as fs
import numpy as np
import pytest
from fastsoftmax import _core

STATUS = _core._cuda_status()
pytestmark = pytest.mark.skipif(
    not STATUS["available"], reason=f"no CUDA: {STATUS['reason'] or 'no device'}"
)


def arrays_of(library):
    """Functions that bring an array to the GPU and back, as `library` has them."""
    try:
        module = importlib.import_module("numba.cuda" if library == "numba" else library)
        if library == "jax":
            gpu = module.devices("gpu")[0]
            return (lambda x: module.device_put(x, gpu)), np.asarray
        if library == "cupy":
            return module.asarray, module.asnumpy
        return module.to_device, lambda x: x.copy_to_host()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{library}: {error}")


@pytest.mark.parametrize("library", ["jax", "cupy", "numba"])
def test_results_are_of_the_library(library):
    to_gpu, to_cpu = arrays_of(library)
    rng = np.random.default_rng(1)
    x = rng.normal(scale=4, size=(64, 5000)).astype(np.float32)
    targets = rng.integers(0, 5000, 64).astype(np.int32)
    on_gpu = to_gpu(x)
    for found, expected in [
        (fs.softmax(on_gpu), fs.softmax(x)),
        (fs.logsumexp(on_gpu, 0), fs.logsumexp(x, 0)),
        (fs.softmax_topk(on_gpu, 7), fs.softmax_topk(x, 7)),
        (fs.sample(on_gpu, seed=3), fs.sample(x, seed=3)),
        (fs.cross_entropy(on_gpu, to_gpu(targets)), np.float32(fs.cross_entropy(x, targets))),
    ]:
        pairs = (
            zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        )
        for a, b in pairs:
            assert type(a) is type(on_gpu)
            np.testing.assert_array_equal(to_cpu(a), b)


def test_jax_writes_to_an_input_after_it_was_read():
    """By donation, in work that is submitted while the device is still to begin with the call's."""
    to_gpu, to_cpu = arrays_of("jax")
    import jax

    x = np.random.default_rng(2).normal(size=(4096, 32768)).astype(np.float32)
    expected = fs.softmax(x[-64:])
    overwrite = jax.jit(lambda v: v * 0, donate_argnums=0)
    overwrite(to_gpu(x)).block_until_ready()
    for _ in range(5):
        on_gpu = to_gpu(x)
        found = fs.softmax(on_gpu)
        again = fs.softmax(found)
        gone = overwrite(on_gpu)
        np.testing.assert_array_equal(to_cpu(found[-64:]), expected)
        np.testing.assert_array_equal(to_cpu(again[-64:]), fs.softmax(expected))
        assert not to_cpu(gone[-1]).any()
