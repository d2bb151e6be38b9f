#include "cuda/topk.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_topk_integers(const TopkPlan& plan, const TopkRowsCall& call, void* workspace,
                                 cudaStream_t stream) {
  return launch_topk_on<IntegerRow>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
