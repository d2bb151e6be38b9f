#include "cuda/sample.cuh"

#include "cuda/kernels.cuh"
#include "cuda/sample_launch.h"

namespace fastsoftmax::cuda {

cudaError_t launch_sample_f32(const SamplePlan& plan, const SampleCall& call, void* workspace,
                              cudaStream_t stream) {
  StreamLauncher launcher{stream};
  launch_sample<F32>(plan, call, workspace, launcher);
  return launcher.error;
}

}  // namespace fastsoftmax::cuda
