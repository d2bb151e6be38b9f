// Docstring of the function in bind_cross_entropy.cpp. It begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* cross_entropy_doc =
    R"doc(cross_entropy(logits, targets, axis=-1, *, weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0, softcap=None, reduction='mean', grad_out=None, need_grad=False, inplace_grad=False)
--

Cross-entropy of scores and targets, and its gradient in the same sweep.

For a row of C scores z with target t, ``logsumexp(z) - z_t``, formed without
cancellation. As `torch.nn.functional.cross_entropy`, with the classes on `axis`.

Parameters
----------
logits : array_like of one or more dimensions
    Scores. Types, strides and tensors as for `softmax`.
targets : array_like
    Integers of the shape of `logits` without `axis`: classes from 0 to C - 1.
    Or floating numbers of the shape of `logits`: the probabilities of the
    classes (soft targets, distillation), which are not checked.
axis : int, default -1
    The axis of the classes.
weight : array_like of shape (C,), optional
    Weights of the classes.
ignore_index : int, default -100
    Rows with this target have loss and gradient 0. Of no concern to
    probabilities.
label_smoothing : float, default 0.0
    From 0 to 1: the part of the targets' probability that all classes share.
z_loss : float, default 0.0
    Adds ``z_loss * logsumexp**2`` to the loss of each row, times the weight of
    its target (1 for probabilities).
softcap : float, optional
    Positive: scores become ``softcap * tanh(logits / softcap)`` first. So a
    score of -inf becomes -softcap, and a masked class counts again.
reduction : {'mean', 'sum', 'none'}, default 'mean'
    'mean' divides the sum by that of the targets' weights, without the rows
    that are ignored; for probabilities by the number of rows.
grad_out : float or array_like, optional
    Gradient of what follows with respect to the loss: a number, or without
    reduction one for each row. Default 1.
need_grad : bool, default False
    Whether gradient and logsumexp are wanted too.
inplace_grad : bool, default False
    Likewise, with the gradient in the place of `logits`, which must be an array
    or a tensor that can be written.

Returns
-------
loss, or CrossEntropy where a gradient is wanted
    The named tuple is ``(loss, grad, logsumexp)``. `loss` is a number, or has
    the shape of `logits` without `axis`, as `logsumexp` has; both are float32
    for float16 and bfloat16 `logits`. `grad` has the shape and dtype of
    `logits`. Arrays or tensors as `softmax` returns.

Raises
------
TypeError
    When `softmax` raises it, for targets that are neither integers nor
    floating numbers, and for `inplace_grad` with `logits` that are integers.
ValueError
    For targets, weights or `grad_out` of another shape, options outside of
    their range, `grad_out` without a gradient, read-only `logits` with
    `inplace_grad`.
IndexError
    For a target that is no class; the message names row and value.
numpy.exceptions.AxisError, RuntimeError
    When `softmax` raises them.

Notes
-----
A row with a NaN, with +inf, or of nothing above -inf has a NaN loss and gradient.
A class of weight or probability 0 adds nothing, whatever its score. The mean
over no rows is NaN, as in PyTorch, but the gradient of ignored rows is 0 then
too. The result depends on values, targets and options alone, down to the last
bit; losses are added in the order of rows.

References
----------
.. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer
       Vision", 2016 (label smoothing).
.. [2] A. Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways",
       2022 (z-loss).

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> float(fs.cross_entropy([[0.0, 0.0], [0.0, 0.0]], [0, 1]))
0.6931471805599453
>>> fs.cross_entropy(np.zeros((1, 4)), [2], need_grad=True).grad
array([[ 0.25,  0.25, -0.75,  0.25]])
)doc";

}  // namespace fastsoftmax::python
