"""`apply` and files that are wrong, interrupted, or too large: one line, status 2, nothing left."""

import errno
import fcntl
import io
import os
import pickle
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import fastsoftmax
import numpy as np
import pytest
from fastsoftmax.__main__ import main

START = """
import resource, signal, sys
from fastsoftmax.__main__ import main
"""


def start(script, *arguments, **options):
    """A Python process that runs `script` with `main` imported."""
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `apply` on bad arguments and returns its one line of complaint."""

    def run(source, *options, target=None):
        before = sorted(os.listdir(tmp_path))
        target = tmp_path / "out.npy" if target is None else target
        assert main(["apply", str(source), str(target), *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert err.startswith("fastsoftmax apply: error: ")
        assert sorted(os.listdir(tmp_path)) == before
        return err

    return run


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


GOOD = npy(np.arange(12, dtype=np.float32).reshape(3, 4))


def zipped():
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"1,2,3\n4,5,6\n", "not a .npy file"),
        (b"\x93NUM", "not a .npy file"),
        (zipped(), ".npz"),
        (pickle.dumps([1.0, 2.0]), "pickle"),
        (npy(np.array([{}, None], object), allow_pickle=True), "pickled"),
        (npy(np.array(["a", "b"])), "not real numbers"),
        (npy(np.zeros(3, complex)), "not real numbers"),
        (npy(np.zeros(3, "M8[s]")), "not real numbers"),
        (npy(np.zeros(3, [("a", "f4")])), "not real numbers"),
        (npy(np.zeros(3, "V4")), "not real numbers"),
        (npy(np.zeros(3, "V2")), "--input-dtype bfloat16"),
        (GOOD[:-1], "damaged"),
        (GOOD[:100], "damaged"),
        (GOOD[:7], "damaged"),
        (GOOD + b"x", "damaged"),
        (GOOD.replace(b"(3, 4)", b"(3, 5)"), "damaged"),
        (GOOD.replace(b"(3, 4)", b"(-3,4)"), "damaged"),
        (GOOD.replace(b"(3, 4)", b"[3, 4]"), "damaged"),
        (GOOD.replace(b"'<f4'", b"'<q9'"), "damaged"),
        (GOOD.replace(b"'descr'", b"'other'"), "damaged"),
        (GOOD[:6] + b"\x09" + GOOD[7:], "not supported"),
    ],
)
def test_files_that_are_not_right(tmp_path, refused, content, words):
    source = tmp_path / "in.npy"
    source.write_bytes(content)
    assert words in refused(source)


def test_header_fuzz(tmp_path, capsys):
    """Whatever happens to a header, `apply` succeeds or says one line; it never raises."""
    generator = random.Random(11)
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    for _ in range(400):
        content = bytearray(GOOD)
        for _ in range(generator.choice((1, 1, 2, 8))):
            content[generator.randrange(128)] = generator.choice(
                (generator.randrange(256), *b"(){[',-0")
            )
        source.write_bytes(content)
        status = main(["apply", str(source), str(target)])
        err = capsys.readouterr().err
        if status == 0:
            target.unlink()
        else:
            assert status == 2
            assert len(err.splitlines()) == 1
        assert os.listdir(tmp_path) == ["in.npy"]


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "in.npy"
    path.write_bytes(GOOD)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--axis", "2"], "axis 2 is out of bounds"),
        (["--axis", "-3"], "axis -3 is out of bounds"),
        (["--axis", "0,0"], "axis"),
        (["--axis", "0,-2"], "axis"),
        (["--axis", "first"], "'first'"),
        (["--axis", "0,"], "'0,'"),
        (["--axis", ""], "''"),
        (["--temperature", "0"], "temperature"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "1e-60"], "temperature"),
        (["--keepdims"], "--keepdims"),
        (["--op", "logsumexp", "--empty", "zero"], "--empty"),
        (["--op", "logsumexp", "--algorithm", "online"], "--algorithm"),
        (["--input-dtype", "bfloat16"], "float32"),
    ],
)
def test_options_that_do_not_fit(good, refused, options, words):
    assert words in refused(good, *options)


@pytest.mark.parametrize(
    "option",
    [("--dtype", "int8"), ("--op", "exp"), ("--algorithm", "fast"), ("--empty", "one"),
     ("--threads", "0"), ("--chunk-bytes", "0"), ("--chunk-bytes", "lots"),
     ("--temperature", "hot")],
)  # fmt: skip
def test_options_that_do_not_exist(good, tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["apply", str(good), str(tmp_path / "out.npy"), *option])
    assert stop.value.code == 2
    assert option[0] in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in.npy"]


def test_places_that_do_not_work(good, tmp_path, refused):
    assert "No such file" in refused(tmp_path / "missing.npy")
    assert "is a directory" in refused(tmp_path)
    assert "not a regular file" in refused("/dev/null")
    assert "input file itself" in refused(good, "--force", target=good)
    os.link(good, tmp_path / "second name.npy")
    assert "input file itself" in refused(good, "--force", target=tmp_path / "second name.npy")
    (tmp_path / "symlink.npy").symlink_to(good)
    assert "input file itself" in refused(good, "--force", target=tmp_path / "symlink.npy")
    assert "no directory" in refused(good, target=tmp_path / "nowhere" / "out.npy")
    (tmp_path / "folder").mkdir()
    assert "is a directory" in refused(good, "--force", target=tmp_path / "folder")
    assert "not a regular file" in refused(good, "--force", target="/dev/null")
    assert "File name too long" in refused(good, target=tmp_path / ("x" * 300))


def sparse(path, shape):
    """A file of float32 zeros that takes no space on disk."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        file.truncate(file.tell() + 4 * int(np.prod(shape)))


def test_no_space(tmp_path, refused):
    source = tmp_path / "in.npy"
    columns = 1 << 20
    try:
        sparse(source, (shutil.disk_usage(tmp_path).free // (2 * columns) + 1, columns))
    except OSError as error:
        pytest.skip(f"no sparse file of this size: {error}")
    assert "no space left" in refused(source)


def test_a_limit_on_the_file_size(tmp_path):
    sparse(tmp_path / "in.npy", (1024, 1024))
    process = start(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "sys.exit(main(sys.argv[1:]))",
        "apply", tmp_path / "in.npy", tmp_path / "out.npy",
    )  # fmt: skip
    status, out, err = finish(process)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert os.strerror(errno.EFBIG) in err
    assert os.listdir(tmp_path) == ["in.npy"]


def wait_for_partial(process, folder):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if any(name.endswith(".partial") for name in os.listdir(folder)):
            return
        time.sleep(0.001)
    raise AssertionError(f"no partial file seen; status {process.poll()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_a_signal(tmp_path, number):
    sparse(tmp_path / "in.npy", (1 << 20, 64))
    (tmp_path / "out.npy").write_bytes(b"precious")
    process = start(
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "for name in ('SIGTERM', 'SIGHUP'): signal.signal(getattr(signal, name), signal.SIG_DFL)\n"
        "sys.exit(main(sys.argv[1:]))",
        "apply", tmp_path / "in.npy", tmp_path / "out.npy", "--force", "--chunk-bytes", 1,
    )  # fmt: skip
    wait_for_partial(process, tmp_path)
    process.send_signal(number)
    status, out, err = finish(process)
    assert (status, out) == (128 + number, "")
    assert len(err.splitlines()) <= 2  # the note about rows larger than a chunk, and the end
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy"]
    assert (tmp_path / "out.npy").read_bytes() == b"precious"


def test_an_ignored_signal_stays_ignored(tmp_path):
    sparse(tmp_path / "in.npy", (1 << 15, 64))
    process = start(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nsys.exit(main(sys.argv[1:]))",
        "apply", tmp_path / "in.npy", tmp_path / "out.npy", "--chunk-bytes", 1,
    )  # fmt: skip
    wait_for_partial(process, tmp_path)
    process.send_signal(signal.SIGHUP)
    assert finish(process)[0] == 0
    assert (np.load(tmp_path / "out.npy") == np.float32(1 / 64)).all()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
def test_a_file_larger_than_the_memory_allowed(tmp_path):
    """128 MiB in and 128 MiB out with 32 MiB of memory of its own; loading the file fails."""
    sparse(tmp_path / "in.npy", (1 << 13, 1 << 12))
    limit = """
import numpy as np
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, ((used << 10) + (32 << 20),) * 2)
"""
    process = start(
        limit + "try: np.load(sys.argv[2])\nexcept MemoryError: sys.exit(main(sys.argv[1:]))",
        "apply", tmp_path / "in.npy", tmp_path / "out.npy", "--threads", 1, "--quiet",
    )  # fmt: skip
    assert finish(process) == (0, "", ""), "exit status 0 without output file: loading succeeded"
    found = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert found.shape == (1 << 13, 1 << 12)
    assert (found[[0, 4000, -1]] == np.float32(1 / 4096)).all()


def test_progress_bar_on_a_terminal_only(tmp_path):
    pytest.importorskip("tqdm")
    sparse(tmp_path / "in.npy", (1024, 1024))
    shown = {}
    for name, options in {"plain": [], "quiet": ["--quiet"]}.items():
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = start(
            "sys.exit(main(sys.argv[1:]))",
            "apply", tmp_path / "in.npy", tmp_path / f"{name}.npy",
            "--chunk-bytes", "64K", *options,
            stderr=theirs,
        )  # fmt: skip
        assert finish(process)[0] == 0
        os.set_blocking(ours, False)
        try:
            shown[name] = os.read(ours, 1 << 16)
        except BlockingIOError:
            shown[name] = b""
        os.close(theirs)
        os.close(ours)
    assert b"%" in shown["plain"]
    assert shown["quiet"] == b""


def test_threads_option_gives_the_same_bits(tmp_path):
    x = np.random.default_rng(3).standard_normal((7, 100_000)).astype(np.float32)
    np.save(tmp_path / "in.npy", x)
    before = fastsoftmax.get_num_threads()
    try:
        for threads in (1, 3):
            target = tmp_path / f"{threads}.npy"
            assert (
                main(["apply", str(tmp_path / "in.npy"), str(target), "--threads", str(threads)])
                == 0
            )
            assert fastsoftmax.get_num_threads() == threads
            assert np.load(target).tobytes() == fastsoftmax.softmax(x).tobytes()
    finally:
        fastsoftmax.set_num_threads(before)
