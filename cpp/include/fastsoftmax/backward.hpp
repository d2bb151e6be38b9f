// Gradients of the scores x from those of softmax(x) or log_softmax(x): with g the gradient of the
// output, y the output itself and T the temperature,
//
//   softmax_backward      dx_i = y_i (g_i - sum_j g_j y_j) / T
//   log_softmax_backward  dx_i = (g_i - e^(y_i) sum_j g_j) / T
//
// Error: of the sum at most 2^-47 (f64: (2^10 + B^2) 2^-106, B the number of 512-element blocks of
// a row) times sum_j |g_j y_j| or sum_j |g_j|. Beyond that, with u = 2^-24 (f64: 2^-53), the result
// of softmax_backward is within 4 u of itself, that of log_softmax_backward within 2 u of itself
// and 2.3 u of e^(y_i) sum_j g_j, where nothing over- or underflows. f16 and bf16 are computed in
// f32 and rounded once more.
//
// Special values: NaN and infinities as the formulas say, so an infinite g makes its row NaN where
// y = 0, as in PyTorch. e^(y_i) is 0 below the smallest normal number, and +inf above y_i = 88.5
// (f64: 709.5).
//
// The result for a row depends on its elements, dtype and temperature alone: not on instruction
// set, threads, batch, position, layout or alignment. docs/numerics.md has the order of additions.
//
// Source: Ogita, Rump and Oishi, Accurate Sum and Dot Product (2005).
#pragma once

#include <optional>
#include <span>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// As in Options (softmax.hpp): those of the call whose gradient is wanted.
struct BackwardOptions {
  double temperature = 1.0;
  std::optional<ConstView> temperatures;
  int max_threads = 0;
};

// `grad`, `y` and `out` have one shape and, integers counting as f64, one dtype. `axes` as in
// softmax. `out` may be grad or y itself (same data, shape and strides) but must not overlap them
// otherwise.
// Throws InvalidArgument (or a class derived from it), UnsupportedIsa, std::bad_alloc; on a throw
// `out` is untouched.
void softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                      std::span<const int> axes, const BackwardOptions& options = {});
void log_softmax_backward(const ConstView& grad, const ConstView& y, const View& out,
                          std::span<const int> axes, const BackwardOptions& options = {});

}  // namespace fastsoftmax
