// Losses of rows: what is asked of them, and their way through the kernels.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "call.h"
#include "execute.h"
#include "fastsoftmax/view.hpp"
#include "kernels/kernel_table.h"
#include "row_loss.h"

namespace fastsoftmax {

// The sum of numbers in an order that depends on how many there are alone, as if in twice the
// precision and rounded once.
double sum_in_order(std::span<const double> values);

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
  const std::int64_t* targets = nullptr;  // of each row; null: no row has one
  std::int64_t ignore_index = 0;
  LossWeights weights;           // of a row whose target weighs 1
  std::vector<double> upstream;  // of each row, or a single one for all
  // Results: an f32 or f64 number for each row. Rows that are ignored have loss 0; their logsumexp
  // is formed only where it is wanted.
  View losses;
  View logsumexps;  // null: not wanted

  // Their targets, kIgnored and kNoTarget included.
  void read_targets(std::int64_t row, std::int64_t count, std::int64_t* to) const;
  double weight_of(std::int64_t target) const {
    const auto& of_classes = coefficients.class_weights;
    return of_classes.empty() || target < 0 ? 1.0 : of_classes[static_cast<std::size_t>(target)];
  }
  double upstream_of(std::int64_t row) const {
    return upstream[upstream.size() == 1 ? 0 : static_cast<std::size_t>(row)];
  }
  LossWeights weights_of(std::int64_t row, std::int64_t target) const {
    const double weight = weight_of(target);
    return {weights.target * weight, weights.coefficients, weights.z * weight, upstream_of(row)};
  }
};

// Stores numbers of rows from `row` on.
void put_rows(const View& to, std::int64_t row, std::span<const double> numbers);

// Throws std::bad_alloc or UnsupportedIsa, and then has written nothing.
void execute(LossRows& rows, int max_threads);

}  // namespace fastsoftmax
