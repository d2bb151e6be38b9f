// Docstrings of the functions in bind_linear.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* linear_logsumexp_doc =
    R"doc(linear_logsumexp(x, W, bias=None, *, temperature=1.0)
--

``logsumexp((x @ W.T + bias) / temperature)`` of each row, without the scores.

Scores are formed tile by tile by `numpy.matmul`, which is BLAS, and summed
while they are in cache: the memory needed is a few MiB, and some numbers per row
and class.

Parameters
----------
x : array_like of shape (N, D)
    Inputs of the layer. Types, strides and tensors as for `softmax`.
W : array_like of shape (V, D)
    A row of weights for each class.
bias : array_like of shape (V,), optional
    Added to the scores.
temperature : float, default 1.0
    Positive and finite: scores are divided by it.

Returns
-------
numpy.ndarray or tensor of shape (N,)
    float64 where `x` or `W` is float64 or holds integers, else float32, also
    for float16 and bfloat16, whose products are summed in float32. Of the kind
    of `x`, as from `softmax`.

Raises
------
TypeError
    For a dtype that is not supported, and when `softmax` raises it.
ValueError
    For shapes that do not fit, a temperature that is not positive and finite.
RuntimeError
    When `softmax` raises it.

Notes
-----
Given the scores, the result has the bits of `logsumexp`; the bits of the scores
are those of the matrix product. Arrays that BLAS cannot take as they lie
are converted tile by tile, never as a whole.

References
----------
.. [1] E. Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models",
       2025.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> fs.linear_logsumexp([[1.0, 0.0]], np.zeros((4, 2))) - np.log(4)
array([0.])
)doc";

constexpr const char* linear_log_prob_doc =
    R"doc(linear_log_prob(x, W, ids, bias=None, *, temperature=1.0)
--

Logarithms of the probabilities of certain classes, without the scores.

``log_softmax((x @ W.T + bias) / temperature)`` at `ids`.

Parameters
----------
x : array_like of shape (N, D)
    Inputs of the layer, as for `linear_logsumexp`.
W : array_like of shape (V, D)
    A row of weights for each class.
ids : array_like of integers of shape (N,) or (N, M)
    Classes from 0 to V - 1: one, or M of them, for each row.
bias : array_like of shape (V,), optional
    Added to the scores.
temperature : float, default 1.0
    Positive and finite: scores are divided by it.

Returns
-------
numpy.ndarray or tensor
    Of the shape of `ids` and the dtype that `linear_logsumexp` has.

Raises
------
IndexError
    For an id that is no class; the message names row and value.
TypeError, ValueError, RuntimeError
    When `linear_logsumexp` raises them.

Notes
-----
Formed in double from the row's maximum and the logarithm of its sum relative to
that, so that nothing cancels where a class has nearly all of the probability.
NaN for a row with a NaN, with +inf, or of nothing above -inf.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> np.exp(fs.linear_log_prob([[1.0, 0.0]], np.zeros((4, 2)), [3]))
array([0.25])
)doc";

constexpr const char* linear_topk_doc =
    R"doc(linear_topk(x, W, k, bias=None, *, temperature=1.0, log=False)
--

The k most probable classes of each row, without the scores.

`softmax_topk` of ``(x @ W.T + bias) / temperature``: the same classes in the same
order, with probabilities that may differ in their last places.

Parameters
----------
x : array_like of shape (N, D)
    Inputs of the layer, as for `linear_logsumexp`.
W : array_like of shape (V, D)
    A row of weights for each class.
k : int
    From 0 to V.
bias : array_like of shape (V,), optional
    Added to the scores.
temperature : float, default 1.0
    Positive and finite: scores are divided by it.
log : bool, default False
    Whether logarithms of the probabilities are wanted.

Returns
-------
LinearTopK
    A named tuple ``(values, indices, logsumexp)`` of arrays or tensors of the
    kind of `x`: values (N, k) and logsumexp (N,) of the dtype that
    `linear_logsumexp` has, indices (N, k) int64. Probabilities are normalized
    over all classes.

Raises
------
TypeError, ValueError, RuntimeError
    When `linear_logsumexp` raises them; ValueError also for a `k` that is
    negative or larger than V.

Notes
-----
Order and ties as in `softmax_topk`: value descending, then class ascending; NaN
counts as largest. The values of a row that has no softmax are NaN.

References
----------
.. [1] M. Milakov and N. Gimelshein, "Online normalizer calculation for
       softmax", 2018.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> fs.linear_topk([[1.0, 0.0]], np.eye(3, 2), 2, log=True).indices
array([[0, 1]])
)doc";

}  // namespace fastsoftmax::python
