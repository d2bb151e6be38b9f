#include "cuda/loss_library.h"

#include "cuda/device.cuh"
#include "cuda/loss_kernels.cuh"

namespace fastsoftmax::cuda {
namespace {

cudaError_t launch(const Plan& plan, const LossCall& call, void* workspace, cudaStream_t stream) {
  switch (call.dtype) {
    case DType::f32:
      return launch_loss_f32(plan, call, workspace, stream);
    case DType::f64:
      return launch_loss_f64(plan, call, workspace, stream);
    case DType::f16:
      return launch_loss_f16(plan, call, workspace, stream);
    case DType::bf16:
      return launch_loss_bf16(plan, call, workspace, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

int submit_loss(const LossCall* call, int device, void* stream_pointer) {
  return submit_on(device, [&] {
    Device described{};
    if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
    const Plan plan = make_crew_plan(*call, described);
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    return with_workspace(loss_workspace_bytes(*call), stream,
                          [&](void* workspace) { return launch(plan, *call, workspace, stream); });
  });
}

}  // namespace fastsoftmax::cuda
