// Losses of rows: what is asked of them, and their way through the kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "call.h"
#include "execute.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {

// What the parts of a row's loss weigh, and the gradient of what follows with respect to it.
struct LossWeights {
  double target = 0.0;
  double coefficients = 0.0;
  double z = 0.0;
  double upstream = 1.0;
};

// Target of a row that has none, and of one that counts for nothing.
inline constexpr std::int64_t kNoTarget = -1;
inline constexpr std::int64_t kIgnored = -2;

double loss_of(const LossWeights& weights, const kernels::RowLoss& row);
double logsumexp_of(const kernels::RowLoss& row);
kernels::LossGradient gradient_of(const LossWeights& weights, const kernels::RowLoss& row);

// The sum of numbers in order, as if in twice the precision and rounded once.
double sum_in_order(const std::vector<double>& values);

// Class probabilities, or the weights of the classes: a row of coefficients k.
struct LossCoefficients {
  kernels::Coefficients kind = kernels::Coefficients::none;
  const Call* probabilities = nullptr;  // null: 1
  double keep = 1.0;                    // of the probabilities, and what is added to each
  double spread = 0.0;
  std::vector<double> class_weights;  // empty: 1
  DType row_dtype = DType::f32;
};

struct LossRows {
  Call call;  // logits, and the gradient where gradients are wanted
  bool with_gradient = false;
  double softcap = 0.0;
  LossCoefficients coefficients;
  std::vector<std::int64_t> targets;  // of each row
  std::vector<LossWeights> weights;   // likewise
  // Results. Rows that are ignored have loss 0; their logsumexp is formed only where it is wanted.
  std::vector<double> losses;
  std::vector<double> logsumexps;  // empty: not wanted
};

// Throws std::bad_alloc or UnsupportedIsa, and then has written nothing.
void execute(LossRows& rows, int max_threads);

}  // namespace fastsoftmax
