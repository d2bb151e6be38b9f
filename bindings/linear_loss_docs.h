// Docstrings of the functions in bind_linear_cross_entropy.cpp. Each begins with the signature that
// inspect.signature and help() show.
#pragma once

namespace fastsoftmax::python {

constexpr const char* linear_cross_entropy_doc =
    R"doc(linear_cross_entropy(x, W, targets, bias=None, *, weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0, softcap=None, reduction='mean', grad_out=None, need_grad=False, grad_mass_tol=0.0, vocab_start=0, vocab_size=None, tile_bytes=50331648)
--

``cross_entropy(x @ W.T + bias, targets)`` and its gradients, without the scores.

Scores are formed tile by tile by `numpy.matmul`, which is BLAS, and used while
they are in cache.

Parameters
----------
x : array_like of shape (N, D)
    Inputs of the layer. Types, strides and tensors as for `softmax`.
W : array_like of shape (V, D)
    A row of weights for each class.
targets : array_like of integers of shape (N,)
    Classes from `vocab_start` to ``vocab_start + V - 1``, with `vocab_size` from
    0 to ``vocab_size - 1``.
bias : array_like of shape (V,), optional
    Added to the scores.
weight : array_like of shape (V,), optional
    Weights of the classes from 0 on; of all `vocab_size` of them where that is
    given.
ignore_index : int, default -100
    Rows with this target have loss and gradient 0 and take no part in products.
label_smoothing : float, default 0.0
    As for `cross_entropy`.
z_loss : float, default 0.0
    As for `cross_entropy`.
softcap : float, optional
    As for `cross_entropy`; at most 65536.
reduction : {'mean', 'sum', 'none'}, default 'mean'
    As for `cross_entropy`.
grad_out : float or array_like, optional
    Gradient of what follows with respect to the loss: a number, or without
    reduction one for each row. Default 1. Where it is not known yet, see
    `linear_cross_entropy_backward`.
need_grad : bool, default False
    Whether gradients are wanted.
grad_mass_tol : float, default 0.0
    From 0 to 1. Blocks of classes whose probabilities add up to so little that
    no row leaves out more than this altogether are left out of the products
    that make the gradients; never one with a target. See Notes.
vocab_start : int, default 0
    `W` holds the classes from this one on.
vocab_size : int, optional
    The number of classes of all processes, where the vocabulary is split over
    several. Targets may be classes of others then, and the result is a shard
    for `merge_shards`.
tile_bytes : int, default 50331648
    Memory for scores when gradients are wanted: more rows at a time make the
    products faster. Where it holds fewer than about 48 rows, scores are computed
    twice. A thread keeps up to 256 MiB for its next call.

Returns
-------
LinearCrossEntropy
    A named tuple ``(loss, max, logsum, target_logit, grad_x, grad_W,
    grad_bias)`` of arrays or tensors of the kind of `x`; None for what is not
    there. `loss` is a number, or has shape (N,). `max` of the scores, `logsum`,
    the logarithm of the sum of ``exp(score - max)``, and the target's score
    are float64 of shape (N,). Loss and gradients are float64 where `x` or `W`
    is float64 or holds integers, else float32.

Raises
------
TypeError
    For a dtype that is not supported, targets that are not integers, and when
    `softmax` raises it.
ValueError
    For shapes that do not fit, options outside of their range, `grad_out`
    without `need_grad`; with `vocab_size` for label smoothing and `need_grad`.
IndexError
    For a target that is no class; the message names row and value.
RuntimeError
    When `softmax` raises it.

Notes
-----
Special values as for `cross_entropy`. A row that is ignored has maximum -inf,
logsum 0 and target_logit 0.

Memory beyond inputs and results is `tile_bytes`, a few MiB, and some numbers
per row and class.
Products are multiplied by as many threads as BLAS has, all else by those of
`set_num_threads`; the order of additions does not depend on either.

With ``f`` the factor of a row's probabilities in its gradient (for a mean the
target's weight over the sum of weights), ``tol = grad_mass_tol`` puts each row of
`grad_x` off by at most ``abs(f) * tol * max(norm(W[c]))``, and all rows of
`grad_W` together by at most the sum over rows of ``abs(f) * tol * norm(x[n])``.
With label smoothing nothing is left out.

References
----------
.. [1] E. Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models",
       2025.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> result = fs.linear_cross_entropy(np.ones((2, 3)), np.zeros((4, 3)), [0, 1], need_grad=True)
>>> float(result.loss)
1.3862943611198906
>>> result.grad_W[:, 0]
array([-0.25, -0.25,  0.25,  0.25])
)doc";

constexpr const char* linear_cross_entropy_backward_doc =
    R"doc(linear_cross_entropy_backward(forward, x, W, targets, bias=None, *, grad_out=None, weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0, softcap=None, reduction='mean', grad_mass_tol=0.0, vocab_start=0, vocab_size=None)
--

Gradients of `linear_cross_entropy`, once the gradient of what follows is known.

Scores are computed anew, tile by tile. With shards of a vocabulary, each process
calls it with its own `W` and what `merge_shards` returned: `grad_W` and
`grad_bias` are then those of its classes, and the sum of all `grad_x` is that
of the whole.

Parameters
----------
forward : LinearCrossEntropy
    What `linear_cross_entropy` or `merge_shards` returned, of which `max` and
    `logsum` are read.
x : array_like of shape (N, D)
    As for `linear_cross_entropy`.
W : array_like of shape (V, D)
    As for `linear_cross_entropy`.
targets : array_like of integers of shape (N,)
    As for `linear_cross_entropy`.
bias : array_like of shape (V,), optional
    As for `linear_cross_entropy`.
grad_out : float or array_like, optional
    As for `linear_cross_entropy`.
weight, ignore_index, label_smoothing, z_loss, softcap, reduction : optional
    As in the call that returned `forward`.
grad_mass_tol : float, default 0.0
    As for `linear_cross_entropy`.
vocab_start : int, default 0
    As for `linear_cross_entropy`.
vocab_size : int, optional
    As for `linear_cross_entropy`.

Returns
-------
LinearGradients
    A named tuple ``(grad_x, grad_W, grad_bias)`` as of `linear_cross_entropy`;
    None for a bias that is not there.

Raises
------
TypeError, ValueError, IndexError, RuntimeError
    When `linear_cross_entropy` raises them; TypeError also for another
    `forward`.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> layer = np.ones((2, 3)), np.zeros((4, 3)), [0, 1]
>>> forward = fs.linear_cross_entropy(*layer, reduction='none')
>>> fs.linear_cross_entropy_backward(forward, *layer, grad_out=[4, 0], reduction='none').grad_W[:, 0]
array([-3.,  1.,  1.,  1.])
)doc";

constexpr const char* merge_shards_doc =
    R"doc(merge_shards(shards, targets=None, *, weight=None, z_loss=0.0, reduction='mean')
--

Joins the shards of a vocabulary that several processes have computed.

Parameters
----------
shards : sequence of LinearCrossEntropy
    Results of `linear_cross_entropy`, `sampled_softmax_loss` or
    `partial_fc_loss` with `vocab_size`, of which `max`, `logsum` and
    `target_logit` are read.
targets : array_like of integers of shape (N,), optional
    As for `linear_cross_entropy`; needed with `weight` only.
weight : array_like of shape (vocab_size,), optional
    Weights of the classes; with shards of `linear_cross_entropy` only.
z_loss : float, default 0.0
    As for `linear_cross_entropy`; likewise.
reduction : {'mean', 'sum', 'none'}, default 'mean'
    As for `linear_cross_entropy`.

Returns
-------
LinearCrossEntropy
    As `linear_cross_entropy` over the whole vocabulary returns it, without
    gradients; see `linear_cross_entropy_backward`,
    `sampled_softmax_loss_backward` and `partial_fc_loss_backward`. All float64,
    of the kind of the first shard.
    Where rows have several targets, `target_logit` has shape (N, num_true).

Raises
------
TypeError
    For shards that are none.
ValueError
    For no shards, shapes that differ, weights without targets or with several
    targets for each row.
IndexError
    For a target that has no weight.

Notes
-----
The logarithm of the sum is joined relative to the shard with the largest
maximum, in double: nothing is lost under a common offset of the scores or where
one class dominates. The result depends on the order of shards in the last bits
alone.

Shards do not say what they are of. Those of different losses, inputs or options,
of `sampled_softmax_loss` with different samples, and `weight` or `z_loss` with
shards of samples that have one target for each row, are not refused; what
comes out is no loss then.

References
----------
.. [1] M. Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter
       Language Models Using Model Parallelism", 2019.

Examples
--------
>>> import numpy as np, fastsoftmax as fs
>>> x, W = np.ones((1, 2)), np.zeros((4, 2))
>>> shards = [fs.linear_cross_entropy(x, W[v:v + 2], [3], vocab_start=v, vocab_size=4)
...           for v in (0, 2)]
>>> float(fs.merge_shards(shards).loss)
1.3862943611198906
)doc";

}  // namespace fastsoftmax::python
