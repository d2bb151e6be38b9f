#include "cuda/kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_f32(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream) {
  return launch_on<F32, float>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
