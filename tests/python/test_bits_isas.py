"""Every instruction set gives the same bits, each in a process of its own that was told to use it.

The corpus is small here; tests/cpp/test_checksums.cpp compares a larger one with a table that every
machine shares.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fastsoftmax as fs
import numpy as np
import pytest

KNOWN = ["scalar", "neon", "avx2", "avx512"]

# Prints a digest of the results for each dtype, function, axis and option.
CORPUS = """
import hashlib, json, sys
import fastsoftmax as fs
import numpy as np
from fastsoftmax import _core

algorithms = ["auto", "three_pass_reload", "three_pass_recompute"]
algorithms += ["two_pass", "online", "online_reload"]
dtypes = [np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)]
try:
    import ml_dtypes
    dtypes.append(np.dtype(ml_dtypes.bfloat16))
except ImportError:
    pass

def values(rng, shape):
    x = rng.normal(size=shape)
    yield "normal", 3 * x
    yield "spread", 1e3 * x
    yield "huge", 1e30 * x
    yield "offset", 1e4 + x
    yield "masked", np.where(rng.random(shape) < 0.3, -np.inf, x)
    yield "ties", np.round(x)
    special = rng.choice([np.nan, np.inf, -np.inf], shape)
    yield "special", np.where(rng.random(shape) < 0.02, special, x)

digests = {}
for dtype in dtypes:
    rng = np.random.default_rng(7)
    for shape in [(40, 7), (18, 33), (5, 700), (2, 3000), (700, 5)]:
        for name, x in values(rng, shape):
            with np.errstate(over="ignore"):
                x = x.astype(dtype)
            where = rng.random(shape) < 0.7
            for axis in (0, 1, None):
                for label, options in {
                    "plain": {},
                    "where": {"where": where},
                    "temperature": {"temperature": 0.7},
                }.items():
                    calls = [("logsumexp", options)]
                    for op in ("softmax", "log_softmax"):
                        for algorithm in algorithms[: 1 if options else 5]:
                            calls.append((op, {"algorithm": algorithm, **options}))
                    for op, keywords in calls:
                        y = np.ascontiguousarray(getattr(fs, op)(x, axis, **keywords))
                        key = f"{op} {dtype} axis {axis} {label} {name}"
                        digests.setdefault(key, hashlib.sha256()).update(y.tobytes())
print(json.dumps({
    "isa": _core.isa_in_use(),
    "digests": {key: digest.hexdigest() for key, digest in digests.items()},
}))
"""


def python(script, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "FASTSOFTMAX_ISA"}
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment | variables,
        check=False,
    )


def run_corpus(**variables):
    done = python(CORPUS, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def best():
    return run_corpus()


def test_the_best_one_is_the_default(best):
    assert best["isa"] == fs.isas_supported()[0]
    # 4 dtypes (3 without ml_dtypes), 3 functions, 3 axes, 3 options, 7 kinds of values.
    assert len(best["digests"]) in {4 * 3 * 3 * 3 * 7, 3 * 3 * 3 * 3 * 7}
    assert len(set(best["digests"].values())) > len(best["digests"]) / 2


@pytest.mark.parametrize("isa", KNOWN)
def test_same_bits(isa, best):
    if isa not in fs.isas_supported():
        pytest.skip(f"this machine or this build has no {isa}")
    forced = run_corpus(FASTSOFTMAX_ISA=isa)
    assert forced["isa"] == isa
    differ = [key for key in best["digests"] if forced["digests"][key] != best["digests"][key]]
    assert not differ, f"{isa} differs from {best['isa']} in {len(differ)} cases: {differ[:5]}"


def test_changing_it_within_a_process(rng):
    """`use_isa` takes effect at the next call; the bits stay."""
    x = (3 * rng.normal(size=(30, 700))).astype(np.float32)
    before = fs.isa_in_use()
    try:
        results = []
        for isa in fs.isas_supported():
            fs.use_isa(isa)
            assert fs.isa_in_use() == isa
            results.append(fs.softmax(x).tobytes() + fs.log_softmax(x.T, 0).tobytes())
    finally:
        fs.use_isa(before)
    assert len(set(results)) == 1


def test_the_forced_one_really_runs():
    """The portable kernels are several times slower than vectors, so time tells them apart."""
    supported = fs.isas_supported()
    if len(supported) < 2:
        pytest.skip("only one instruction set here")
    script = """
import time
import fastsoftmax as fs
import numpy as np
x = np.zeros((64, 512), np.float32)
def once():
    start = time.perf_counter()
    fs.softmax(x, out=x)
    return time.perf_counter() - start
print(min(once() for _ in range(50)))
"""
    seconds = {}
    for isa in (supported[0], "scalar"):
        done = python(script, FASTSOFTMAX_ISA=isa, FASTSOFTMAX_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        seconds[isa] = float(done.stdout)
    assert seconds["scalar"] > 2 * seconds[supported[0]], seconds


@pytest.mark.parametrize("name", ["missing", "sse2", "avx2 avx512", *KNOWN])
def test_one_that_cannot_run_is_an_error(name):
    """Importing works, so that a script can still ask which there are; computing raises."""
    supported = fs.isas_supported()
    if name in supported:
        pytest.skip(f"{name} runs here")
    reason = "not " if name in KNOWN else "unknown instruction set"
    script = """
import fastsoftmax as fs
for call in (fs.softmax, fs.log_softmax, fs.logsumexp, lambda x: fs.isa_in_use()):
    try:
        call([1.0])
    except RuntimeError as error:
        print(error)
print(fs.isas_supported())
"""
    done = python(script, FASTSOFTMAX_ISA=name)
    assert done.returncode == 0, done.stderr
    *messages, listed = done.stdout.splitlines()
    assert listed == repr(supported)
    assert len(messages) == 4
    for message in messages:
        assert message.startswith(f"FASTSOFTMAX_ISA={name}: ")
        assert reason in message
        assert ", ".join(supported) in message


def test_use_isa_refuses():
    before = fs.isa_in_use()
    with pytest.raises(RuntimeError, match="unknown instruction set 'missing'"):
        fs.use_isa("missing")
    for isa in set(KNOWN) - set(fs.isas_supported()):
        with pytest.raises(RuntimeError, match=isa):
            fs.use_isa(isa)
    assert fs.isa_in_use() == before
