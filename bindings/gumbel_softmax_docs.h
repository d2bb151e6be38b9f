// The docstring of the function in bind_gumbel_softmax.cpp. It begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* gumbel_softmax_doc =
    R"doc(gumbel_softmax(logits, temperature, *, hard=False, seed=None, axis=-1, position=0, row_ids=None, where=None, empty='nan', out=None, dtype=None, return_soft=False)
--

Softmax of logits with Gumbel noise: draws from a softmax that have a gradient.

``y = softmax((logits + g) / temperature)`` with independent standard Gumbel
noise ``g``. The largest ``logits + g`` is at element i with probability
``softmax(logits)[i]``, whatever `temperature` is.

Parameters
----------
logits : array_like of one or more dimensions
    As for `softmax`.
temperature : float or array_like
    As for `softmax`. The lower, the nearer are rows to one-hot vectors, and
    the larger is the variance of gradients.
hard : bool, default False
    Return one-hot rows: 1 where ``logits + g`` is largest, the first of equal
    ones. They do not depend on `temperature`, and are there even where the
    quotient overflows and the soft rows are NaN.
seed : int, array_like of int or numpy.random.Generator, optional
    As for `sample`. None: a fresh one for each call.
axis : int, default -1
    The axis along which is drawn.
position, row_ids
    As for `sample`.
where, empty, out, dtype
    As for `softmax`.
return_soft : bool, default False
    With `hard`, also return what the function returns without it.

Returns
-------
numpy.ndarray or tensor, or GumbelSoftmax
    Of the shape of `logits`, as from `softmax`. With `return_soft` a named
    tuple ``(hard, soft)`` of two of them, of which `out` is the first.

Raises
------
TypeError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them; TypeError for several axes and where `seed`,
    `position` or `row_ids` are not integers.
ValueError
    When `softmax` raises it, for values of `seed`, `position` and `row_ids`
    that `sample` does not take, for `return_soft` without `hard`, where `out`
    overlaps one of the arrays of numbers for rows, and for rows of 2**32
    elements and more.

Notes
-----
The gradient of `logits` is that of softmax, since noise does not depend on
them: ``softmax_backward(grad, y, axis, temperature=temperature)``, in the
straight-through estimator (`hard`) with the soft y. The same call with
``hard=False`` and the same `seed` gives it too: nothing but the seed need be
kept for a backward pass.

Noise is Philox4x32-10 with the key `seed` and a counter of element, position
and row id. A row's result depends on its values, dtype, mask, temperature,
seed, position and id alone: not on other rows, instruction set, threads or
layout. It has 62 bits, so that elements of any probability down to 1e-18 can
be the largest. Where dtypes differ it is the same but for rounding.
What `sample` and `gumbel_topk` draw under the same seed comes from other
numbers, and is independent: neither adds noise to all elements.

A row that has no softmax becomes NaN, or 0 with ``empty='zero'`` where nothing
is above ``-inf``, with `hard` as well.

References
----------
.. [1] E. Jang, S. Gu and B. Poole, "Categorical Reparameterization with
       Gumbel-Softmax", 2017.
.. [2] C. Maddison, A. Mnih and Y. W. Teh, "The Concrete Distribution: A
       Continuous Relaxation of Discrete Random Variables", 2017.

Examples
--------
>>> import fastsoftmax as fs
>>> import numpy as np
>>> y = fs.gumbel_softmax([[0.0, 1.0], [2.0, -np.inf]], 0.5, seed=1)
>>> y.sum(-1)
array([1., 1.])
>>> float(y[1, 1])
0.0
>>> hard, soft = fs.gumbel_softmax([0.0, 1.0, 2.0], 0.5, hard=True, seed=1, return_soft=True)
>>> bool(hard[soft.argmax()] == hard.sum() == 1)
True
>>> grad = fs.softmax_backward(np.array([1.0, 0.0, 0.0]), soft, temperature=0.5)
)doc";

}  // namespace fastsoftmax::python
