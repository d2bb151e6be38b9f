#include "cuda/loss_kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_loss_f64(const Plan& plan, const LossCall& call, void* workspace,
                            cudaStream_t stream) {
  return launch_loss_on<F64, double>(plan, call, workspace, stream);
}

}  // namespace fastsoftmax::cuda
