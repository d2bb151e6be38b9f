// What softmax_stats is asked for, wherever its arrays are.
#pragma once

#include "call.h"
#include "fastsoftmax/stats.hpp"

namespace fastsoftmax {

// The call, all of whose arrays have been checked.
Call checked_stats_call(const ConstView& x, int axis, const SoftmaxStats& out,
                        const StatsOptions& options);

}  // namespace fastsoftmax
