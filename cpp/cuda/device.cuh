// What every operation needs of the CUDA runtime: the device it is for, memory on a stream, the
// shape of a launch, and how errors are told.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/geometry.h"

namespace fastsoftmax::cuda {

// Makes a device the current one, and puts back the caller's context, or that there was none: to
// name the caller's device again would make a context on one that may not be in use.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  cudaError_t error() const { return error_; }

 private:
  CUcontext before_ = nullptr;
  cudaError_t error_;
  bool switched_ = false;
};

// An error is the caller's to hear of, once.
inline int told(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

// The current device. Asks once for each.
cudaError_t describe(int device, Device& described);

// The device that memory belongs to, without a context of its own; host memory is an error.
cudaError_t find_device(const void* data, int& device);

// Lets a kernel have all the shared memory of the current device. The same for every launch, since
// other threads may be about to launch it too.
cudaError_t allow_all_shared_memory(const void* kernel);

// One of the kernels, and how many threads it can have: what it may do they all may.
struct AnyKernel {
  const void* entry;
  int threads;
};
AnyKernel any_kernel();

// Of a launch, for as long as this lives.
class LaunchShape {
 public:
  LaunchShape(std::int64_t blocks, int threads, int shared_bytes, int cluster, cudaStream_t stream);
  LaunchShape(const LaunchShape&) = delete;
  LaunchShape& operator=(const LaunchShape&) = delete;
  const cudaLaunchConfig_t* config() const { return &config_; }

 private:
  cudaLaunchAttribute cluster_{};
  cudaLaunchConfig_t config_{};
};

// Bytes that stay with the library's pool of a device when what had them has given them back, so
// that the next call need not ask the driver for them.
inline constexpr std::uint64_t kKeptBytes = std::uint64_t{64} << 20;

// Memory that lives on a stream, or until the stream has come to its end where the device has no
// pools for that.
class StreamMemory {
 public:
  explicit StreamMemory(cudaStream_t stream) : stream_(stream) {}
  cudaError_t take(std::int64_t bytes);
  cudaError_t give_back();
  void* data() const { return data_; }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
  bool pooled_ = true;
};

// The error of submit(), with `device` as the current one.
template <class Submit>
int submit_on(int device, Submit&& submit) {
  const CurrentDevice current(device);
  return told(current.error() != cudaSuccess ? current.error() : submit());
}

// The error of submit(workspace), with so many bytes of memory.
template <class Submit>
cudaError_t with_workspace(std::int64_t bytes, cudaStream_t stream, Submit&& submit) {
  if (bytes == 0) return submit(static_cast<void*>(nullptr));
  StreamMemory memory(stream);
  cudaError_t error = memory.take(bytes);
  if (error != cudaSuccess) return error;
  error = submit(memory.data());
  const cudaError_t freed = memory.give_back();
  return error != cudaSuccess ? error : freed;
}

}  // namespace fastsoftmax::cuda
