"""`tune`, `reset_tuning` and their file; each in a process and a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHOW = """
import json, fastsoftmax as fs
from fastsoftmax import _core
print(json.dumps(_core._tuning()))
"""
STORE = """
from fastsoftmax import _core
import fastsoftmax as fs
found = fs.tune(seconds=0.2)
print(found.path)
print(found)
"""


@pytest.fixture
def home(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "FASTSOFTMAX_TUNING"}
    return {**environment, "XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}


def python(code, home, *arguments, **environment):
    command = [sys.executable, *(["-c", code] if code else []), *arguments]
    return subprocess.run(
        command, env={**home, **environment}, capture_output=True, text=True, timeout=120
    )


def cli(home, *arguments, **environment):
    return python(None, home, "-m", "fastsoftmax", *arguments, **environment)


def shown(home, **environment):
    done = python(SHOW, home, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_stored_is_used_by_the_next_process_until_reset(home):
    before = shown(home)
    assert before["origin"] == "defaults"
    started = time.perf_counter()
    done = python(STORE, home)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 60
    path, table = done.stdout.split("\n", 1)
    assert path == before["path"]
    assert "stream_bytes" in table
    assert f"stored in {path}" in table
    assert [name for _, _, files in os.walk(home["XDG_CONFIG_HOME"]) for name in files] == [
        os.path.basename(path)
    ]

    text = Path(path).read_text()
    name, value = text.splitlines()[-1].split()
    assert name == "elements_per_thread"
    Path(path).write_text(text.replace(f"{name} {value}", f"{name} 98304"))
    after = shown(home)
    assert after["constants"]["elements_per_thread"] == 98304
    assert after["origin"] == f"measured, from {path}"
    assert shown(home, FASTSOFTMAX_TUNING="off")["constants"] == before["constants"]
    assert shown(home, FASTSOFTMAX_ISA="scalar")["constants"] == before["constants"]

    reset = cli(home, "tune", "--reset")
    assert (reset.returncode, reset.stdout, reset.stderr) == (0, "removed\n", "")
    assert shown(home) == before
    assert cli(home, "tune", "--reset").stdout == "nothing was stored\n"


def test_dry_run_stores_nothing(home):
    done = cli(home, "tune", "--seconds", "0.2", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("not stored\n")
    assert not os.path.exists(home["XDG_CONFIG_HOME"])


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-9], lambda t: t[:0], lambda t: t.replace("cpu", "C")]
)
def test_a_damaged_file_is_ignored_and_info_says_why(home, tmp_path, damage):
    stored = python(STORE, home, FASTSOFTMAX_TUNING=str(tmp_path / "t.txt"))
    assert stored.returncode == 0, stored.stderr
    text = (tmp_path / "t.txt").read_text()
    (tmp_path / "t.txt").write_text(damage(text))
    info = cli(home, "info", FASTSOFTMAX_TUNING=str(tmp_path / "t.txt"))
    assert info.returncode == 0, info.stderr
    assert f"defaults ({tmp_path / 't.txt'} ignored: it " in info.stdout
    # tune() repairs what was its own.
    if damage("fastsoftmax tuning 1\ncpu").startswith("fastsoftmax tuning 1"):
        again = python(STORE, home, FASTSOFTMAX_TUNING=str(tmp_path / "t.txt"))
        assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("off", "FASTSOFTMAX_TUNING=off"),
        ("{tmp}/file/t.txt", "file"),
        ("{tmp}/notes", "left alone"),
        ("{tmp}", "not a regular file"),
    ],
)
def test_what_cannot_be_stored_is_an_error_before_measuring(home, tmp_path, wish, words):
    (tmp_path / "file").write_text("")
    (tmp_path / "notes").write_text("mine")
    wish = wish.format(tmp=tmp_path)
    done = cli(home, "tune", "--seconds", "3600", FASTSOFTMAX_TUNING=wish)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "notes").read_text() == "mine"
    code = "import fastsoftmax as fs; fs.softmax([1.0]); fs.tune(seconds=3600)"
    done = python(code, home, FASTSOFTMAX_TUNING=wish)
    kind = ("NotADirectoryError", "FileExistsError") if "t.txt" in wish else ("ValueError",)
    assert done.stderr.splitlines()[-1].startswith(kind)


def test_without_a_home(home):
    bare = {k: v for k, v in home.items() if k not in ("HOME", "XDG_CONFIG_HOME")}
    assert shown(bare)["origin"] == "defaults (no home directory)"
    assert "no home directory" in cli(bare, "tune").stderr
    assert cli(bare, "tune", "--reset").returncode == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_seconds_that_make_no_sense(home, seconds):
    done = cli(home, "tune", f"--seconds={seconds}")
    assert done.returncode == 2
    assert "seconds" in done.stderr


def test_interruption_ends_it_and_leaves_nothing(home):
    code = (
        "import os, signal, threading, fastsoftmax as fs\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "fs.tune(seconds=100)\n"
    )
    started = time.perf_counter()
    done = python(code, home)
    assert time.perf_counter() - started < 60
    assert "KeyboardInterrupt" in done.stderr
    assert not any(files for _, _, files in os.walk(home["XDG_CONFIG_HOME"]))
