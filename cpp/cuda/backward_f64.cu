#include "cuda/backward.cuh"

namespace fastsoftmax::cuda {

cudaError_t backward_f64(const Plan& plan, const BackwardCall& call, void* workspace,
                         cudaStream_t stream) {
  return backward_on<F64, double>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
