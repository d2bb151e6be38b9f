"""The thread pool as Python sees it: settings, Python threads, fork, Ctrl-C, threadpoolctl."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fastsoftmax as fs
import numpy as np
import pytest


@pytest.fixture
def x(rng):
    return rng.normal(scale=3, size=(512, 1024)).astype(np.float32)


@pytest.fixture(autouse=True)
def restore():
    yield
    fs.set_num_threads(0)


def test_settings():
    default = fs.get_num_threads()
    assert default >= 1
    fs.set_num_threads(3)
    assert fs.get_num_threads() == 3
    fs.set_num_threads(0)
    assert fs.get_num_threads() == default


def test_context_manager():
    default = fs.get_num_threads()
    with fs.threads(3):
        assert fs.get_num_threads() == 3
        with fs.threads(n=1):
            assert fs.get_num_threads() == 1
        assert fs.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError), fs.threads(5):
        raise ZeroDivisionError
    assert fs.get_num_threads() == default

    one = fs.threads(1)
    with one, one:
        assert fs.get_num_threads() == 1
    assert fs.get_num_threads() == default

    @fs.threads(2)
    def decorated():
        return fs.get_num_threads()

    assert decorated() == 2
    assert fs.get_num_threads() == default
    with pytest.raises(ValueError, match="-2"), fs.threads(-2):
        pass
    assert fs.get_num_threads() == default


def environment(**variables):
    script = "import fastsoftmax as fs; print(fs.get_num_threads())"
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | variables, capture_output=True, check=True
    )
    return int(done.stdout)


def test_environment():
    assert environment(FASTSOFTMAX_NUM_THREADS="3", OMP_NUM_THREADS="2") == 3
    assert environment(OMP_NUM_THREADS="2,1") == 2


def test_the_number_of_threads_changes_no_bits(x):
    results = []
    for n in (1, 2, 3, 8):
        with fs.threads(n):
            results.append(fs.softmax(x).tobytes() + fs.softmax(x, None).tobytes())
            assert fs.explain(x).threads <= n
    assert len(set(results)) == 1


def test_calls_from_many_python_threads(x):
    expected = fs.softmax(x).tobytes()
    small = x[0, :10].copy()
    small_expected = fs.softmax(small).tobytes()

    def work(i):
        if i % 3 == 0:
            fs.set_num_threads(1 + i % 4)
        return fs.softmax(x).tobytes() == expected and all(
            fs.softmax(small).tobytes() == small_expected for _ in range(100)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))


def test_other_python_threads_run_meanwhile():
    x = np.zeros((64, 1 << 18), np.float32)
    out = np.empty_like(x)
    started, done = threading.Event(), threading.Event()
    during = 0

    def call():
        started.set()
        for _ in range(3):
            fs.softmax(x, out=out)
        done.set()

    worker = threading.Thread(target=call)
    with fs.threads(1):
        worker.start()
        started.wait()
        while not done.is_set():
            time.sleep(0.0005)
            during += 1
        worker.join()
    # With the GIL held this thread would have run between the calls only.
    assert during > 5


def in_child(x, expected):
    pid = os.fork()
    if pid == 0:
        good = fs.softmax(x).tobytes() == expected
        os._exit(0 if good else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        finished, status = os.waitpid(pid, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "deadlock"


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
# Python and JAX warn about what these tests are there to try.
forks_with_threads = pytest.mark.filterwarnings("ignore:.*fork")


@needs_fork
@forks_with_threads
def test_fork_after_use(x):
    fs.set_num_threads(4)
    expected = fs.softmax(x).tobytes()
    assert in_child(x, expected) == 0
    assert fs.softmax(x).tobytes() == expected
    assert in_child(x, expected) == 0


FORK_FIRST = """
import os, sys
import numpy as np
import fastsoftmax as fs
fs.set_num_threads(4)
x = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024) % 7
pid = os.fork()
digest = hash(fs.softmax(x).tobytes())
if pid == 0:
    os._exit(0 if fs.softmax(x).sum() > 0 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert hash(fs.softmax(x).tobytes()) == digest
"""


@needs_fork
def test_fork_before_use():
    subprocess.run([sys.executable, "-c", FORK_FIRST], check=True, timeout=60)


@needs_fork
@forks_with_threads
def test_fork_while_another_thread_computes(x):
    expected = fs.softmax(x).tobytes()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            fs.softmax(x)

    worker = threading.Thread(target=busy)
    worker.start()
    try:
        assert [in_child(x, expected) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        worker.join()


INTERRUPT = """
import os, signal, threading
import numpy as np
import fastsoftmax as fs
fs.set_num_threads(4)
x = np.ones((256, 1 << 16), np.float32)
expected = fs.softmax(x).tobytes()
out = np.empty_like(x)
for _ in range(3):
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            fs.softmax(x, out=out)
    except KeyboardInterrupt:
        pass
    assert out.tobytes() == expected
    assert fs.softmax(x).tobytes() == expected
print("usable")
"""


def test_keyboard_interrupt_leaves_the_pool_usable():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT], check=True, timeout=300, capture_output=True, text=True
    )
    assert done.stdout == "usable\n"


THREADPOOLCTL = """
import {first}
import {second}
import fastsoftmax as fs, threadpoolctl
fs.register_threadpoolctl()
fs.register_threadpoolctl()
(info,) = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "fastsoftmax"]
assert info["num_threads"] == fs.get_num_threads()
assert info["version"] == fs.__version__
assert info["architecture"] == fs.isa_in_use()
with threadpoolctl.threadpool_limits(1):
    assert fs.get_num_threads() == 1
with threadpoolctl.threadpool_limits(3, user_api="fastsoftmax"):
    assert fs.get_num_threads() == 3
assert fs.get_num_threads() == info["num_threads"]
"""


@pytest.mark.parametrize("first", ["fastsoftmax", "threadpoolctl"])
def test_threadpoolctl(first):
    pytest.importorskip("threadpoolctl")
    order = {"first": first, "second": "threadpoolctl"}
    subprocess.run([sys.executable, "-c", THREADPOOLCTL.format(**order)], check=True, timeout=60)


def test_threadpoolctl_is_found_when_already_imported():
    pytest.importorskip("threadpoolctl")
    script = (
        "import threadpoolctl, fastsoftmax\n"
        "assert 'fastsoftmax' in [i['user_api'] for i in threadpoolctl.threadpool_info()]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
