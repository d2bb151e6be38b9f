"""Bad arguments of sample: the kind of each error and what its message says."""

from __future__ import annotations

import re

import fastsoftmax as fs
import numpy as np
import pytest

NAN = np.nan


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"temperature": -1.0}, ValueError, "temperature"),
        ({"temperature": [[1.0], [NAN]]}, ValueError, "temperature"),
        ({"temperature": None}, TypeError, "temperature must be a number or array, not None"),
        ({"top_k": -2}, ValueError, "top_k must be 0 or more, got -2"),
        ({"top_k": 2.0}, TypeError, "top_k must be an int or an array of ints, not float"),
        ({"top_k": True}, TypeError, "top_k must be an int or an array of ints, not bool"),
        ({"top_k": [[1.0], [2.0]]}, TypeError, "array of ints, not an array of float64"),
        ({"top_p": 1.5}, ValueError, "top_p must be .*1.5"),
        ({"top_p": [[0.5], [-0.1]]}, ValueError, "top_p must be .*-0.1"),
        ({"min_p": NAN}, ValueError, "min_p must be .*nan"),
        ({"typical_p": -1}, ValueError, "typical_p must be .*-1"),
        ({"typical_p": "0.5"}, TypeError, "typical_p has dtype"),
        ({"top_n_sigma": -1.0}, ValueError, "top_n_sigma must be 0 or more, got -1"),
        ({"top_p": [0.5, 0.9]}, ValueError, "top_p.*length 1|broadcast"),
        ({"seed": -1}, ValueError, "seed must not be negative, got -1"),
        ({"seed": 2**64}, ValueError, r"seed must be below 2\*\*64, got 18446744073709551616"),
        ({"seed": True}, TypeError, "numpy.random.Generator, not bool"),
        ({"seed": 1.0}, TypeError, "numpy.random.Generator, not float"),
        ({"seed": np.random.PCG64(1)}, TypeError, "numpy.random.Generator, not numpy"),
        ({"seed": [[1], [-7]]}, ValueError, "seed must not be negative, got -7"),
        ({"seed": np.ones((2, 1))}, TypeError, "not an array of float64"),
        ({"position": -1}, ValueError, "position must not be negative, got -1"),
        ({"position": 2**32}, ValueError, "position must be below 2..32, got 4294967296"),
        ({"position": [[0], [2**32]]}, ValueError, "position must be below 2..32, got 4294967296"),
        ({"position": None}, TypeError, "position must be an int or an array of ints, not None"),
        ({"row_ids": [[0], [-1]]}, ValueError, "row_ids must not be negative, got -1"),
        ({"row_ids": [[0.0], [1.0]]}, TypeError, "row_ids must be .* not an array of float64"),
        ({"row_ids": [0, 1]}, ValueError, "row_ids.*length 1|broadcast"),
        ({"where": [1, 0, 1]}, TypeError, "where must hold booleans"),
        ({"where": np.ones(4, bool)}, ValueError, "broadcast"),
        ({"top_logprobs": -1}, ValueError, "top_logprobs must not be negative, got -1"),
        ({"top_logprobs": 4}, ValueError, "top_logprobs is 4, but rows have only 3 elements"),
        ({"top_logprobs": True}, TypeError, "top_logprobs must be an int, not bool"),
        ({"axis": (0,)}, TypeError, "axis must be an int, not tuple"),
        ({"axis": 2}, np.exceptions.AxisError, "axis 2 is out of bounds"),
        ({"k": 1}, TypeError, "unexpected keyword argument 'k'"),
    ],
)
def test_errors(options, kind, message):
    with pytest.raises(kind, match=message) as error:
        fs.sample(np.zeros((2, 3)), **options)
    assert not re.search(r"\n", str(error.value))


def test_errors_of_logits():
    for x, kind in ((np.zeros((2, 0)), ValueError), (1.0, np.exceptions.AxisError)):
        with pytest.raises(kind):
            fs.sample(x)
    with pytest.raises(TypeError, match="logits is a MaskedArray"):
        fs.sample(np.ma.zeros(3))
    with pytest.raises(TypeError, match="logits has dtype complex128"):
        fs.sample([1j])
