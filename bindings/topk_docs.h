// Docstrings of the functions in bind_topk.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* softmax_topk_doc =
    R"doc(softmax_topk(x, k, axis=-1, *, temperature=1.0, where=None, normalize='full', log=False, empty='nan', return_logsumexp=False)
--

The k largest probabilities of the softmax along an axis, and where they are, in one read of `x`.

Exact for every k from 0 to the length of the axis. The order is by score
descending, then by index ascending; scores are ``z = x / temperature``.

Parameters
----------
x : array_like of one or more dimensions
    As for `softmax`.
k : int
    How many, from 0 to the length of the axis.
axis : int, default -1
    The axis along which is selected and normalized.
temperature : float or array_like, default 1.0
    As for `softmax`.
where : array_like of bool, optional
    Broadcastable against `x`. Elements where it is False have probability 0
    and come after all others, those that are ``-inf`` included.
normalize : {'full', 'topk'}, default 'full'
    Over what probabilities add up to 1: the whole row, or the k selected
    elements, as a router of experts needs it.
log : bool, default False
    Logarithms of the probabilities.
empty : {'nan', 'zero'}, default 'nan'
    As for `softmax`.
return_logsumexp : bool, default False
    Also return `logsumexp` of the whole rows, whatever `normalize` is.

Returns
-------
SoftmaxTopK or SoftmaxTopKLogsumexp
    A named tuple ``(values, indices)``, with `return_logsumexp`
    ``(values, indices, logsumexp)``. `values` has the dtype of ``softmax(x)``
    and its bits at these indices (`log`: those of `log_softmax`); with
    ``normalize='topk'`` those of the softmax of the k selected elements in
    this order. `indices` are int64, valid and distinct for every row. Both
    have the shape of `x` with length k along the axis, in C order;
    `logsumexp` is without the axis. Arrays or tensors as `softmax` returns.

Raises
------
TypeError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them; TypeError for a `k` that is not an int and for
    several axes.
ValueError
    For k < 0 or k larger than the axis, an unknown `normalize`, and when
    `softmax` raises it.

Notes
-----
NaN counts as largest, as in NumPy and PyTorch; all values of a row with a NaN
are NaN. The result for a row depends on that row's values, dtype, mask and
temperature alone.

References
----------
.. [1] M. Milakov and N. Gimelshein, "Online normalizer calculation for
       softmax", 2018, section 4.

Examples
--------
>>> import fastsoftmax as fs
>>> values, indices = fs.softmax_topk([0.0, 9.0, 0.0, 9.0], 2)
>>> indices
array([1, 3])
>>> fs.softmax_topk([0.0, 9.0, 0.0, 9.0], 2, normalize="topk").values
array([0.5, 0.5])
)doc";

constexpr const char* topk_doc =
    R"doc(topk(x, k, axis=-1, *, largest=True)
--

The k largest elements along an axis, or the k smallest, and where they are.

Exact for every k and dtype, integers included. The order is by value, then by
index ascending; -0 equals +0.

Parameters
----------
x : array_like of one or more dimensions
    As for `softmax`.
k : int
    How many, from 0 to the length of the axis.
axis : int, default -1
    The axis along which is selected.
largest : bool, default True
    Largest first; False: smallest first. NaN counts as largest in both cases,
    as in NumPy's and PyTorch's sort.

Returns
-------
TopK
    A named tuple ``(values, indices)``: elements of `x` of its dtype, and
    int64. Both have the shape of `x` with length k along the axis, in C order.
    Arrays or tensors as `softmax` returns.

Raises
------
TypeError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them; TypeError for a `k` that is not an int and for
    several axes.
ValueError
    For k < 0 or k larger than the axis.

Examples
--------
>>> import fastsoftmax as fs
>>> fs.topk([3, 1, 4, 1, 5], 2).values
array([5, 4])
>>> fs.topk([3, 1, 4, 1, 5], 2, largest=False).indices
array([1, 3])
)doc";

}  // namespace fastsoftmax::python
