// The kernels of gradients, as kernels.cuh has those of softmax.
#pragma once

#include "cuda/kernels.cuh"

#include "cuda/backward_launch.h"

namespace fastsoftmax::cuda {

cudaError_t backward_f32(const Plan& plan, const BackwardCall& call, void* workspace,
                         cudaStream_t stream);
cudaError_t backward_f64(const Plan& plan, const BackwardCall& call, void* workspace,
                         cudaStream_t stream);
cudaError_t backward_f16(const Plan& plan, const BackwardCall& call, void* workspace,
                         cudaStream_t stream);
cudaError_t backward_bf16(const Plan& plan, const BackwardCall& call, void* workspace,
                          cudaStream_t stream);

namespace {

template <class A, class In>
cudaError_t backward_on(const Plan& plan, const BackwardCall& call, void* workspace,
                        cudaStream_t stream) {
  StreamLauncher launcher{stream};
  launch_backward<A, In>(plan, call, workspace, launcher);
  return launcher.error;
}

}  // namespace
}  // namespace fastsoftmax::cuda
