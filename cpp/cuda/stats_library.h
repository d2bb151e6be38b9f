// The function for statistics in the table of libfastsoftmax_cuda.
#pragma once

#include "cuda/stats_call.h"

namespace fastsoftmax::cuda {

int submit_stats(const StatsCall* call, int device, void* stream);

}  // namespace fastsoftmax::cuda
