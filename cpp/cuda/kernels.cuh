// The kernels as entries of the device, and how they are launched.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/launch.h"
#include "cuda/team.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::max_threads)
    enter(const __grid_constant__ Parameters call) {
  extern __shared__ __align__(16) char shared[];
  Kernel::run(Team{shared}, call);
}

// On a stream; `error` is that of the first launch that failed.
struct StreamLauncher {
  cudaStream_t stream;
  cudaError_t error = cudaSuccess;

  template <class Kernel>
  void launch(std::int64_t blocks, int threads, int shared_bytes, Parameters call) {
    if (error != cudaSuccess) return;
    constexpr int without_asking = 48 * 1024;
    if (shared_bytes > without_asking) {
      error = cudaFuncSetAttribute(enter<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   shared_bytes);
      if (error != cudaSuccess) return;
    }
    void* arguments[] = {&call};
    error =
        cudaLaunchKernel(reinterpret_cast<const void*>(enter<Kernel>),
                         dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)),
                         arguments, static_cast<std::size_t>(shared_bytes), stream);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
