// The kernels as entries of the device, and how they are launched; one file for each element type
// compiles them.
#pragma once

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/device.cuh"
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

// Each at a multiple of its size.
static_assert(2 * kTableBytes<F64::Entry> <= kStaticSharedBytes &&
              kTableBytes<F32::Entry> <= kTableBytes<F64::Entry>);

template <class Kernel, class Call>
__global__ void __launch_bounds__(Kernel::max_threads, Kernel::min_blocks)
    enter(const __grid_constant__ Call call) {
  extern __shared__ __align__(16) char shared[];
  Kernel::run(Team{shared}, call);
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
    const LaunchShape shape(blocks, threads, shared_bytes, cluster, stream);
    void* arguments[] = {&call};
    error = cudaLaunchKernelExC(shape.config(), entry, arguments);
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
