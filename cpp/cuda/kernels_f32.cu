#include "cuda/kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_f32(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream) {
  return launch_on<F32, float>(plan, call, workspace, stream);
}

AnyKernel any_kernel() {
  using Kernel = JoinParts<F32, false>;
  return {reinterpret_cast<const void*>(enter<Kernel, Parameters>), Kernel::max_threads};
}

}  // namespace fastsoftmax::cuda
