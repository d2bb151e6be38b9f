"""`apply` gives the bits that a call in memory gives, for every cut, layout and element type."""

import os
import subprocess
import sys

import fastsoftmax
import numpy as np
import pytest
from fastsoftmax.__main__ import main
from fastsoftmax._cli import _chunks
from hypothesis import given, settings
from hypothesis import strategies as st


def apply(*arguments):
    return main(["apply", *map(str, arguments)])


def in_memory(x, op="softmax", **options):
    return np.asarray(getattr(fastsoftmax, op)(x, **options))


def assert_same(path, expected):
    found = np.load(path)
    assert found.shape == expected.shape
    if expected.dtype.name == "bfloat16":
        found = found.view(expected.dtype)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "in.npy", tmp_path / "out.npy"


def scores(shape, dtype=np.float32):
    return (np.random.default_rng(5).standard_normal(shape) * 9).astype(dtype)


def test_as_a_process(paths):
    x = scores((64, 100))
    np.save(paths[0], x)
    done = subprocess.run(
        [sys.executable, "-m", "fastsoftmax", "apply", *map(str, paths), "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert_same(paths[1], in_memory(x))
    assert sorted(os.listdir(paths[0].parent)) == ["in.npy", "out.npy"]


@pytest.mark.parametrize("chunk", [1, 5000, "64K", "1G"])
@pytest.mark.parametrize(("text", "axis"), [("-1", -1), ("0", 0), ("1", 1), ("0,-1", (0, -1))])
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunks_do_not_show(paths, chunk, text, axis, op, order, capsys):
    x = scores((6, 5, 40_000) if chunk == "64K" else (30, 40, 50))
    np.save(paths[0], np.asarray(x, order=order))
    assert apply(*paths, "--chunk-bytes", chunk, "--axis", text, "--op", op) == 0
    assert_same(paths[1], in_memory(x, op, axis=axis))
    assert "error" not in capsys.readouterr().err


def test_order_of_the_file_is_kept(paths):
    np.save(paths[0], np.asfortranarray(scores((20, 30))))
    assert apply(*paths) == 0
    assert np.load(paths[1], mmap_mode="r").flags.f_contiguous


@pytest.mark.parametrize("op", ["softmax", "logsumexp"])
@pytest.mark.parametrize("shape", [(1,), (50_000,), (20, 30, 40)])
def test_all_axes_in_one_row(paths, op, shape, capsys):
    x = scores(shape)
    np.save(paths[0], x)
    assert apply(*paths, "--axis", "all", "--op", op, "--chunk-bytes", 4096) == 0
    assert_same(paths[1], in_memory(x, op, axis=None))
    assert ("straight from the mapped file" in capsys.readouterr().err) == (x.nbytes > 4096)


def test_keepdims(paths):
    x = scores((4, 50, 6))
    np.save(paths[0], x)
    assert (
        apply(*paths, "--op", "logsumexp", "--axis", "0,2", "--keepdims", "--chunk-bytes", 99) == 0
    )
    assert_same(paths[1], in_memory(x, "logsumexp", axis=(0, 2), keepdims=True))


@pytest.mark.parametrize(
    "dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "?", "i1", "<i8", ">i8", "<u2", "<u4"]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_element_types(paths, dtype, axis):
    x = np.abs(scores((30, 50))).astype(dtype)
    np.save(paths[0], x)
    assert apply(*paths, "--axis", axis, "--chunk-bytes", 999) == 0
    assert_same(paths[1], in_memory(x, axis=axis))


@pytest.mark.parametrize("stored_as", ["V2", "uint16"])
def test_bfloat16(paths, stored_as):
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    x = scores((30, 50)).astype(bfloat16)
    np.save(paths[0], x if stored_as == "V2" else x.view(np.uint16))
    assert apply(*paths, "--input-dtype", "bfloat16", "--chunk-bytes", 999) == 0
    assert_same(paths[1], in_memory(x))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtype_option(paths, dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    x = scores((30, 50))
    np.save(paths[0], x)
    assert apply(*paths, "--dtype", dtype, "--chunk-bytes", 999) == 0
    assert_same(paths[1], in_memory(x, dtype=np.dtype(kind)))


@pytest.mark.parametrize("temperature", ["0.25", "3", "1e2"])
def test_temperature(paths, temperature):
    x = scores((30, 50))
    np.save(paths[0], x)
    assert apply(*paths, "--temperature", temperature) == 0
    assert_same(paths[1], in_memory(x, temperature=float(temperature)))


@pytest.mark.parametrize(
    "algorithm",
    ["auto", "three_pass_reload", "three_pass_recompute", "two_pass", "online", "online_reload"],
)
def test_algorithm(paths, algorithm):
    x = scores((3, 5000))
    np.save(paths[0], x)
    assert apply(*paths, "--algorithm", algorithm) == 0
    assert_same(paths[1], in_memory(x))


@pytest.mark.parametrize("empty", ["nan", "zero"])
def test_rows_of_minus_infinity(paths, empty):
    x = scores((3, 50))
    x[1] = -np.inf
    np.save(paths[0], x)
    assert apply(*paths, "--empty", empty) == 0
    found = np.load(paths[1])
    assert np.isnan(found[1]).all() if empty == "nan" else (found[1] == 0).all()
    np.testing.assert_allclose(found[[0, 2]].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("op", ["softmax", "logsumexp"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
@pytest.mark.parametrize("axis", [0, -1])
def test_arrays_without_elements(paths, op, shape, axis):
    x = np.zeros(shape, np.float32)
    np.save(paths[0], x)
    assert apply(*paths, "--op", op, "--axis", axis) == 0
    assert_same(paths[1], in_memory(x, op, axis=axis))


def test_array_without_axes(paths):
    np.save(paths[0], np.float32(3))
    assert apply(*paths, "--axis", "all") == 0
    assert np.load(paths[1]) == 1


def test_overwrites_only_with_force(paths, capsys):
    x = scores((3, 5))
    np.save(paths[0], x)
    paths[1].write_bytes(b"precious")
    os.chmod(paths[1], 0o640)
    assert apply(*paths) == 2
    assert paths[1].read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().err
    assert apply(*paths, "--force") == 0
    assert_same(paths[1], in_memory(x))
    assert os.stat(paths[1]).st_mode & 0o777 == 0o640


def test_follows_a_link_to_the_output(paths, tmp_path):
    np.save(paths[0], scores((3, 5)))
    real = tmp_path / "elsewhere.npy"
    real.write_bytes(b"")
    paths[1].symlink_to(real)
    assert apply(*paths, "--force") == 0
    assert paths[1].is_symlink()
    assert np.load(real).shape == (3, 5)


def test_permissions_follow_the_umask(paths):
    np.save(paths[0], scores((3, 5)))
    before = os.umask(0o027)
    try:
        assert apply(*paths) == 0
    finally:
        os.umask(before)
    assert os.stat(paths[1]).st_mode & 0o777 == 0o640


def test_other_file_system(paths):
    shared = "/dev/shm"
    if not os.path.isdir(shared) or os.stat(shared).st_dev == os.stat(paths[0].parent).st_dev:
        pytest.skip("no second file system here")
    x = scores((100, 50))
    np.save(paths[0], x)
    target = f"{shared}/fastsoftmax-test-{os.getpid()}.npy"
    try:
        assert apply(paths[0], target) == 0
        assert_same(target, in_memory(x))
    finally:
        os.unlink(target)


def test_quiet(paths, capsys):
    np.save(paths[0], scores((3, 5000)))
    assert apply(*paths, "--quiet", "--chunk-bytes", 1) == 0
    assert capsys.readouterr() == ("", "")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_cut_covers_everything_once(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=4)))
    order = data.draw(st.sampled_from("CF"))
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1)))) if shape else []
    limit = data.draw(st.integers(1, 4096))
    seen = np.zeros(shape, np.int32, order=order)
    chunks = _chunks.cut(seen.shape, seen.strides, seen.itemsize, axes, limit)
    count = 0
    for index in chunks.indices():
        count += 1
        part = seen[(*index, ...)]
        assert part.nbytes <= chunks.nbytes
        for axis in axes:
            assert part.shape[axis] == shape[axis]
        part += 1
    assert count == chunks.number
    assert (seen == 1).all()


def test_cut_keeps_to_the_limit():
    def cut(shape, axes, limit):
        strides = np.lib.stride_tricks.as_strided(np.empty(1, np.float32), shape).strides
        strides = tuple(4 * int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        return _chunks.cut(shape, strides, 4, axes, limit).steps

    million = 1 << 20
    assert cut((million, 1024), [1], 1 << 26) == (1 << 14, 1024)
    assert cut((million, 1024), [1], 1) == (1, 1024)
    assert cut((10, million, 1024), [2], 1 << 26) == (1, 1 << 14, 1024)
    assert cut((million, million), [0], 1 << 26) == (million, _chunks.MIN_RUN // 4)
    assert cut((64, million), [0], 1 << 26) == (64, 1 << 18)
    assert cut((million,), [0], 1) == (million,)


@pytest.mark.parametrize("chunk", [1, "64K", "1G"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("op", ["softmax_topk", "topk"])
def test_selections(paths, chunk, axis, op):
    x = scores((30, 40, 50))
    np.save(paths[0], x)
    options = {"temperature": 0.5} if op == "softmax_topk" else {}
    extra = [f"--{name}={value}" for name, value in options.items()]
    call = ["--op", op, "--k", "7", f"--axis={axis}", "--chunk-bytes", chunk, "--quiet", *extra]
    assert apply(*paths, *call) == 0
    values, indices = getattr(fastsoftmax, op)(x, 7, axis, **options)
    found = np.load(paths[1])
    assert found.dtype.names == ("values", "indices")
    np.testing.assert_array_equal(found["indices"], indices)
    assert found["values"].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--op", "topk"], "topk needs --k"),
        (["--op", "topk", "--k", "6"], "--k is 6, but rows have only 5 elements"),
        (["--op", "topk", "--k", "2", "--axis", "all"], "single axis"),
        (["--op", "topk", "--k", "2", "--temperature", "2"], "no meaning for topk"),
        (["--op", "softmax_topk", "--k", "2", "--dtype", "float32"], "--dtype has no meaning"),
        (["--op", "softmax", "--k", "2"], "--k has no meaning for softmax"),
    ],
)
def test_selections_that_make_no_sense(paths, arguments, message, capsys):
    np.save(paths[0], scores((3, 5)))
    assert apply(*paths, *arguments) != 0
    assert message in capsys.readouterr().err
    assert not paths[1].exists()
