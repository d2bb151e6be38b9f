// Cross-entropy of scores along one axis and its gradient, in one sweep. With M the maximum of a
// row of C scores z, L the log of the sum of e^(z - M), and q the classes' probabilities,
//
//   loss of a row = sum_c w_c q_c (L - (z_c - M)) + z_loss w (M + L)^2
//
// where q is one-hot for integer targets, mixed with the uniform distribution by label_smoothing:
// (1 - label_smoothing) q_c + label_smoothing / C. The weight w of the last term is w_t for a
// target t and 1 for class probabilities. With softcap s, z is s tanh(z / s) throughout.
//
// Error, with u = 2^-24 (f64: 2^-53): the loss is formed in double from M, L and z_t, so that
// nothing cancels under a common offset of the scores or where the target has nearly all of the
// mass, and rounded once. The gradient is within 8 u (f64: (10 + L) u) of itself but where two of
// its terms cancel or a probability underflows, and at the target also where its probability is
// nearly 1; f16 and bf16 are rounded once more. With softcap, scores are off by 4 u of themselves,
// and the derivative of tanh by 3 u of 1.
//
// Special values: a row with a NaN, with +inf, or of nothing above -inf has a NaN loss and
// gradient; softcap comes first and makes +-inf +-s, so that a class masked before takes part
// again. A class of probability or weight 0 adds nothing, whatever its score. Rows whose target is
// ignore_index have loss and gradient 0, whatever they hold. The mean over no rows is NaN.
//
// The result for a row depends on its elements, targets and options alone; sums over rows have an
// order of their own. So results do not depend on instruction set, threads, batch or layout.
//
// Sources: Szegedy et al., Rethinking the Inception Architecture (2016), label smoothing; Chowdhery
// et al., PaLM (2022), z-loss; Gemma Team, Gemma 2 (2024), soft-capping.
#pragma once

#include <cstdint>
#include <optional>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// mean divides by the sum of the targets' weights, or, for class probabilities, by the number of
// rows.
enum class Reduction : std::uint8_t { none, sum, mean };

struct CrossEntropyOptions {
  std::optional<ConstView> weight;  // f64, one for each class
  std::int64_t ignore_index = -100;
  double label_smoothing = 0.0;  // 0 to 1
  double z_loss = 0.0;           // finite, not negative
  double softcap = 0.0;          // finite; 0: none
  Reduction reduction = Reduction::mean;
  // f64: gradient of what follows with respect to the loss, one for each row or a single one;
  // default 1.
  std::optional<ConstView> grad_out;
  int max_threads = 0;
};

// Views of null data are not wanted. `loss` and `logsumexp` are f64 for f64 and integer logits,
// else f32; `logsumexp`, and `loss` without reduction, have the shape of the logits with length 1
// along the axis and are dense in C order; with a reduction `loss` has no axes. `grad` has the
// shape and result_dtype of the logits, any strides, and may be the logits themselves.
struct CrossEntropyOutputs {
  View loss;
  View grad;
  View logsumexp;
};

// `targets` are i64 in native byte order and of the shape of the logits without the axis, or
// floating and of the shape of the logits: probabilities of the classes, which are not checked.
// Throws InvalidArgument (or a class derived from it; InvalidIndex for a target that is no class),
// UnsupportedIsa, std::bad_alloc; on a throw outputs are untouched.
void cross_entropy(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options = {});

}  // namespace fastsoftmax
