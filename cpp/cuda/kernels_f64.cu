#include "cuda/kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_f64(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream) {
  return launch_on<F64, double>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
