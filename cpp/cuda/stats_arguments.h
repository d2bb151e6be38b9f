// softmax_stats in the terms of the CUDA backend.
#pragma once

#include "cuda/stats_call.h"
#include "fastsoftmax/stats.hpp"

namespace fastsoftmax::cuda {

// Throws what cuda_stats.hpp says of arguments.
StatsCall stats_call(const ConstView& x, int axis, const SoftmaxStats& out,
                     const StatsOptions& options);

}  // namespace fastsoftmax::cuda
