// Docstring of the function in bind_stats.cpp. It begins with the signature that inspect.signature
// and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* softmax_stats_doc =
    R"doc(softmax_stats(x, axis=-1, *, temperature=1.0, where=None)
--

What the softmax of each row looks like, in one read of `x`: ``z = x / temperature``,
``p = softmax(z)``.

Parameters
----------
x : array_like of one or more dimensions
    As for `softmax`.
axis : int, default -1
    The axis that is reduced.
temperature : float or array_like, default 1.0
    As for `softmax`.
where : array_like of bool, optional
    Broadcastable against `x`. Elements where it is False are left out.

Returns
-------
SoftmaxStats
    A named tuple of arrays of the shape of `x` without the axis and of the
    dtype of ``softmax(x)`` (scalars and tensors as `logsumexp` returns):
    `max`, the largest z; `logsumexp`, with the bits of the function of that
    name (the negative of the energy); `entropy` of p in nats; `top1`, the largest p;
    `margin`, `top1` less the second largest p. For a row with a NaN all are
    NaN; with ``+inf``, and for rows that admit nothing above ``-inf``, only
    `max` and `logsumexp` are defined and the others NaN.

Raises
------
TypeError, ValueError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them; TypeError for several axes.

Notes
-----
The entropy is ``log1p(R) + sum(p * (max - z))``, R the sum of all exponentials
but the largest, relative to it: no term is negative, so that nothing cancels.
Its error is at most 21 half-units in the last place, to first order.

Examples
--------
>>> import fastsoftmax as fs
>>> stats = fs.softmax_stats([0.0, 0.0])
>>> float(stats.entropy), float(stats.top1), float(stats.margin)
(0.6931471805599453, 0.5, 0.0)
)doc";

}  // namespace fastsoftmax::python
