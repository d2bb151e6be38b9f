#include "cuda/backward.cuh"

namespace fastsoftmax::cuda {

cudaError_t backward_bf16(const Plan& plan, const BackwardCall& call, void* workspace,
                          cudaStream_t stream) {
  return backward_on<F32, bf16>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
