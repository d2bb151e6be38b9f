"""Files of trees and node weights."""

from __future__ import annotations

import os
import stat
import zipfile

import fastsoftmax as fs
import numpy as np
import pytest

TREES = {
    "huffman": fs.Tree.huffman([3, 0, 9, 1, 1, 4]),
    "swapped": fs.Tree.from_paths([[1], [1, 0], [1, 0]], [[1], [0, 1], [0, 0]]),
    "clusters": fs.Tree.from_clusters([0, 2, 1, 1, 0]),
    "one leaf": fs.Tree.balanced(1),
    "one leaf, softmax": fs.Tree.from_parents([-1], binary=False),
}
SUFFIXES = [".npz", ".txt", ""]


def some_weights(tree, dtype, columns=3):
    """Of all magnitudes, with what is special."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 256, (tree.num_weights, columns * np.dtype(dtype).itemsize), np.uint8)
    weights = bits.view(dtype)
    weights[np.isnan(weights)] = np.nan
    weights.flat[: min(weights.size, 4)] = [
        np.inf,
        -0.0,
        np.nan,
        np.finfo(dtype).smallest_subnormal,
    ][: weights.size]
    return weights


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", TREES)
def test_round_trip(tmp_path, name, suffix):
    tree, path = TREES[name], tmp_path / f"tree{suffix}"
    tree.save(path)
    assert fs.Tree.load(path) == tree
    assert fs.Tree.load(str(path)) == tree
    with pytest.raises(ValueError, match="holds a tree without node weights"):
        fs.Tree.load_weights(path)
    for dtype in (np.float16, np.float32, np.float64):
        weights = some_weights(tree, dtype)
        tree.save(path, weights)
        loaded, loaded_weights = fs.Tree.load_weights(path)
        assert loaded == tree == fs.Tree.load(path)
        assert loaded_weights.dtype == dtype
        assert loaded_weights.shape == (tree.num_weights, 3)
        np.testing.assert_array_equal(loaded_weights, weights)
        assert (np.signbit(loaded_weights) == np.signbit(weights))[~np.isnan(weights)].all()
    assert os.listdir(tmp_path) == [path.name]


def test_the_formats(tmp_path):
    tree = TREES["swapped"]
    tree.save(tmp_path / "tree.txt", np.array([[0.5, 1.0], [-2.0, 0.1]], np.float32))
    assert (tmp_path / "tree.txt").read_text() == (
        "fastsoftmax-tree 1 binary 3 2 2 float32\n"
        "4 1\n3 1\n3 0\n4 0\n-1 -1\n"
        "0.5 1\n-2 0.100000001\n"
    )
    TREES["clusters"].save(tmp_path / "tree.npz")
    with np.load(tmp_path / "tree.npz", allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive} == {
            "format": "fastsoftmax-tree",
            "version": 1,
            "kind": "softmax",
            "num_leaves": 5,
            "parents": [5, 7, 6, 6, 5, 8, 8, 8, -1],
            "codes": [0, 0, 0, 1, 1, 0, 1, 2, -1],
        }


def test_text_by_hand(tmp_path):
    path = tmp_path / "tree"
    path.write_text("fastsoftmax-tree\t1 binary 2 1 2 \r\n2  1\r\n2 0\r\n-1 -1\r\n.5 -1e3\r\n\r\n")
    tree, weights = fs.Tree.load_weights(path)
    assert tree.codes().tolist() == [1, 0, -1]
    assert weights.dtype == np.float64
    assert weights.tolist() == [[0.5, -1000.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with ''"),
        ("\n", "begins with ''"),
        ("word2vec 1 binary 2 1\n", "begins with 'word2vec 1 binary 2 1', expected"),
        ("fastsoftmax-tree 2 binary 2 1\n", "has version 2 of the format, expected 1"),
        ("fastsoftmax-tree 1 ternary 2 1\n", "begins with"),
        ("fastsoftmax-tree 1 binary 2\n", "begins with"),
        ("fastsoftmax-tree 1 binary 2 -1\n", "begins with"),
        ("fastsoftmax-tree 1 binary 2 1.0\n", "begins with"),
        ("fastsoftmax-tree 1 binary 2 1 0\n", "begins with"),
        ("fastsoftmax-tree 1 binary 2 1 3 int8\n", "begins with"),
        ("fastsoftmax-tree 1 binary 0 0\n", "at least one leaf"),
        ("fastsoftmax-tree 1 binary 2 1\n", "ends at line 2; 3 lines with the parent and the code"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 1\n", "ends at line 4"),
        ("fastsoftmax-tree 1 binary 9999999999 1\n2 0\n", "ends at line 3; 10000000000 lines"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n\n-1 -1\n", "line 3 is empty"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 1\n-1 -1\n7 7\n", "line 5 is more than"),
        ("fastsoftmax-tree 1 binary 2 1\n2\n2\n-1\n", "have 1 columns, expected 2"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 1 0\n-1 -1\n", "columns"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 x\n-1 -1\n", "could not convert string 'x'"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 1e0\n-1 -1\n", "could not convert string '1e0'"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 99999999999999999999\n-1 -1\n", "convert"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 0\n-1 -1\n", "ids 0 and 1 both have code 0"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 2\n-1 -1\n", "code of id 1 is 2"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n7 1\n-1 -1\n", "parent of id 1 is 7"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n-1 -1\n-1 -1\n", "ids 1 and 2 both have no parent"),
        ("fastsoftmax-tree 1 binary 2 1\n2 0\n2 1\n2 0\n", "is on a cycle"),
        ("fastsoftmax-tree 1 binary 1 2\n2 0\n2 1\n-1 -1\n", "announces 1 leaves, but 2 ids"),
        ("fastsoftmax-tree 1 binary 1 1\n1 0\n-1 -1\n", "two children, but id 1 has 1"),
        (
            "fastsoftmax-tree 1 binary 2 1 2\n2 0\n2 1\n-1 -1\n",
            "ends at line 5; 1 lines with the v",
        ),
        ("fastsoftmax-tree 1 binary 2 1 2\n2 0\n2 1\n-1 -1\n1 2 3\n", "have 3 columns, expected 2"),
        ("fastsoftmax-tree 1 binary 2 1 2\n2 0\n2 1\n-1 -1\n1 a\n", "could not convert string 'a'"),
        ("fastsoftmax-tree 1 binary 2 1 2\n2 0\n2 1\n-1 -1\n1 2\n3 4\n", "line 6 is more than"),
    ],
)
def test_text_that_holds_no_tree(tmp_path, text, words):
    path = tmp_path / "tree.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as raised:
        fs.Tree.load_weights(path)
    assert str(raised.value).startswith(f"{path}: ")


GOOD = {
    "format": "fastsoftmax-tree",
    "version": 1,
    "kind": "binary",
    "num_leaves": 2,
    "parents": [2, 2, -1],
    "codes": [0, 1, -1],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "word2vec"}, "is 'word2vec 1', expected 'fastsoftmax-tree 1'"),
        ({"version": 2}, "is 'fastsoftmax-tree 2'"),
        ({"version": 1.0}, "entry 'version' has shape .* and type float64"),
        ({"kind": "ternary"}, "kind is 'ternary'"),
        ({"kind": ["binary"]}, "entry 'kind' has shape"),
        ({"num_leaves": 1}, "announces 1 leaves, but 2 ids"),
        ({"parents": [2.0, 2.0, -1.0]}, "entry 'parents' has shape .* and type float64"),
        ({"parents": [[2, 2, -1]]}, "entry 'parents' has shape"),
        ({"parents": [1, 0, -1]}, "id [01] is on a cycle"),
        ({"codes": [0, 1]}, "3 parents, but 2 codes"),
        ({"codes": [1, 1, -1]}, "ids 0 and 1 both have code 1"),
        ({"node_weights": [[1.0], [2.0]]}, r"shape \(2, 1\), but the tree needs \(1, D\)"),
        ({"node_weights": [1.0]}, "entry 'node_weights' has shape"),
        ({"node_weights": [[1]]}, "entry 'node_weights' has shape .* and type int64"),
        ({"node_weights": np.zeros((1, 0))}, "needs"),
        *[({name: None}, f"has no entry '{name}'") for name in GOOD],
    ],
)
def test_archives_that_hold_no_tree(tmp_path, change, words):
    path = tmp_path / "tree.npz"
    np.savez(path, **GOOD)
    assert fs.Tree.load(path) == fs.Tree.balanced(2)
    np.savez(path, **{name: value for name, value in (GOOD | change).items() if value is not None})
    with pytest.raises(ValueError, match=words) as raised:
        fs.Tree.load_weights(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_foreign_archives(tmp_path):
    path = tmp_path / "tree.npz"
    for content in (b"", b"not a zip", b"PK\3\4", b"\x80\4"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"tree\.npz: "):
            fs.Tree.load(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="is one array"):
        fs.Tree.load(path)
    np.savez(path, **(GOOD | {"parents": np.array([{}], object)}))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        fs.Tree.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("format.txt", "x")
    with pytest.raises(ValueError, match="has no entry 'format'"):
        fs.Tree.load(path)


@pytest.mark.parametrize("suffix", [".npz", ".txt"])
def test_damaged_files_are_refused_or_hold_a_tree(tmp_path, rng, suffix):
    path = tmp_path / f"tree{suffix}"
    tree = fs.Tree.huffman(rng.integers(0, 50, 12))
    tree.save(path, rng.standard_normal((11, 2)))
    whole = path.read_bytes()
    refused = 0
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 3)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        if rng.random() < 0.2:
            del damaged[rng.integers(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            loaded, weights = fs.Tree.load_weights(path)
        except ValueError:
            refused += 1
            continue
        assert weights.shape == (loaded.num_weights, 2)
    assert refused > 500


def test_weights_that_are_refused(tmp_path):
    tree = TREES["huffman"]
    for suffix in SUFFIXES:
        path = tmp_path / f"tree{suffix}"
        for weights, error, words in (
            (np.zeros((5, 2), np.int64), TypeError, "float16, float32 or float64.*, not int64"),
            (np.zeros((6, 2)), ValueError, r"have shape \(6, 2\), but the tree needs \(5, D\)"),
            (np.zeros(5), ValueError, r"have shape \(5,\)"),
            (np.zeros((5, 0)), ValueError, r"have shape \(5, 0\)"),
            (np.ma.zeros((5, 2)), TypeError, "node_weights is a MaskedArray"),
        ):
            with pytest.raises(error, match=words):
                tree.save(path, weights)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".npz", ".txt"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"tree{suffix}"
    TREES["huffman"].save(path)
    before = path.read_bytes()

    def fail(file, *_, **__):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    monkeypatch.setattr(np, "savetxt", fail)
    with pytest.raises(OSError, match="no space left"):
        TREES["clusters"].save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_replacing_a_file(tmp_path):
    path, link = tmp_path / "tree.npz", tmp_path / "link.npz"
    TREES["huffman"].save(path)
    os.chmod(path, 0o640)
    link.symlink_to(path)
    TREES["clusters"].save(link)
    assert link.is_symlink()
    assert fs.Tree.load(path) == TREES["clusters"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_places_that_do_not_work(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        TREES["huffman"].save(tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        TREES["huffman"].save(tmp_path / "nowhere" / "tree")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        TREES["huffman"].save(tmp_path / "pipe")
    for name in ("missing", "missing.npz"):
        with pytest.raises(FileNotFoundError):
            fs.Tree.load(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]
