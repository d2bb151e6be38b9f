// The table of functions that the core finds in libfastsoftmax_cuda.
#include <cstdio>

#include "cuda/backward.cuh"
#include "cuda/calls.h"
#include "cuda/device.cuh"
#include "cuda/kernels.cuh"
#include "cuda/loss_library.h"
#include "cuda/sample.cuh"
#include "cuda/stats_library.h"
#include "cuda/topk.cuh"
#include "fastsoftmax/version.h"

namespace fastsoftmax::cuda {
namespace {

cudaError_t launch(const Plan& plan, const RowsCall& call, void* workspace, cudaStream_t stream) {
  switch (call.dtype) {
    case DType::f32:
      return launch_f32(plan, call, workspace, stream);
    case DType::f64:
      return launch_f64(plan, call, workspace, stream);
    case DType::f16:
      return launch_f16(plan, call, workspace, stream);
    case DType::bf16:
      return launch_bf16(plan, call, workspace, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t launch(const Plan& plan, const BackwardCall& call, void* workspace,
                   cudaStream_t stream) {
  switch (call.dtype) {
    case DType::f32:
      return backward_f32(plan, call, workspace, stream);
    case DType::f64:
      return backward_f64(plan, call, workspace, stream);
    case DType::f16:
      return backward_f16(plan, call, workspace, stream);
    case DType::bf16:
      return backward_bf16(plan, call, workspace, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

template <class Call>
int submit_planned(const Call& call, int device, void* stream_pointer) {
  return submit_on(device, [&] {
    Device described{};
    if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
    const Plan plan = make_plan(call, described);
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    return with_workspace(workspace_bytes(call, plan), stream,
                          [&](void* workspace) { return launch(plan, call, workspace, stream); });
  });
}

int run(const RowsCall* call, int device, void* stream_pointer) {
  const bool writes = call->rows > 0 && (call->layout != Layout::columns || call->inner.size > 0) &&
                      (call->length > 0 || call->op == kernels::RowOp::logsumexp);
  return writes ? submit_planned(*call, device, stream_pointer) : 0;
}

int backward(const BackwardCall* call, int device, void* stream_pointer) {
  return submit_planned(*call, device, stream_pointer);
}

int sample(const SampleCall* call, int device, void* stream_pointer) {
  if (call->rows.rows == 0) return 0;
  return submit_on(device, [&] {
    Device described{};
    if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
    const SamplePlan plan = make_sample_plan(*call, described);
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    return with_workspace(plan.rows * SampleWorkspace(*call).bytes, stream, [&](void* workspace) {
      return call->rows.dtype == DType::f64 ? launch_sample_f64(plan, *call, workspace, stream)
                                            : launch_sample_f32(plan, *call, workspace, stream);
    });
  });
}

int order(int device, void* before, void* after) {
  return submit_on(device, [&] {
    cudaEvent_t reached = nullptr;
    cudaError_t error = cudaEventCreateWithFlags(&reached, cudaEventDisableTiming);
    if (error != cudaSuccess) return error;
    error = cudaEventRecord(reached, static_cast<cudaStream_t>(before));
    if (error == cudaSuccess)
      error = cudaStreamWaitEvent(static_cast<cudaStream_t>(after), reached, 0);
    cudaEventDestroy(reached);
    return error;
  });
}

int device_count(int* count) { return told(cudaGetDeviceCount(count)); }

int device_name(int device, char* name, int size) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess)
    std::snprintf(name, static_cast<std::size_t>(size), "%s (compute capability %d.%d)",
                  properties.name, properties.major, properties.minor);
  return told(error);
}

int device_of(const void* data, int* device) { return told(find_device(data, *device)); }

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace

// The symbol's number changes when the table or what its functions take changes.
extern "C" __attribute__((visibility("default"))) const Table* fastsoftmax_cuda_table_2() {
  static const Table table{FASTSOFTMAX_VERSION,
                           call_sizes(),
                           FASTSOFTMAX_CUDA_ARCHITECTURES,
                           device_count,
                           device_name,
                           device_of,
                           run,
                           backward,
                           submit_loss,
                           submit_stats,
                           topk,
                           sample,
                           order,
                           error_text};
  return &table;
}

}  // namespace fastsoftmax::cuda
