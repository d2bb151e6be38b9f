"""What losses of Partial FC refuse."""

from __future__ import annotations

import math

import fastsoftmax as fs
import numpy as np
import pytest

X, W, T = np.ones((3, 2)), np.ones((5, 2)), [0, 1, 4]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rate": 2}, ValueError, "rate"),
        ({"margin": "sphereface"}, ValueError, "'none', 'arcface' or 'cosface', not 'sphereface'"),
        ({"margin": ("arcface", 0.5, 1)}, ValueError, "margin"),
        ({"margin": ("none", 0.5)}, ValueError, "margin"),
        ({"margin": ("arcface", -0.1)}, ValueError, "margin must be finite and not negative"),
        ({"margin": ("arcface", 3.2)}, ValueError, "at most pi"),
        ({"margin": ("cosface", math.nan)}, ValueError, "margin must be finite"),
        ({"margin": ("cosface", "m")}, TypeError, "margin"),
        ({"margin": 0.5}, TypeError, r"a name or \(name, size\), not float"),
        ({"margin": ()}, ValueError, "margin must be 'none'"),
        ({"margin": "arcface", "normalize": False}, ValueError, "a margin needs normalize"),
        ({"scale": 0.0}, ValueError, "scale must be positive and finite, got 0"),
        ({"scale": -1.0}, ValueError, "scale"),
        ({"scale": math.inf}, ValueError, "scale"),
        ({"scale": math.nan}, ValueError, "scale"),
        ({"targets": [0, 1, 5]}, IndexError, "target 5 of row 2"),
        ({"targets": [0, 1]}, ValueError, r"targets have shape \(2,\), expected \(3,\)"),
        ({"W": np.ones(5)}, ValueError, "W must have 2 dimensions"),
        ({"W": np.ones((5, 3))}, ValueError, "differ in their last dimension"),
        ({"x": np.ones(3)}, ValueError, "x must have 2 dimensions"),
        ({"x": np.ones((3, 2), complex)}, TypeError, "x"),
        ({"reduction": "max"}, ValueError, "reduction"),
        ({"grad_out": 2.0}, ValueError, "grad_out is of use with need_grad only"),
        ({"grad_out": [2.0], "need_grad": True}, ValueError, "grad_out"),
        ({"vocab_size": 5, "need_grad": True}, ValueError, "shard"),
        ({"vocab_size": 4}, ValueError, "vocab_size"),
        ({"rate": fs.PartialFC([0, 1], None, [0.0, 0.0])}, ValueError, "row 4 of W, the target"),
        ({"rate": fs.PartialFC([1, 0, 4], None, None)}, ValueError, "0 follows 1"),
        ({"rate": fs.PartialFC([0, 1, 5], None, None)}, IndexError, "id 5"),
        ({"rate": fs.PartialFC([[0, 1, 4]], None, None)}, ValueError, "1 dimension"),
        ({"rate": fs.PartialFC([0, 1, 4], None, None), "seed": 1}, ValueError, "seed"),
        (
            {"rate": fs.PartialFC([0, 1, 4], None, None), "position": 1},
            ValueError,
            "position is of use with a rate only",
        ),
        ({"rate": (0.5, 0.5)}, TypeError, "a number or a PartialFC, not another tuple"),
        ({"rate": "all"}, TypeError, "rate"),
        ({"rate": fs.Sample([0], [0.0])}, TypeError, "rate"),
        (
            {"rate": fs.PartialFC([0, 1, 4], None, [0.0]), "unbiased": True},
            ValueError,
            r"log_correction has shape \(1,\)",
        ),
        (
            {"rate": fs.PartialFC([0, 1, 3, 4], None, [0, 0, -np.inf, 0]), "unbiased": True},
            ValueError,
            "log_correction of id 3 is -inf",
        ),
        (
            {"rate": fs.PartialFC([0, 1, 4], None, [0, 0, -1.0]), "unbiased": True},
            ValueError,
            "log_correction of id 4, which is a target",
        ),
    ],
)
def test_bad_arguments_of_losses(changes, error, message):
    arguments = {"x": X, "W": W, "targets": T, "rate": 1, **changes}
    with pytest.raises(error, match=message):
        fs.partial_fc_loss(**arguments)


def test_bad_arguments_of_backward():
    sample = fs.partial_fc_sample(T, 5, 1)
    forward = fs.partial_fc_loss(X, W, T, sample)
    with pytest.raises(TypeError, match="expected a LinearCrossEntropy, not tuple"):
        fs.partial_fc_loss_backward((), X, W, T, sample)
    with pytest.raises(TypeError, match="sample must be a PartialFC, not float"):
        fs.partial_fc_loss_backward(forward, X, W, T, 1.0)
    short = forward._replace(max=forward.max[:2])
    with pytest.raises(ValueError, match=r"max has shape \(2,\)"):
        fs.partial_fc_loss_backward(short, X, W, T, sample)
