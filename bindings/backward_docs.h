// Docstrings of the functions in bind_backward.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* softmax_backward_doc =
    R"doc(softmax_backward(grad, y, axis=-1, *, temperature=1.0, out=None)
--

Gradient of the scores x where ``y = softmax(x, axis, temperature=temperature)``.

``y_i * (grad_i - sum_j grad_j * y_j) / temperature``.

Parameters
----------
grad : array_like of any shape
    Gradient of a loss with respect to `y`. Types, strides and tensors as for
    `softmax`.
y : array_like
    What `softmax` returned, of the shape and dtype of `grad`; integers and
    booleans count as float64.
axis : int, tuple of ints or None, default -1
    As for `softmax`.
temperature : float or array_like, default 1.0
    As for `softmax`.
out : numpy.ndarray or writeable tensor, optional
    Written in place and returned. It needs the shape and dtype of `grad`, with
    any strides and in either byte order, and may be `grad` or `y` itself. Where
    it overlaps an input in any other way, that input is copied first.

Returns
-------
numpy.ndarray or tensor
    Of the shape and dtype of `grad` and of its kind, as from `softmax`.

Raises
------
TypeError
    Where `grad` and `y` differ in dtype, for an `out` of another dtype, and
    when `softmax` raises it.
ValueError
    Where `grad` and `y` differ in shape, for an `out` that is read-only, of
    another shape or refers to an element twice, for a temperature that is not
    positive and finite, an axis given twice, shapes that do not broadcast.
numpy.exceptions.AxisError
    For an axis that `grad` does not have.
RuntimeError
    When `softmax` raises it.

Notes
-----
The sum is as good as exact (in double for float32, as a pair of numbers for
float64); beyond its error the result has a relative one of 4 half-units in the
last place at most, also where one element dominates. It depends on the row's elements, dtype and
temperature alone, down to the last bit. NaN and infinities propagate as the
formula says: ``0 * inf`` is NaN, so an infinite `grad` makes its row NaN where
`y` is 0 as well.

References
----------
.. [1] T. Ogita, S. M. Rump and S. Oishi, "Accurate Sum and Dot Product", 2005.

Examples
--------
>>> import fastsoftmax as fs
>>> y = fs.softmax([0.0, 0.0])
>>> fs.softmax_backward([1.0, 0.0], y)
array([ 0.25, -0.25])
)doc";

constexpr const char* log_softmax_backward_doc =
    R"doc(log_softmax_backward(grad, y, axis=-1, *, temperature=1.0, out=None)
--

Gradient of the scores x where ``y = log_softmax(x, axis, temperature=temperature)``.

``(grad_i - e**y_i * sum_j grad_j) / temperature``.

Parameters
----------
grad : array_like of any shape
    Gradient of a loss with respect to `y`. Types, strides and tensors as for
    `softmax`.
y : array_like
    What `log_softmax` returned, of the shape and dtype of `grad`; integers and
    booleans count as float64.
axis : int, tuple of ints or None, default -1
    As for `softmax`.
temperature : float or array_like, default 1.0
    As for `softmax`.
out : numpy.ndarray or writeable tensor, optional
    As for `softmax_backward`.

Returns
-------
numpy.ndarray or tensor
    Of the shape and dtype of `grad` and of its kind, as from `softmax`.

Raises
------
TypeError, ValueError, numpy.exceptions.AxisError, RuntimeError
    When `softmax_backward` raises them.

Notes
-----
``e**y_i`` is 0 where it is below the smallest normal number. NaN and infinities
propagate as the formula says.

References
----------
.. [1] T. Ogita, S. M. Rump and S. Oishi, "Accurate Sum and Dot Product", 2005.

Examples
--------
>>> import fastsoftmax as fs
>>> y = fs.log_softmax([0.0, 0.0])
>>> fs.log_softmax_backward([1.0, 0.0], y)
array([ 0.5, -0.5])
)doc";

}  // namespace fastsoftmax::python
