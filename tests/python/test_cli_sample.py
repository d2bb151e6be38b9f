"""The command line's `sample` draws what a call in memory draws, however the file is cut."""

from __future__ import annotations

import re

import fastsoftmax as fs
import numpy as np
import pytest
from fastsoftmax.__main__ import main


def sample(*arguments):
    return main(["sample", *map(str, arguments)])


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "in.npy", tmp_path / "out.npy"


def scores(shape, dtype=np.float32):
    return (np.random.default_rng(5).standard_normal(shape) * 2).astype(dtype)


def same(path, expected):
    found = np.load(path)
    assert found.dtype == np.int64
    assert found.shape == np.shape(expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("chunk", [1, 5000, "64K", "1G"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_do_not_show(paths, chunk, axis, order, capsys):
    x = scores((6, 5, 40_000) if chunk == "64K" else (30, 40, 50))
    np.save(paths[0], np.asarray(x, order=order))
    assert sample(*paths, "--seed", 3, "--chunk-bytes", chunk, f"--axis={axis}") == 0
    same(paths[1], fs.sample(x, axis, seed=3))
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.3},
        {"temperature": 0.0},
        {"top_k": 3},
        {"top_p": 0.5},
        {"min_p": 0.1},
        {"typical_p": 0.4},
        {"top_n_sigma": 0.7},
        {"position": 2**32 - 1},
        {"top_k": 9, "top_p": 0.8, "temperature": 2.0},
    ],
    ids=str,
)
def test_options(paths, options):
    x = scores((60, 50))
    np.save(paths[0], x)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert sample(*paths, "--seed", 2**64 - 1, "--chunk-bytes", 999, *words) == 0
    same(paths[1], fs.sample(x, seed=2**64 - 1, **options))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "?", "i1", ">i8", "<u4"])
def test_element_types(paths, dtype):
    x = np.abs(scores((30, 50))).astype(dtype)
    np.save(paths[0], x)
    with fs.threads(1):  # puts back what --threads sets
        assert sample(*paths, "--seed", 1, "--threads", 1) == 0
    same(paths[1], fs.sample(x, seed=1))


def test_bfloat16(paths):
    x = scores((30, 50)).astype(pytest.importorskip("ml_dtypes").bfloat16)
    np.save(paths[0], x)
    assert sample(*paths, "--seed", 1, "--input-dtype", "bfloat16") == 0
    same(paths[1], fs.sample(x, seed=1))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (0, 7), (2, 0, 7)])
def test_small_arrays(paths, shape):
    x = scores(shape)
    np.save(paths[0], x)
    assert sample(*paths, "--seed", 1) == 0
    same(paths[1], fs.sample(x, seed=1))


def test_a_fresh_seed_is_printed(paths, capsys):
    x = scores((50, 90))
    np.save(paths[0], x)
    assert sample(*paths) == 0
    seed = int(re.search(r"^seed (\d+)$", capsys.readouterr().out, re.MULTILINE)[1])
    same(paths[1], fs.sample(x, seed=seed))
    assert sample(*paths, "--force") == 0
    assert f"seed {seed}" not in capsys.readouterr().out
    assert sample(*paths, "--force", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-p", "1.5"], "top_p must be"),
        (["--top-k", "-1"], "top_k must be 0 or more, got -1"),
        (["--temperature", "-1"], "temperature"),
        (["--seed", "-1"], "seed must not be negative, got -1"),
        (["--seed", str(2**64)], "seed must be below 2**64"),
        (["--position", str(2**32)], "position must be below"),
        (["--axis", "2"], "axis 2 is out of bounds"),
    ],
)
def test_bad_options(paths, arguments, message, capsys):
    np.save(paths[0], scores((3, 5)))
    assert sample(*paths, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not paths[1].exists()


def test_bad_files(paths, capsys):
    np.save(paths[0], scores((3, 0)))
    assert sample(*paths) == 2
    assert "fastsoftmax sample: error: " in capsys.readouterr().err
    np.save(paths[0], np.float32(1))
    assert sample(*paths) == 2
    np.save(paths[0], scores((3, 5)))
    paths[1].write_bytes(b"precious")
    assert sample(*paths) == 2
    assert paths[1].read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().err
    assert sample(paths[0], paths[0], "--force") == 2


def test_arguments_that_are_no_numbers(paths, capsys):
    np.save(paths[0], scores((3, 5)))
    with pytest.raises(SystemExit):
        sample(*paths, "--top-k", "2.5")
    assert "--top-k" in capsys.readouterr().err
