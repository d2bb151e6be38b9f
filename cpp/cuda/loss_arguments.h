// Cross-entropy in the terms of the CUDA backend.
#pragma once

#include "cuda/loss_call.h"
#include "fastsoftmax/cross_entropy.hpp"

namespace fastsoftmax::cuda {

// Throws what cuda_loss.hpp says of arguments.
LossCall loss_call(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options,
                   double grad_out);

}  // namespace fastsoftmax::cuda
