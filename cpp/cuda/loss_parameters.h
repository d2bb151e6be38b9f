// What kernels for losses are told, and sizes that they and their plan agree on.
#pragma once

#include "cuda/geometry.h"
#include "cuda/loss_call.h"

namespace fastsoftmax::cuda {

struct LossParameters : Parameters, LossTerms {
  double* losses;   // of each row, to be added up; null: they go where the call says
  double* divisor;  // of the mean
};

// Threads of a block that has a row for itself: one of them also has what is known of the row.
FASTSOFTMAX_HD constexpr int max_loss_threads(bool f64) { return f64 ? 256 : 320; }

// What a group leaves of a block: its sum, and two with coefficients.
struct LossBlock {
  kernels::BlockSum sum;
  kernels::SumPair scores, coefficients;
};
// Shared memory of a thread block that has a row for itself, ahead of scores that it keeps: what is
// known of the row, and two blocks for each group.
inline constexpr int kLossFactsBytes = 256;
FASTSOFTMAX_HD constexpr int loss_desk_bytes(int groups) {
  const int bytes = kLossFactsBytes + 2 * groups * static_cast<int>(sizeof(LossBlock));
  return (bytes + 15) / 16 * 16;
}

// Threads that add up the losses of all rows, or the weights of their targets.
inline constexpr int kSumThreads = 256;
inline constexpr int kSumSharedBytes = kSumThreads * static_cast<int>(sizeof(double)) +
                                       kSumThreads / kGroup * static_cast<int>(sizeof(int));

}  // namespace fastsoftmax::cuda
