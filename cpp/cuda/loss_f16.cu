#include "cuda/loss_kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_loss_f16(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream) {
  return launch_loss_on<F32, f16>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
