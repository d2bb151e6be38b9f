// The kernels for losses as entries of the device; one file for each element type compiles them.
#pragma once

#include "cuda/kernels.cuh"
#include "cuda/loss_launch.h"

namespace fastsoftmax::cuda {

cudaError_t launch_loss_f32(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_loss_f64(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_loss_f16(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_loss_bf16(const Plan& plan, const LossCall& call, void* workspace,
                             cudaStream_t stream);

namespace {

template <class A, class In>
cudaError_t launch_loss_on(const Plan& plan, const LossCall& call, void* workspace,
                           cudaStream_t stream) {
  StreamLauncher launcher{stream};
  launch_loss<A, In>(plan, call, workspace, launcher);
  return launcher.error;
}

}  // namespace
}  // namespace fastsoftmax::cuda
