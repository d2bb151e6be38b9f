#include "cuda/kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_f16(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream) {
  return launch_on<F32, f16>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
