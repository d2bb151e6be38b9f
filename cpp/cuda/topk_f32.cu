#include "cuda/topk.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_topk_f32(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                            cudaStream_t stream) {
  return launch_topk_on<ScoredRow<F32, float>>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
