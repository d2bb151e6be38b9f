// What softmax_stats is asked for, wherever its arrays are.
#pragma once

#include "call.h"
#include "fastsoftmax/stats.hpp"

namespace fastsoftmax {

// The call, all of whose arrays have been checked; `on_device` as for make_call.
Call checked_stats_call(const ConstView& x, int axis, const SoftmaxStats& out,
                        const StatsOptions& options, bool on_device = false);

}  // namespace fastsoftmax
