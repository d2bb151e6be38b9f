// Gradients in the terms of the CUDA backend, as device_call.h has softmax.
#pragma once

#include "backward_calls.h"
#include "cuda/backward_call.h"

namespace fastsoftmax::cuda {

// Of calls with elements. Throws as rows_call does.
BackwardCall backward_call(const BackwardCalls& calls);

}  // namespace fastsoftmax::cuda
