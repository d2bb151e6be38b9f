// A row's loss and its gradient from what is known of the row: the same on all devices.
#pragma once

#include <cstdint>

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
FASTSOFTMAX_HD inline bool is_class(std::int64_t target, std::int64_t classes) {
  return static_cast<std::uint64_t>(target) < static_cast<std::uint64_t>(classes);
}

inline constexpr double kNan = __builtin_nan("");
inline constexpr double kLargest = __DBL_MAX__;

FASTSOFTMAX_HD inline double number_or_nan(double v) { return v == v ? v : __builtin_nan(""); }

FASTSOFTMAX_HD inline double logsumexp_of(const kernels::RowLoss& row) {
  // NaN has one bit pattern.
  const double sum = number_or_nan(row.max + row.log_sum);
  return __builtin_fabs(row.max) > kLargest ? row.max : sum;
}

// These two without branches, so that compilers may take several rows at a time.
FASTSOFTMAX_HD inline double loss_of(const LossWeights& w, const kernels::RowLoss& row) {
  const double sum = logsumexp_of(row);
  const double of_target = row.log_sum - row.target;
  // A target of weight 0 may have the score -inf.
  const double hard = w.target * (w.target == 0.0 ? row.log_sum : of_target);
  const double soft = hard + w.coefficients * (row.coefficients * row.log_sum + row.distance);
  double loss = w.coefficients == 0.0 ? hard : soft;
  const double with_z = loss + w.z * sum * sum;
  loss = w.z == 0.0 ? loss : with_z;
  return number_or_nan(loss);
}

FASTSOFTMAX_HD inline kernels::LossGradient gradient_of(const LossWeights& w,
                                                        const kernels::RowLoss& row) {
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

// Whether K M - S has lost what it is made of: then scores less M are to be added up, which loses
// nothing.
FASTSOFTMAX_HD inline bool cancels(const kernels::RowLoss& row) {
  return !(__builtin_fabs(row.distance) >= 0x1p-20 * __builtin_fabs(row.coefficients * row.max));
}

// A class's probability p, of which label smoothing keeps a part and spreads the rest.
template <class T>
FASTSOFTMAX_HD inline T smoothed(T p, T keep, T spread) {
  return p * keep + spread;
}

// Sums over rows: element i goes to chain i mod kSumChains, because each addition waits for the one
// before; chains then join in order. Errors are carried along, as if in twice the precision.
inline constexpr int kSumChains = 8;

FASTSOFTMAX_HD inline void add_to_chain(double& sum, double& error, double v) {
  const double next = sum + v;
  const double other = next - sum;
  error += (sum - (next - other)) + (v - other);
  sum = next;
}

FASTSOFTMAX_HD inline double join_chains(const double* sums, const double* errors) {
  double sum = sums[0];
  double error = errors[0];
  for (int c = 1; c < kSumChains; ++c) {
    add_to_chain(sum, error, sums[c]);
    error += errors[c];
  }
  return sum - sum == 0.0 ? sum + error : sum;
}

}  // namespace fastsoftmax
