// What every operation needs of the CUDA runtime: the device it is for, memory on a stream, and how
// errors are told.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// Makes a device the current one, and puts the caller's back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    error_ = cudaGetDevice(&before_);
    if (error_ != cudaSuccess || before_ == device) return;
    error_ = cudaSetDevice(device);
    switched_ = true;
  }
  ~CurrentDevice() {
    if (switched_) cudaSetDevice(before_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  int before_ = -1;
  cudaError_t error_;
  bool switched_ = false;
};

// An error is the caller's to hear of, once.
inline int told(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

// The compute capability that the kernels of this device were compiled for: what they may do.
cudaError_t architecture_of_kernels(int& architecture);

inline cudaError_t describe(int device, Device& described) {
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

// The error of submit(), with `device` as the current one.
template <class Submit>
int submit_on(int device, Submit&& submit) {
  const CurrentDevice current(device);
  return told(current.error() != cudaSuccess ? current.error() : submit());
}

// The error of submit(workspace), with so many bytes of memory that live on the stream.
template <class Submit>
cudaError_t with_workspace(std::int64_t bytes, cudaStream_t stream, Submit&& submit) {
  if (bytes == 0) return submit(static_cast<void*>(nullptr));
  void* workspace = nullptr;
  cudaError_t error = cudaMallocAsync(&workspace, static_cast<std::size_t>(bytes), stream);
  if (error != cudaSuccess) return error;
  error = submit(workspace);
  const cudaError_t freed = cudaFreeAsync(workspace, stream);
  return error != cudaSuccess ? error : freed;
}

}  // namespace fastsoftmax::cuda
