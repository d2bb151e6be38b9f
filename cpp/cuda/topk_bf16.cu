#include "cuda/topk.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_topk_bf16(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                             cudaStream_t stream) {
  return launch_topk_on<ScoredRow<F32, bf16>>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
