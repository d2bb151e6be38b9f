#include "cuda/loss_kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_loss_f32(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream) {
  return launch_loss_on<F32, float>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
