// Docstrings of the functions in bind_softmax.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* softmax_doc =
    R"doc(softmax(x, axis=-1, *, temperature=1.0, where=None, empty='nan', out=None, dtype=None, algorithm='auto')
--

Softmax: ``e**z_i / sum_j e**z_j`` with ``z = x / temperature``.

Parameters
----------
x : array_like of any shape
    float16, bfloat16, float32, float64, an integer type or bool, with any
    strides and in either byte order. A NumPy array, anything that
    ``numpy.asarray`` takes, or a CPU tensor of another library that speaks
    DLPack (read where it lies, without a copy). A floating array in the memory
    of an NVIDIA GPU is computed there, with the other arrays of the call, where
    the CUDA library is installed (docs/cuda.md); so it is by `log_softmax`,
    `logsumexp`, `softmax_backward`, `log_softmax_backward`, `cross_entropy`,
    `softmax_stats`, `softmax_topk`, `topk` and `sample`.
axis : int, tuple of ints or None, default -1
    The axes that are reduced together; None for all of them, also where `x`
    has none. With ``()`` every element is a row of its own.
temperature : float or array_like, default 1.0
    Above 1 flattens the distribution, below 1 sharpens it. Positive and
    finite, also after rounding to the type the row is computed in (float32,
    or float64 for float64). An array must broadcast against `x` with length 1
    along the reduced axes.
where : array_like of bool, optional
    Broadcastable against `x`. Elements where it is False take no part, not
    even as NaN, and come out as 0.
empty : {'nan', 'zero'}, default 'nan'
    What a row becomes that is all ``-inf`` or admits no element.
out : numpy.ndarray or writeable tensor, optional
    Written in place and returned. It needs the result's shape and dtype, with
    any strides and in either byte order, and may be `x` itself. Where it
    overlaps an input in any other way, that input is copied first.
dtype : {float16, bfloat16, float32, float64}, optional
    Compute as if `x` had been converted to this type first. By default
    floating types stay what they are, all others become float64.
algorithm : str, default 'auto'
    'three_pass_reload', 'three_pass_recompute', 'two_pass', 'online' or
    'online_reload'. They differ in speed only: the bits of the result are the
    same. See `explain`.

Returns
-------
numpy.ndarray or tensor
    Of the shape of `x`. Subclasses of ndarray pass through their
    ``__array_wrap__``; tensors come back as a tensor of their own library.

Raises
------
TypeError
    For a dtype that is not supported (complex, object, strings, ...), an `out`
    of another dtype than the result's, a MaskedArray, a tensor on another
    device than the CPU or an NVIDIA GPU, arrays on the CPU beside `x` on a GPU
    or the other way round, an immutable tensor as `out`, a mask that is not
    boolean.
ValueError
    For a temperature that is not positive and finite, shapes that do not
    broadcast, an axis given twice, an `out` that is read-only, of the wrong
    shape or refers to an element twice, unknown `empty` or `algorithm`.
numpy.exceptions.AxisError
    For an axis that `x` does not have.
RuntimeError
    For a tensor that requires gradients while its library records them, and
    where FASTSOFTMAX_ISA names an instruction set that is unknown, not built or
    not supported by this CPU. For arrays on a GPU, where there is no CUDA
    library, no driver or no device, and for errors of the device.

Notes
-----
The result for a row depends on that row's values, dtype, mask and temperature
alone: not on algorithm, instruction set, threads, batch, layout or alignment.
A row with a NaN or ``+inf`` becomes NaN throughout. The result lies in memory
as `x` does (NumPy's order 'K').

References
----------
.. [1] M. Dukhan and A. Ablavatski, "The Two-Pass Softmax Algorithm", 2020.
.. [2] M. Milakov and N. Gimelshein, "Online normalizer calculation for
       softmax", 2018.

Examples
--------
>>> import fastsoftmax as fs
>>> fs.softmax([[0.0, 0.0], [1.0, float("-inf")]])
array([[0.5, 0.5],
       [1. , 0. ]])
)doc";

constexpr const char* log_softmax_doc =
    R"doc(log_softmax(x, axis=-1, *, temperature=1.0, where=None, empty='nan', out=None, dtype=None, algorithm='auto')
--

Logarithm of the softmax: ``z_i - log(sum_j e**z_j)`` with ``z = x / temperature``.

Accurate where the softmax itself is near 0 or near 1, and under a large common
offset of the row.

Parameters
----------
x : array_like of any shape
    As for `softmax`.
axis : int, tuple of ints or None, default -1
    The axes that are reduced together; None for all of them.
temperature : float or array_like, default 1.0
    As for `softmax`.
where : array_like of bool, optional
    Broadcastable against `x`. Elements where it is False take no part and come
    out as ``-inf``.
empty : {'nan', 'zero'}, default 'nan'
    What a row becomes that is all ``-inf`` or admits no element: NaN, or the
    logarithm of zero, ``-inf``.
out : numpy.ndarray or writeable tensor, optional
    As for `softmax`.
dtype : {float16, bfloat16, float32, float64}, optional
    As for `softmax`.
algorithm : str, default 'auto'
    As for `softmax`.

Returns
-------
numpy.ndarray or tensor
    Of the shape of `x`, of the kind that `softmax` returns.

Raises
------
TypeError, ValueError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them.

References
----------
.. [1] M. Dukhan and A. Ablavatski, "The Two-Pass Softmax Algorithm", 2020.
.. [2] M. Milakov and N. Gimelshein, "Online normalizer calculation for
       softmax", 2018.

Examples
--------
>>> import fastsoftmax as fs
>>> fs.log_softmax([1000.0, 0.0])
array([    0., -1000.])
)doc";

constexpr const char* logsumexp_doc =
    R"doc(logsumexp(x, axis=-1, *, temperature=1.0, where=None, keepdims=False, out=None, dtype=None)
--

Logarithm of the sum of exponentials: ``log(sum_j e**z_j)`` with ``z = x / temperature``.

Parameters
----------
x : array_like of any shape
    As for `softmax`.
axis : int, tuple of ints or None, default -1
    The axes that are reduced together; None for all of them.
temperature : float or array_like, default 1.0
    As for `softmax`.
where : array_like of bool, optional
    Broadcastable against `x`. Elements where it is False are left out.
keepdims : bool, default False
    Keep the reduced axes with length 1.
out : numpy.ndarray or writeable tensor, optional
    Written in place and returned; needs the result's shape and dtype.
dtype : {float16, bfloat16, float32, float64}, optional
    As for `softmax`.

Returns
-------
numpy.ndarray, NumPy scalar or tensor
    Of the shape of `x` without the reduced axes. Where nothing of that shape
    remains a NumPy scalar, as from ``numpy.sum``; a 0-d tensor for tensors.
    ``-inf`` for a row that is empty, all ``-inf`` or admits no element;
    ``+inf`` for one that holds ``+inf`` and no NaN.

Raises
------
TypeError, ValueError, numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them.

References
----------
.. [1] M. Milakov and N. Gimelshein, "Online normalizer calculation for
       softmax", 2018.

Examples
--------
>>> import fastsoftmax as fs
>>> float(fs.logsumexp([1000.0, 0.0]))
1000.0
)doc";

constexpr const char* explain_doc =
    R"doc(explain(x, axis=-1, *, op='softmax', temperature=1.0, where=None, empty='nan', out=None, dtype=None, algorithm='auto')
--

What a call with these arguments would do, and why; nothing is computed.

Parameters
----------
x, axis, temperature, where, empty, out, dtype, algorithm
    As for `softmax`; checked in the same way.
op : {'softmax', 'log_softmax', 'logsumexp'}, default 'softmax'
    The function to explain. For 'logsumexp', `out` may keep the reduced axes
    or not.

Returns
-------
Plan
    The algorithm, blocking, threads and stores chosen, with the reasons;
    ``print`` shows it in words.

Raises
------
TypeError, ValueError, numpy.exceptions.AxisError, RuntimeError
    When the function itself would raise them; ValueError for an unknown `op`.

Examples
--------
>>> import fastsoftmax as fs
>>> import numpy as np
>>> fs.explain(np.zeros((4, 1000), np.float32), algorithm="online").algorithm
'online'
)doc";

}  // namespace fastsoftmax::python
