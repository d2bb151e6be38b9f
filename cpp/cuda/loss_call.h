// Cross-entropy of rows on a device: what the core tells libfastsoftmax_cuda. Sizes count elements,
// strides bytes.
#pragma once

#include "cuda/interface.h"
#include "row_loss.h"

namespace fastsoftmax::cuda {

// An element for each row, in the order of rows; of the axes' strides only x is used.
struct RowArray {
  const char* data;  // null: there is none
  DType dtype;
  Axes axes;
};

enum class RowSum : int { none, sum, mean };

// Beside the rows.
struct LossTerms {
  // Classes, integers of any type; or floating numbers, probabilities, of which this is the first
  // of each row, and the others lie target_step apart.
  RowArray targets;
  std::int64_t target_step;
  std::int64_t ignore_index;
  const char* weight;  // of the classes; null: 1
  DType weight_dtype;
  std::int64_t weight_step;
  kernels::Coefficients coefficients;
  double share;  // k = (p * share + spread) * weight
  double spread;
  LossWeights weights;  // of a row whose target weighs 1; upstream: where there is no array
  double softcap;
  RowArray upstream;  // gradient with respect to the losses
  RowSum reduction;
  // f32, with f64 logits f64. `logsumexp`, unless null, and the loss without reduction have an
  // element for each row, dense.
  char* loss;
  char* logsumexp;
};

// x holds the logits, and y, unless null, gets their gradient. There is one reduced axis at most;
// with columns `inner` is the last of the outer axes.
struct LossCall : RowsCall, LossTerms {};

// Rows of a call, whatever its layout.
FASTSOFTMAX_HD inline std::int64_t all_rows(const RowsCall& call) {
  return call.layout == Layout::columns ? call.rows * call.inner.size : call.rows;
}

// Bytes of memory on the device that a call needs besides the arrays: the losses of its rows, to be
// added up, and behind them what their sum is divided by.
inline std::int64_t loss_workspace_bytes(const LossCall& call) {
  constexpr auto item = static_cast<std::int64_t>(sizeof(double));
  return call.reduction == RowSum::none ? 0 : (all_rows(call) + 1) * item;
}

}  // namespace fastsoftmax::cuda
