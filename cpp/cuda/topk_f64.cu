#include "cuda/topk.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_topk_f64(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                            cudaStream_t stream) {
  return launch_topk_on<ScoredRow<F64, double>>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
