// How the kernels of sample are launched; one file for each arithmetic type compiles them.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/sample_plan.h"

namespace fastsoftmax::cuda {

cudaError_t launch_sample_f32(const SamplePlan& plan, const SampleCall& call, void* workspace,
                              cudaStream_t stream);
cudaError_t launch_sample_f64(const SamplePlan& plan, const SampleCall& call, void* workspace,
                              cudaStream_t stream);

}  // namespace fastsoftmax::cuda
