// The function for top-k in the table of libfastsoftmax_cuda.
#include "cuda/topk.cuh"

#include "cuda/device.cuh"

namespace fastsoftmax::cuda {
namespace {

cudaError_t launch(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                   cudaStream_t stream) {
  switch (call.dtype) {
    case DType::f32:
      return launch_topk_f32(plan, call, workspace, stream);
    case DType::f64:
      return launch_topk_f64(plan, call, workspace, stream);
    case DType::f16:
      return launch_topk_f16(plan, call, workspace, stream);
    case DType::bf16:
      return launch_topk_bf16(plan, call, workspace, stream);
    default:
      return launch_topk_integers(plan, call, workspace, stream);
  }
}

}  // namespace

int topk(const TopkRowsCall* call, int device, void* stream_pointer) {
  return submit_on(device, [&] {
    Device described{};
    if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
    const TopkPlan plan = make_topk_plan(*call, described);
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    return with_workspace(plan.workspace.bytes, stream,
                          [&](void* workspace) { return launch(plan, *call, workspace, stream); });
  });
}

}  // namespace fastsoftmax::cuda
