"""sample: what goes in, what comes out, and on what alone the result depends."""

from __future__ import annotations

import fastsoftmax as fs
import numpy as np
import pytest

INF, NAN = np.inf, np.nan
FILTERS = {"top_k": 20, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.9, "top_n_sigma": 2.5}


@pytest.fixture(params=[None, *FILTERS], ids=str)
def options(request):
    return {} if request.param is None else {request.param: FILTERS[request.param]}


def same_bits(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def test_kinds_and_shapes(rng):
    x = rng.standard_normal((3, 4, 50))
    for axis, shape in ((-1, (3, 4)), (0, (4, 50)), (1, (3, 50))):
        indices = fs.sample(x, axis, seed=1)
        assert type(indices) is np.ndarray
        assert (indices.dtype, indices.shape) == (np.int64, shape)
        assert ((indices >= 0) & (indices < x.shape[axis])).all()
    assert type(fs.sample(x[0, 0], seed=1)) is np.int64
    assert fs.sample([[0, -900], [-900, 0]], seed=1).tolist() == [0, 1]
    assert fs.sample(np.zeros((0, 5))).shape == (0,)
    assert fs.sample(np.zeros((5, 0)), 0).shape == (0,)
    assert fs.sample(np.array([False, True]), temperature=0.001) == 1


def test_more_than_indices(rng):
    x = rng.standard_normal((3, 50)).astype(np.float32)
    plain = fs.sample(x, seed=4)
    both = fs.sample(x, seed=4, return_logprobs=True, top_logprobs=2)
    assert isinstance(both, fs.SampleResult)
    assert both._fields == ("indices", "logprobs", "top_logprobs", "top_indices")
    np.testing.assert_array_equal(both.indices, plain)
    assert both.logprobs.shape == (3,)
    assert both.top_logprobs.shape == both.top_indices.shape == (3, 2)
    one = fs.sample(x, seed=4, return_logprobs=True)
    same_bits(one.logprobs, both.logprobs)
    assert one[2:] == (None, None)
    other = fs.sample(x, seed=4, top_logprobs=2)
    same_bits(other.top_logprobs, both.top_logprobs)
    assert other.logprobs is None
    assert isinstance(fs.sample(x[0], return_logprobs=True).logprobs, np.float32)


def test_logprobs_are_those_of_log_softmax(dtype, options, rng):
    x = (3 * rng.standard_normal((6, 700))).astype(dtype)
    where = rng.random(x.shape) < 0.8
    temperature = np.array([[0.5], [1], [2], [0], [0.01], [3]])
    positive = np.where(temperature == 0, 1, temperature)
    for admitted in (None, where):
        result = fs.sample(
            x,
            temperature=temperature,
            where=admitted,
            seed=3,
            return_logprobs=True,
            top_logprobs=4,
            **options,
        )
        whole = fs.log_softmax(x, temperature=positive, where=admitted)
        same_bits(result.logprobs, np.take_along_axis(whole, result.indices[:, None], -1)[:, 0])
        values, indices = fs.softmax_topk(x, 4, temperature=positive, where=admitted, log=True)
        same_bits(result.top_logprobs, values)
        np.testing.assert_array_equal(result.top_indices, indices)


def test_temperature_zero(dtype, options, rng):
    x = np.round(rng.standard_normal((40, 300))).astype(dtype)
    where = rng.random(x.shape) < 0.3
    np.testing.assert_array_equal(fs.sample(x, temperature=0, **options), x.argmax(-1))
    admitted = np.where(where, x, -INF).argmax(-1)
    np.testing.assert_array_equal(fs.sample(x, temperature=0.0, where=where), admitted)
    mixed = np.where(np.arange(40) % 2, 0.0, 1.0)[:, None]
    both = fs.sample(x, temperature=mixed, seed=2, **options)
    np.testing.assert_array_equal(both[1::2], x.argmax(-1)[1::2])
    np.testing.assert_array_equal(both[::2], fs.sample(x, seed=2, **options)[::2])
    whole = fs.log_softmax(x)
    drawn = fs.sample(x, temperature=0, return_logprobs=True, top_logprobs=1)
    same_bits(drawn.logprobs, whole.max(-1))
    same_bits(drawn.top_logprobs[:, 0], whole.max(-1))


@pytest.mark.parametrize("n", [3, 700, 3000])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_rows_without_a_softmax(dtype, options, n, temperature, rng):
    x = rng.standard_normal((6, n)).astype(dtype)
    x[0, n // 2] = NAN
    x[1, [1, n - 1]] = INF
    x[2] = -INF
    x[3, [0, 1]] = [INF, NAN]
    where = np.ones(x.shape, bool)
    where[:, 0] = False
    where[4] = False
    for admitted in (None, where):
        drawn = fs.sample(
            x, temperature=temperature, where=admitted, seed=1, return_logprobs=True, **options
        )
        first = fs.softmax_topk(x, 1, where=admitted).indices[:, 0]
        rows = 4 if admitted is None else 5
        np.testing.assert_array_equal(drawn.indices[:rows], first[:rows])
        assert np.isnan(drawn.logprobs[:rows].astype(np.float64)).all()
        assert np.isfinite(drawn.logprobs[rows:].astype(np.float64)).all()


def test_what_has_no_probability_is_never_drawn(dtype, options, rng):
    x = rng.standard_normal((500, 90)).astype(dtype)
    out = rng.random(x.shape) < 0.5
    out[:, 7] = False
    cut = np.where(out, -INF, x).astype(dtype)
    for indices in (fs.sample(cut, seed=5, **options), fs.sample(x, where=~out, seed=5, **options)):
        assert not np.take_along_axis(out, indices[:, None], -1).any()
    np.testing.assert_array_equal(
        fs.sample(cut, seed=5, **options), fs.sample(x, where=~out, seed=5, **options)
    )


@pytest.mark.parametrize("shape", [(9, 6, 5), (7, 130, 3), (3, 4, 1100), (70, 1, 40)])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("options", [{}, {"top_k": 9}, {"top_p": 0.9}], ids=str)
def test_axes_and_layouts(dtype, options, shape, axis, rng):
    x = rng.standard_normal(shape).astype(dtype)
    rows = np.moveaxis(x, axis, -1)
    expected = fs.sample(rows.copy(), seed=9, return_logprobs=True, **options)
    padded = np.zeros((*shape[:2], shape[2] + 3), dtype)
    padded[..., 3:] = x
    views = [x, np.asfortranarray(x), x[::-1].copy()[::-1], padded[..., 3:]]
    views.append(np.repeat(x, 2, axis=1)[:, ::2])
    if dtype.kind == "f":
        views.append(x.astype(dtype.newbyteorder()))
    for view in views:
        result = fs.sample(view, axis, seed=9, return_logprobs=True, **options)
        np.testing.assert_array_equal(result.indices, expected.indices)
        same_bits(result.logprobs, expected.logprobs)
        assert result.indices.flags.c_contiguous


def test_arrays_of_options_are_scalars_row_by_row(rng):
    rows = 12
    x = (2 * rng.standard_normal((rows, 400))).astype(np.float32)
    columns = {
        "temperature": rng.uniform(0, 2, rows).round(1),
        "top_k": rng.integers(0, 30, rows),
        "top_p": rng.uniform(0, 1, rows),
        "min_p": rng.uniform(0, 0.5, rows),
        "typical_p": rng.uniform(0, 1, rows),
        "top_n_sigma": rng.uniform(0, 3, rows),
        "seed": rng.integers(0, 2**64, rows, dtype=np.uint64),
        "position": rng.integers(0, 2**32, rows),
        "row_ids": rng.integers(0, 2**64, rows, dtype=np.uint64),
    }
    for names in [("temperature", "seed", "position", "row_ids"), *((name,) for name in columns)]:
        chosen = {name: columns[name] for name in {*names, "row_ids"}}
        fixed = {} if "seed" in chosen else {"seed": 8}
        drawn = fs.sample(x, **{name: v[:, None] for name, v in chosen.items()}, **fixed)
        single = [
            fs.sample(x[i], **{name: v[i] for name, v in chosen.items()}, **fixed)
            for i in range(rows)
        ]
        np.testing.assert_array_equal(drawn, single)
    narrow = columns["top_k"].astype(np.int8)[:, None]
    for top_k in (narrow, narrow.astype(">i4"), narrow.astype(np.uint64), narrow.tolist()):
        drawn = fs.sample(x, top_k=top_k, seed=1)
        np.testing.assert_array_equal(drawn, fs.sample(x, top_k=narrow, seed=1))
    for five in (np.int8(5), np.uint64(5), np.array(5, ">u8"), np.full((1, 1), 5)):
        drawn = fs.sample(x, top_k=five, seed=np.uint64(3), position=np.int16(2))
        np.testing.assert_array_equal(drawn, fs.sample(x, top_k=5, seed=3, position=2))


def test_seeds():
    x = np.zeros(1 << 20, np.float32)
    fresh = {int(fs.sample(x)) for _ in range(8)}
    assert len(fresh) > 1
    assert fs.sample(x, seed=5) == fs.sample(x, seed=np.uint8(5)) == fs.sample(x, seed=np.array(5))
    generator, twin = np.random.default_rng(3), np.random.default_rng(3)
    drawn = [int(fs.sample(x, seed=generator)) for _ in range(4)]
    seeds = [int(twin.integers(0, 2**64, dtype=np.uint64)) for _ in range(4)]
    assert drawn == [int(fs.sample(x, seed=seed)) for seed in seeds]
    assert len(set(drawn)) > 1
    state = generator.bit_generator.state
    with pytest.raises(ValueError, match="broadcast"):
        fs.sample(x, seed=[1, 2])
    with pytest.raises(TypeError):
        fs.sample(x, seed=generator, position=0.5)
    assert generator.bit_generator.state == state
    ends = [fs.sample(x, seed=seed) for seed in (0, 2**63, 2**64 - 1)]
    assert len(set(ends)) == 3


def test_positions_and_row_ids_to_their_ends():
    x = np.zeros((4, 1 << 18), np.float32)
    ids = np.array([0, 2**32, 2**63, 2**64 - 1], np.uint64)[:, None]
    positions = np.array([0, 1, 2**31, 2**32 - 1])[:, None]
    assert len({*fs.sample(x, seed=1, row_ids=ids).tolist()}) == 4
    assert len({*fs.sample(x, seed=1, row_ids=0 * ids, position=positions).tolist()}) == 4
    assert len({*fs.sample(x, seed=1, row_ids=7).tolist()}) == 1
    np.testing.assert_array_equal(
        fs.sample(x, seed=1), fs.sample(x, seed=1, row_ids=[[0], [1], [2], [3]], position=0)
    )


def test_results_are_of_the_kind_of_the_input(rng):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rng.standard_normal((3, 50)).astype(np.float32))
    for t in (x, x.bfloat16(), x.double().T, x[0]):
        drawn = fs.sample(t, seed=torch.tensor(3), return_logprobs=True, top_logprobs=3)
        assert all(isinstance(field, torch.Tensor) for field in drawn)
        assert drawn.indices.dtype == drawn.top_indices.dtype == torch.int64
        assert drawn.logprobs.dtype == t.dtype
        assert drawn.indices.shape == t.shape[:-1]
        array = t.double().numpy()
        expected = fs.topk(array, 3).indices
        np.testing.assert_array_equal(drawn.top_indices.numpy(), expected)
    top_p = torch.tensor([[0.5], [0.9], [1.0]], dtype=torch.bfloat16)
    np.testing.assert_array_equal(
        fs.sample(x, top_p=top_p, seed=1).numpy(),
        fs.sample(x.numpy(), top_p=top_p.double().numpy(), seed=1),
    )


class Labelled(np.ndarray):
    pass


def test_subclasses_stay(rng):
    x = rng.standard_normal((3, 50)).view(Labelled)
    drawn = fs.sample(x, seed=1, return_logprobs=True)
    assert type(drawn.indices) is type(drawn.logprobs) is Labelled
