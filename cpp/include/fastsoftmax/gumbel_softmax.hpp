// Softmax of scores with Gumbel noise: draws from a softmax that have a gradient.
//
//   y = softmax((x + g) / temperature),   g_i = -log(-log u_i), u_i uniform in (0, 1)
//
// along one axis. The largest x_i + g_i is element i with probability softmax(x)_i, whatever the
// temperature is; for a small one y is nearly the one-hot vector of it, for a large one nearly
// uniform.
//
// Gradient: dL/dx = softmax_backward(dL/dy, y, temperature) (backward.hpp), because noise does not
// depend on x. With `hard` the same is the straight-through estimator, with the soft y.
//
// Randomness: Philox4x32-10 as in sampling.hpp, with the counter (element, position, row id), of
// which sample() and gumbel_topk() take others: what they draw under the same seed is independent.
// A row's result depends on that row's values, dtype, mask, temperature, seed, position and id
// alone. u has 62 bits, whatever the dtype is.
//
// Error: noise is within 5 u max(1, |g|), u = 2^-24 (f64: 2^-53), measured; x + g and its quotient
// are rounded; softmax as in softmax.hpp. See docs/numerics.md.
// Special values are those of softmax; -inf stays without probability.
//
// Sources: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax (2017); Maddison,
// Mnih and Teh, The Concrete Distribution (2017).
#pragma once

#include <optional>

#include "fastsoftmax/sampling.hpp"
#include "fastsoftmax/softmax.hpp"

namespace fastsoftmax {

struct GumbelSoftmaxOptions {
  PerRow<double> temperature{1.0, {}};  // positive
  // One-hot rows: 1 where x + g is largest, the first of equal ones, whatever the temperature is,
  // also where the quotient overflows; NaN or 0 where softmax(x) is.
  bool hard = false;
  std::optional<ConstView> where;  // as in Options, as are the others
  EmptyRow empty = EmptyRow::nan;
  std::optional<DType> dtype;
  RandomSource random;
  int max_threads = 0;
};

// `out` has the shape of x and the result's dtype; it may be x itself but must not overlap it
// otherwise, nor another array of the call. soft, if given: what `out` is without `hard`, likewise.
// `axis` is in [-ndim, ndim), and not longer than 2^32 - 1. A worker needs memory for a row where
// `out` cannot hold one of the arithmetic type besides x.
// Throws InvalidArgument (or a class derived from it), UnsupportedIsa, std::bad_alloc; on a throw
// outputs are untouched.
void gumbel_softmax(const ConstView& x, int axis, const View& out,
                    const GumbelSoftmaxOptions& options = {}, const View* soft = nullptr);

}  // namespace fastsoftmax
