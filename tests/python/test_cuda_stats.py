"""softmax_stats of arrays on a GPU, with a library that emulates one in the CPU's memory."""

from __future__ import annotations


def test_statistics_have_the_bits_of_the_cpu(allocating):
    allocating("""
rng = np.random.default_rng(1)
for dtype in ("f2", "f4", "f8"):
    for shape in ((2, 3, 20), (2, 1030), (7,), (0, 3), (2, 0)):
        x = rng.normal(scale=5, size=shape).astype(dtype)
        for view in (x, x[..., ::-1], x.T) if x.ndim == 3 else (x,):
            for axis in (0, -1)[x.size > 200 :]:
                where = rng.random(view.shape) < 0.7
                t = rng.integers(1, 5, np.take(view, [0], axis).shape if view.size else 1)
                t = t.astype(rng.choice(["f2", "f8", "i4", "u1"]))
                for options in ({}, {"temperature": 0.7}, {"where": where}, {"temperature": t}):
                    expected = fs.softmax_stats(view, axis, **options)
                    got = fs.softmax_stats(Interface(view), axis, **on_gpu(options))
                    assert type(got) is type(expected)
                    for a, b in zip(got, expected):
                        same(a, b)
""")


def test_streams_and_what_is_refused(allocating):
    out = allocating("""
import pytest
x = np.zeros((2, 3), np.float32)
mask = np.ones((2, 3), bool)
t = np.array([[2.0], [0.0]], np.float32)
got = fs.softmax_stats(Interface(x, stream=7), temperature=Interface(t, stream=5),
                       where=Interface(mask, stream=9))
assert all((np.isnan(part.array) == [False, True]).all() for part in got)
for error, pattern, arguments in [
    (TypeError, "where is not on a GPU, but", {"where": mask}),
    (TypeError, "temperature is not on a GPU, but", {"temperature": x}),
    (ValueError, "temperature of shape .* must have length 1", {"temperature": Interface(x)}),
    (TypeError, "^x has dtype int64, expected a floating", {"x": Interface(x.astype(int))}),
    (TypeError, "temperature must be a number or array, not None", {"temperature": None}),
    (TypeError, "axis must be an int, not NoneType", {"axis": None}),
    (ValueError, "temperature must be positive", {"temperature": 0}),
    (ValueError, "where", {"where": Interface(mask[:, :2])}),
    (TypeError, "where must be boolean", {"where": Interface(x)}),
    (np.exceptions.AxisError, "axis 2 is out of bounds", {"axis": 2}),
    (TypeError, "where is in the memory of a GPU", {"x": x, "where": Interface(mask)}),
]:
    with pytest.raises(error, match=pattern):
        fs.softmax_stats(**{"x": Interface(x), **arguments})
print(notes())
""")
    assert out.strip() == str(["order 5 7", "order 9 7", "stats 7 on 0", "order 7 5", "order 7 9"])
