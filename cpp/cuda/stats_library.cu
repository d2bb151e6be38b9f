#include "cuda/stats_library.h"

#include "cuda/device.cuh"
#include "cuda/kernels.cuh"
#include "cuda/stats_rows.h"

namespace fastsoftmax::cuda {

int submit_stats(const StatsCall* call, int device, void* stream) {
  if (call->rows == 0) return 0;
  return submit_on(device, [&] {
    Device described{};
    if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
    const Plan plan = make_crew_plan(*call, described);
    StreamLauncher launcher{static_cast<cudaStream_t>(stream)};
    switch (call->dtype) {
      case DType::f32:
        launch_stats<F32, float>(plan, *call, launcher);
        break;
      case DType::f64:
        launch_stats<F64, double>(plan, *call, launcher);
        break;
      case DType::f16:
        launch_stats<F32, f16>(plan, *call, launcher);
        break;
      case DType::bf16:
        launch_stats<F32, bf16>(plan, *call, launcher);
        break;
      default:
        return cudaErrorInvalidValue;
    }
    return launcher.error;
  });
}

}  // namespace fastsoftmax::cuda
