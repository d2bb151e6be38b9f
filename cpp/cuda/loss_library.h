// The function for losses in the table of libfastsoftmax_cuda.
#pragma once

#include "cuda/loss_call.h"

namespace fastsoftmax::cuda {

int submit_loss(const LossCall* call, int device, void* stream);

}  // namespace fastsoftmax::cuda
