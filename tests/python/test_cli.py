"""The command line as a whole, `info` and `bench`; test_cli_*.py do `apply`."""

import ctypes.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fastsoftmax
import numpy as np
import pytest
from fastsoftmax._cli import _common, _measure, _onnx


def cli(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastsoftmax", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def assert_one_line_error(done, *words):
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_version():
    done = cli("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"fastsoftmax {fastsoftmax.__version__}\n"


def test_directories_exist():
    done = cli("--include-dir", "--cmake-dir")
    assert done.returncode == 0, done.stderr
    include, cmake = map(Path, done.stdout.splitlines())
    assert include == Path(fastsoftmax.include_dir())
    assert (include / "fastsoftmax" / "softmax.hpp").is_file()
    assert (cmake / "fastsoftmaxConfig.cmake").is_file()


def test_no_command_shows_help():
    done = cli()
    assert done.returncode == 2
    assert "apply" in done.stderr
    assert done.stdout == ""


def test_unknown_command():
    done = cli("solve")
    assert done.returncode == 2
    assert "invalid choice: 'solve'" in done.stderr
    assert "Traceback" not in done.stderr


def test_info_text():
    done = cli("info", FASTSOFTMAX_NUM_THREADS="3")
    assert (done.returncode, done.stderr) == (0, "")
    shown = {line[:20].strip(): line[20:].strip() for line in done.stdout.splitlines()}
    assert shown["fastsoftmax"] == fastsoftmax.__version__
    assert shown["NumPy"] == np.__version__
    assert shown["threads"] == "3"
    assert shown["ISA in use"] in shown["ISAs supported here"].split(", ")
    assert "KiB" in shown["caches"]


def test_info_with_a_cuda_library_that_is_not_ours():
    done = cli("info", FASTSOFTMAX_CUDA_LIBRARY=ctypes.util.find_library("c") or "libc.so.6")
    labels = [line[:20].strip() for line in done.stdout.splitlines()]
    at = labels.index("CUDA")
    assert "is not a CUDA library of this version" in done.stdout.splitlines()[at]
    assert labels[at + 1] == "peers found"


def test_info_json():
    done = cli("info", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["version"] == fastsoftmax.__version__
    assert "scalar" in facts["isas_built"]
    assert facts["isa_in_use"] in facts["isas_supported"]
    assert set(facts["isas_supported"]) <= set(facts["isas_built"])
    assert 0 < facts["caches"]["l1"] <= facts["caches"]["l2"]
    assert facts["caches"]["last_level"] > 0
    assert facts["threads"] >= 1
    assert facts["compiler"]
    assert facts["peers"]["torch"] is None or facts["peers"]["torch"][0].isdigit()


def test_info_shows_the_forced_isa():
    done = cli("info", "--json", FASTSOFTMAX_ISA="scalar")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["isa_in_use"] == "scalar"


def test_an_unknown_isa(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((2, 3), np.float32))
    for arguments in (["info"], ["bench"], ["apply", tmp_path / "in.npy", tmp_path / "out.npy"]):
        assert_one_line_error(cli(*arguments, FASTSOFTMAX_ISA="mmx"), "mmx")
    assert os.listdir(tmp_path) == ["in.npy"]


def test_output_that_nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "fastsoftmax", "info"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_bench_writes_table_and_json(tmp_path):
    report = tmp_path / "report.json"
    done = cli(
        "bench", "--seconds", 1, "--threads", 1, "--peers", "none", "--rows", "float32 16x1000",
        "--json", report,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "threads 1," in done.stdout.splitlines()[0]
    assert done.stdout.count("float32 16x1000") == 2
    (result,) = json.loads(report.read_text())["results"]
    assert result["shape"] == [16, 1000]
    figures = result["contestants"]
    assert set(figures) == {"memcpy", "fastsoftmax", "NumPy"}
    assert figures["memcpy"]["time_over_memcpy"] == 1
    assert figures["fastsoftmax"]["time_over_fastsoftmax"] == 1
    assert figures["fastsoftmax"]["worst_relative_error"] <= 2.0**-21
    for figure in figures.values():
        low, high = figure["quartiles_ns_per_element"]
        assert 0 < low <= figure["ns_per_element"] <= high
        assert figure["rounds"] >= 3


def test_bench_says_what_it_leaves_out():
    note = "bfloat16 4096x1024 left out: it needs the package ml_dtypes"
    without = """
import runpy, sys
sys.modules["ml_dtypes"] = None
runpy.run_module("fastsoftmax", run_name="__main__")
"""
    for rows, code in (("4096x1024", 0), ("bfloat16", 2)):
        done = subprocess.run(
            [sys.executable, "-c", without,
             "bench", "--seconds", "1", "--peers", "none", "--rows", rows],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert note in (done.stderr if code else done.stdout)


def test_bench_with_scipy():
    pytest.importorskip("scipy")
    done = cli("bench", "--seconds", 1, "--peers", "scipy", "--rows", "float32 16x1000")
    assert (done.returncode, done.stderr) == (0, "")
    assert "SciPy" in done.stdout
    assert "(new array)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--peers", "matlab"), ("matlab",)),
        (("--rows", "int3"), ("int3",)),
        (("--json", "no/such/directory/x.json"), ("no/such/directory/x.json",)),
    ],
)
def test_bench_refuses(arguments, words):
    assert_one_line_error(cli("bench", *arguments), *words)


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_bench_refuses_seconds(seconds):
    done = cli("bench", "--seconds", seconds)
    assert done.returncode == 2
    assert "--seconds" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("65536", 65536),
        ("64K", 65536),
        ("64 KiB", 65536),
        ("2m", 2 << 20),
        ("1GB", 1 << 30),
    ],
)
def test_byte_count(text, count):
    assert _common.byte_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "K", "1X", "1e6"])
def test_byte_count_refuses(text):
    with pytest.raises(_common.argparse.ArgumentTypeError):
        _common.byte_count(text)


def test_relative_error_sees_what_is_no_softmax():
    expected = np.array([0.25, 0.75, 1e-300])
    good = expected.astype(np.float32)
    assert _measure.relative_error(good, expected, "float32") < 2.0**-23
    assert _measure.relative_error(good * np.float32(1.01), expected, "float32") > 0.009
    assert _measure.relative_error(expected, expected, "float32") == np.inf  # wrong type
    for position, value in [(0, np.nan), (0, 0.6), (2, 1e-3)]:
        bad = good.copy()
        bad[position] = value
        assert _measure.relative_error(bad, expected, "float32") == np.inf


def test_measure_interleaves_and_counts():
    calls = []
    contestants = [
        _measure.Contestant(name, lambda name=name: calls.append(name), lambda: np.zeros(1))
        for name in ("a", "b")
    ]
    timings = _measure.measure(contestants, deadline=0.0)
    for name in ("a", "b"):
        assert len(timings[name].samples) == _measure.MIN_ROUNDS
        assert timings[name].calls_per_sample >= 1
        assert calls.count(name) > _measure.MIN_ROUNDS
    first_half = calls[: len(calls) // 2]
    assert {"a", "b"} <= set(first_half)


def test_ratio_is_paired():
    slow = _measure.Timing((2.0, 20.0, 200.0), 1)
    fast = _measure.Timing((1.0, 10.0, 100.0), 1)
    assert _measure.ratio(slow, fast) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_onnx_model_is_a_softmax(dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    x = np.random.default_rng(1).standard_normal((3, 200, 2)).astype(dtype)
    session = onnxruntime.InferenceSession(
        _onnx.softmax_model(dtype, x.shape, 1), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": x})
    error = _measure.relative_error(y, _measure.reference(x, 1), dtype)
    assert error < (2e-3 if dtype == "float16" else 1e-5)
