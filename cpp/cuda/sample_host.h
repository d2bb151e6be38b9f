// A call of sample in the terms of the CUDA backend.
#pragma once

#include "cuda/sample_call.h"
#include "fastsoftmax/sampling.hpp"

namespace fastsoftmax::cuda {

// Throws as cuda_sample.hpp says.
SampleCall sample_call(const ConstView& x, int axis, const View& indices,
                       const SampleOptions& options, const View* logprobs);

}  // namespace fastsoftmax::cuda
