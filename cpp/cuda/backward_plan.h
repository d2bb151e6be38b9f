// How gradients are carried out on a device, as plan.h says it of softmax.
#pragma once

#include "cuda/backward_call.h"
#include "cuda/plan.h"

namespace fastsoftmax::cuda {

// The paths are those of plan.h; kept are the gradient and the output, by clusters in registers.
Plan make_plan(const BackwardCall& call, const Device& device);

// For parts: sums of blocks and of rows.
std::int64_t workspace_bytes(const BackwardCall& call, const Plan& plan);

}  // namespace fastsoftmax::cuda
