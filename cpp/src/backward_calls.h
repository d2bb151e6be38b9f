// A validated call of softmax_backward or log_softmax_backward.
#pragma once

#include <span>

#include "call.h"
#include "fastsoftmax/backward.hpp"

namespace fastsoftmax {

// Two calls with one result: their rows and elements are numbered alike. The temperature is that of
// `grad`.
struct BackwardCalls {
  Call grad;
  Call output;
};

// Throws as backward.hpp says. Layouts are rows or packed; `on_device` as for make_call.
BackwardCalls backward_calls(Op op, const ConstView& grad, const ConstView& y, const View& out,
                             std::span<const int> axes, const BackwardOptions& options,
                             bool on_device = false);

}  // namespace fastsoftmax
