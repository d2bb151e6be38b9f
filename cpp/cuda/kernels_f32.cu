#include "cuda/device.cuh"
#include "cuda/kernels.cuh"

namespace fastsoftmax::cuda {

cudaError_t launch_f32(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream) {
  return launch_on<F32, float>(plan, call, workspace, stream);
}

cudaError_t architecture_of_kernels(int& architecture) {
  cudaFuncAttributes attributes{};
  const cudaError_t error =
      cudaFuncGetAttributes(&attributes, enter<JoinParts<F32, false>, Parameters>);
  architecture = attributes.ptxVersion;
  return error;
}

}  // namespace fastsoftmax::cuda
