// Losses of rows: what is asked of them, and their way through the kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "call.h"
#include "execute.h"
#include "fastsoftmax/view.hpp"
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

// Whether 0 <= target < classes.
inline bool is_class(std::int64_t target, std::int64_t classes) {
  return static_cast<std::uint64_t>(target) < static_cast<std::uint64_t>(classes);
}

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kLargest = std::numeric_limits<double>::max();

inline double logsumexp_of(const kernels::RowLoss& row) {
  double sum = row.max + row.log_sum;
  sum = sum == sum ? sum : kNan;  // which has one bit pattern
  return std::fabs(row.max) > kLargest ? row.max : sum;
}

// These two without branches, so that compilers may take several rows at a time.
inline double loss_of(const LossWeights& w, const kernels::RowLoss& row) {
  const double sum = logsumexp_of(row);
  const double of_target = row.log_sum - row.target;
  // A target of weight 0 may have the score -inf.
  const double hard = w.target * (w.target == 0.0 ? row.log_sum : of_target);
  const double soft = hard + w.coefficients * (row.coefficients * row.log_sum + row.distance);
  double loss = w.coefficients == 0.0 ? hard : soft;
  const double with_z = loss + w.z * sum * sum;
  loss = w.z == 0.0 ? loss : with_z;
  return loss == loss ? loss : kNan;
}

inline kernels::LossGradient gradient_of(const LossWeights& w, const kernels::RowLoss& row) {
  using kernels::LossGradient;
  double excess = w.coefficients == 0.0 ? 0.0 : w.coefficients * row.coefficients;
  excess += w.z == 0.0 ? 0.0 : 2.0 * w.z * logsumexp_of(row);
  const double softmax = w.upstream * (w.target + excess);
  const double coefficient = -w.upstream * w.coefficients;
  const double target = -w.upstream * w.target;
  // NaN where a number is not finite, else 0.
  const double flaw = (softmax - softmax) + (coefficient - coefficient) + (target - target) +
                      (row.log_sum - row.log_sum);
  return {flaw == 0.0 ? LossGradient::regular : LossGradient::nan,
          row.max,
          row.log_sum,
          softmax,
          coefficient,
          target,
          w.upstream * excess};
}

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
