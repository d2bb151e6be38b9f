// The kernels of top-k, and how they are launched; one file for each element type compiles them.
#pragma once

#include "cuda/kernels.cuh"
#include "cuda/topk_launch.h"

namespace fastsoftmax::cuda {

int topk(const TopkRowsCall* call, int device, void* stream);

cudaError_t launch_topk_f32(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_topk_f64(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_topk_f16(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                            cudaStream_t stream);
cudaError_t launch_topk_bf16(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                             cudaStream_t stream);
cudaError_t launch_topk_integers(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                                 cudaStream_t stream);

namespace {

struct TopkLauncher : StreamLauncher {
  void normalize(const Plan& plan, const RowsCall& call, void* workspace) {
    if (error != cudaSuccess) return;
    error = call.dtype == DType::f64 ? launch_f64(plan, call, workspace, stream)
                                     : launch_f32(plan, call, workspace, stream);
  }
};

template <class Row>
cudaError_t launch_topk_on(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                           cudaStream_t stream) {
  TopkLauncher launcher{{stream}};
  launch_topk<Row>(plan, call, workspace, launcher);
  return launcher.error;
}

}  // namespace
}  // namespace fastsoftmax::cuda
