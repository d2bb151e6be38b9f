// The kernels as entries of the device, and how they are launched; one file for each element type
// compiles them.
#pragma once

#include <cuda_runtime_api.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/launch.h"
#include "cuda/team.h"

namespace fastsoftmax::cuda {

cudaError_t launch_f32(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream);
cudaError_t launch_f64(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream);
cudaError_t launch_f16(const Plan& plan, const RowsCall& call, void* workspace,
                       cudaStream_t stream);
cudaError_t launch_bf16(const Plan& plan, const RowsCall& call, void* workspace,
                        cudaStream_t stream);

namespace {

template <class Kernel, class Call>
__global__ void __launch_bounds__(Kernel::max_threads, Kernel::min_blocks)
    enter(const __grid_constant__ Call call) {
  extern __shared__ __align__(16) char shared[];
  Kernel::run(Team{shared}, call);
}

// The same for every launch of a kernel, since other threads may be about to launch it too.
inline cudaError_t allow_all_shared_memory(const void* entry) {
  int device = 0;
  int limit = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              limit - kStaticSharedBytes);
}

struct StreamLauncher {
  cudaStream_t stream;
  cudaError_t error = cudaSuccess;  // of the first launch that failed; none follows it

  template <class Kernel, class Call>
  void launch(std::int64_t blocks, int threads, int shared_bytes, Call call, int cluster = 1) {
    if (error != cudaSuccess) return;
    const auto* const entry = reinterpret_cast<const void*>(enter<Kernel, Call>);
    if (shared_bytes > kSharedWithoutAsking) {
      error = allow_all_shared_memory(entry);
      if (error != cudaSuccess) return;
    }
    cudaLaunchAttribute shape{};
    shape.id = cudaLaunchAttributeClusterDimension;
    shape.val.clusterDim.x = static_cast<unsigned>(cluster);
    shape.val.clusterDim.y = 1;
    shape.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
    config.stream = stream;
    config.attrs = &shape;
    config.numAttrs = cluster > 1 ? 1 : 0;
    void* arguments[] = {&call};
    error = cudaLaunchKernelExC(&config, entry, arguments);
  }
};

template <class A, class In>
cudaError_t launch_on(const Plan& plan, const RowsCall& call, void* workspace,
                      cudaStream_t stream) {
  StreamLauncher launcher{stream};
  launch<A, In>(plan, call, workspace, launcher);
  return launcher.error;
}

}  // namespace
}  // namespace fastsoftmax::cuda
