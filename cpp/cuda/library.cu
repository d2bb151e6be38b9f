// The table of functions that the core finds in libfastsoftmax_cuda.
#include <cstdio>
#include <cstring>

#include "cuda/kernels.cuh"
#include "fastsoftmax/version.h"

namespace fastsoftmax::cuda {
namespace {

// Makes a device the current one, and puts the caller's back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != device) error_ = cudaSetDevice(device);
  }
  ~CurrentDevice() {
    if (before_ >= 0) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = -1;
  cudaError_t error_;
};

// An error is the caller's to hear of, once.
int told(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

cudaError_t describe(int device, Device& described) {
  int l2 = 0;
  cudaError_t error =
      cudaDeviceGetAttribute(&described.sms, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&described.shared_per_block,
                                   cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device);
  described.l2_bytes = l2;
  if (error == cudaSuccess) error = architecture_of_kernels(described.architecture);
  return error;
}

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

cudaError_t run_on(const RowsCall& call, int device, cudaStream_t stream) {
  const bool writes = call.rows > 0 && (call.layout != Layout::columns || call.inner.size > 0) &&
                      (call.length > 0 || call.op == kernels::RowOp::logsumexp);
  if (!writes) return cudaSuccess;
  Device described{};
  if (const cudaError_t error = describe(device, described); error != cudaSuccess) return error;
  const Plan plan = make_plan(call, described);
  const std::int64_t bytes = workspace_bytes(call, plan);
  if (bytes == 0) return launch(plan, call, nullptr, stream);
  void* workspace = nullptr;
  cudaError_t error = cudaMallocAsync(&workspace, static_cast<std::size_t>(bytes), stream);
  if (error != cudaSuccess) return error;
  error = launch(plan, call, workspace, stream);
  const cudaError_t freed = cudaFreeAsync(workspace, stream);
  return error != cudaSuccess ? error : freed;
}

int run(const RowsCall* call, int device, void* stream) {
  const CurrentDevice current(device);
  if (current.error() != cudaSuccess) return told(current.error());
  return told(run_on(*call, device, static_cast<cudaStream_t>(stream)));
}

int order(int device, void* before, void* after) {
  const CurrentDevice current(device);
  if (current.error() != cudaSuccess) return told(current.error());
  cudaEvent_t reached = nullptr;
  cudaError_t error = cudaEventCreateWithFlags(&reached, cudaEventDisableTiming);
  if (error != cudaSuccess) return told(error);
  error = cudaEventRecord(reached, static_cast<cudaStream_t>(before));
  if (error == cudaSuccess)
    error = cudaStreamWaitEvent(static_cast<cudaStream_t>(after), reached, 0);
  cudaEventDestroy(reached);
  return told(error);
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

int device_of(const void* data, int* device) {
  cudaPointerAttributes attributes;
  const cudaError_t error = cudaPointerGetAttributes(&attributes, data);
  if (error == cudaSuccess) *device = attributes.device;
  return told(error);
}

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace

// The symbol's number changes when the table or what its functions take changes.
extern "C" __attribute__((visibility("default"))) const Table* fastsoftmax_cuda_table_1() {
  static const Table table{FASTSOFTMAX_VERSION,
                           FASTSOFTMAX_CUDA_ARCHITECTURES,
                           device_count,
                           device_name,
                           device_of,
                           run,
                           order,
                           error_text};
  return &table;
}

}  // namespace fastsoftmax::cuda
