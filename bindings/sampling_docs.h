// Docstrings of the functions in bind_sampling.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* sample_doc =
    R"doc(sample(logits, axis=-1, *, temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None, top_n_sigma=None, where=None, seed=None, position=0, row_ids=None, return_logprobs=False, top_logprobs=0)
--

One index for each row, drawn from the softmax of the row, in one read of `logits`.

The distribution is ``softmax(logits / temperature)`` after the filters that
are asked for, in the order below, each on what the ones before it have left
and renormalized. At least one element always stays. A filter takes one value
for all rows or, as `temperature` does, an array with one for each.

Parameters
----------
logits : array_like of one or more dimensions
    As for `softmax`; the axis must not have length 0.
axis : int, default -1
    The axis along which is drawn.
temperature : float or array_like, default 1.0
    As for `softmax`, and 0: the index of the maximum, the first of equal
    ones, whatever the filters are. An array must broadcast against `logits`
    with length 1 along the axis: for logits of shape (rows, n) it has shape
    (rows, 1).
top_n_sigma : float or array_like, optional
    Scores of at least ``max - top_n_sigma * std``, where std is the standard
    deviation of the row's scores without -inf and masks such as -1e9. None or
    0: off.
top_k : int or array_like of int, optional
    The k largest, equal ones by index. None, 0, or no less than a row has: off.
top_p : float or array_like, optional
    The fewest of the largest whose probabilities reach `top_p`, equal ones by
    index. In [0, 1]; None or 1: off.
min_p : float or array_like, optional
    Probabilities of at least `min_p` times the largest one. In [0, 1]; None
    or 0: off.
typical_p : float or array_like, optional
    The fewest whose probabilities reach `typical_p`, of those whose surprise
    ``-log p`` is closest to the entropy, equal ones by index. In [0, 1]; None
    or 1: off.
where : array_like of bool, optional
    Broadcastable against `logits`. Elements where it is False are not drawn.
seed : int, array_like of int or numpy.random.Generator, optional
    In [0, 2**64). None: a fresh one from the operating system for each call.
    An int gives the same random numbers in every call with the same positions
    and row ids. A generator is asked for 64 bits once per call. An array holds
    one for each row, as for `temperature`.
position : int or array_like of int, default 0
    Such as the step of a decoder: another position gives independent random
    numbers. In [0, 2**32). An array as for `temperature`.
row_ids : array_like of int, optional
    A number for each row, in [0, 2**64), that tells its random numbers from
    those of others; an array as for `temperature`. Default: 0, 1, ... in
    C order.
return_logprobs : bool, default False
    Also return ``log_softmax(logits, temperature=temperature)`` at the index:
    of the whole row, before all filters. At temperature 0: that at
    temperature 1.
top_logprobs : int, default 0
    How many of the largest of them to return too, with their indices, as
    `softmax_topk` does with ``log=True``.

Returns
-------
numpy.ndarray or tensor of int64, or SampleResult
    Indices, of the shape of `logits` without the axis; a NumPy scalar for one
    row. With `return_logprobs` or `top_logprobs` a named tuple ``(indices,
    logprobs, top_logprobs, top_indices)``, None in place of what was not
    asked for. `logprobs` is like the indices, in the dtype of
    ``softmax(logits)``; the last two have length `top_logprobs` along the
    axis. Arrays or tensors as `softmax` returns.

Raises
------
TypeError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them; TypeError for several axes and where `top_k`,
    `seed`, `position`, `row_ids` or `top_logprobs` are not integers.
ValueError
    For values outside the ranges above, shapes that do not broadcast, an
    axis of length 0, `top_logprobs` larger than the axis.

Notes
-----
The random numbers are Philox4x32-10 with the key `seed` and a counter of
position and row id, 53 bits for each of two decisions. A row's result depends
on its values, dtype, mask, options, seed, position and id alone: not on other
rows, instruction set, threads or layout.

A row that has no softmax, for a NaN, ``+inf`` or because nothing is admitted,
gives the index that ``softmax_topk(logits, 1, where=where)`` gives; its
logprobs are NaN.

References
----------
.. [1] J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
.. [2] A. Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k).
.. [3] A. Holtzman et al., "The Curious Case of Neural Text Degeneration",
       2020 (top-p).
.. [4] C. Meister et al., "Locally Typical Sampling", 2023.
.. [5] M. Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and
       Coherent LLM Outputs", 2024.
.. [6] C. Tang et al., "Top-nsigma: Not All Logits Are You Need", 2024.

Examples
--------
>>> import fastsoftmax as fs
>>> import numpy as np
>>> logits = np.array([[3.0, 3.0, -np.inf], [-np.inf, -np.inf, 5.0]])
>>> int(fs.sample(logits, seed=1)[1])
2
>>> fs.sample(logits, temperature=[[0.0], [1.0]], seed=1)
array([0, 2])
>>> fs.sample(logits[1], seed=1, return_logprobs=True).logprobs
np.float64(0.0)
)doc";

constexpr const char* gumbel_topk_doc =
    R"doc(gumbel_topk(logits, k, axis=-1, *, temperature=1.0, where=None, seed=None, position=0, row_ids=None)
--

k different indices for each row, drawn one after another from what is left of its softmax.

Sampling without replacement: the first is what `sample` draws, each further
one comes from the rest, renormalized (Plackett-Luce). The values are
distributed as the k largest of ``log_softmax(logits)`` with independent
standard Gumbel noise.

Parameters
----------
logits : array_like of one or more dimensions
    As for `softmax`; the axis must not have length 0.
k : int
    How many, from 0 to the length of the axis.
axis : int, default -1
    The axis along which is drawn.
temperature : float or array_like, default 1.0
    As for `softmax`.
where, seed, position, row_ids
    As for `sample`.

Returns
-------
GumbelTopK
    A named tuple ``(values, indices)``. `values` are perturbed logarithms of
    probabilities, descending, in the dtype of ``softmax(logits)``; `indices`
    are int64 and distinct for every row. Both have the shape of `logits` with
    length k along the axis, in C order. Arrays or tensors as `softmax`
    returns.

Raises
------
TypeError, numpy.exceptions.AxisError, RuntimeError
    When `sample` raises them; TypeError for a `k` that is not an int.
ValueError
    When `sample` raises it, for k < 0 or k larger than the axis, and for a
    temperature of 0.

Notes
-----
Scores below -90852, which have probability 0, come last with the value
``-inf``, in the order of `softmax_topk`; what `where` leaves out is behind them. A row without a softmax has NaN for values and the
indices of `softmax_topk`.

References
----------
.. [1] J. Yellott, "The relationship between Luce's choice axiom, Thurstone's
       theory of comparative judgment, and the double exponential
       distribution", 1977.
.. [2] W. Kool et al., "Stochastic Beams and Where to Find Them", 2019.

Examples
--------
>>> import fastsoftmax as fs
>>> values, indices = fs.gumbel_topk([0.0, 1.0, 2.0, 3.0], 4, seed=7)
>>> sorted(indices.tolist())
[0, 1, 2, 3]
>>> bool((values[:-1] >= values[1:]).all())
True
)doc";

}  // namespace fastsoftmax::python
