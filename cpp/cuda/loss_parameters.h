// What kernels for losses are told.
#pragma once

#include "cuda/geometry.h"
#include "cuda/loss_call.h"

namespace fastsoftmax::cuda {

struct LossParameters : Parameters, LossTerms {
  double* losses;   // of each row, to be added up; null: they go where the call says
  double* divisor;  // of the mean
};

// What a group leaves of a block: its sum, and two with coefficients.
struct LossBlock {
  kernels::BlockSum sum;
  kernels::SumPair scores, coefficients;
};
// Threads that add up the losses of all rows, or the weights of their targets.
inline constexpr int kSumThreads = 256;
inline constexpr int kSumSharedBytes = kSumThreads * static_cast<int>(sizeof(double)) +
                                       kSumThreads / kGroup * static_cast<int>(sizeof(int));

}  // namespace fastsoftmax::cuda
