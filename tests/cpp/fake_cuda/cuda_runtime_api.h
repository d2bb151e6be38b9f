// As much of the CUDA runtime and driver as cuda/device.cu calls, without a device: functions note
// down what they are asked, and answer as a test says. For test_cuda_device.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotSupported = 801,
  cudaErrorInvalidClusterSize = 912
};
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUpointer_attribute { CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrL2CacheSize,
  cudaDevAttrMemoryPoolsSupported
};
enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
enum { cudaEnableDefault };

using cudaStream_t = struct CUstream_st*;
using cudaMemPool_t = struct CUmemPoolHandle_st*;
using CUcontext = struct CUctx_st*;
using CUdeviceptr = unsigned long long;

struct dim3 {
  unsigned x;
  unsigned y = 1;
  unsigned z = 1;
  dim3(unsigned x_ = 1) : x(x_) {}  // NOLINT(google-explicit-constructor): as CUDA has it
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
struct cudaFuncAttributes {
  int ptxVersion;
};

struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  struct {
    cudaMemLocationType type;
    int id;
  } location;
};

struct FakeCuda {
  int device = 0;
  CUcontext context = nullptr;
  bool has_pools = true;
  int architecture = 90;
  unsigned largest_cluster = 8;
  cudaError_t if_too_large = cudaSuccess;  // what is said of a cluster that cannot be resident
  cudaError_t allocation = cudaSuccess;
  cudaError_t pool_attribute = cudaSuccess;
  cudaError_t kept = cudaSuccess;  // the last error
  std::vector<std::string> asked;

  cudaError_t note(const std::string& what, cudaError_t error = cudaSuccess) {
    asked.push_back(what);
    if (error != cudaSuccess) kept = error;
    return error;
  }
};
inline FakeCuda fake_cuda;

inline CUcontext context_of(int device) {
  static char contexts[8];
  return reinterpret_cast<CUcontext>(&contexts[device]);
}

inline cudaError_t cudaGetLastError() {
  const cudaError_t error = fake_cuda.kept;
  fake_cuda.kept = cudaSuccess;
  return error;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = fake_cuda.device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0) return fake_cuda.note("set " + std::to_string(device), cudaErrorInvalidValue);
  fake_cuda.device = device;
  fake_cuda.context = context_of(device);
  return fake_cuda.note("set " + std::to_string(device));
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const int values[] = {132, 227 * 1024, 50 << 20, fake_cuda.has_pools ? 1 : 0};
  *value = values[attribute];
  return fake_cuda.note("attribute");
}
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  attributes->ptxVersion = fake_cuda.architecture;
  return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  return fake_cuda.note("shared " + std::to_string(value));
}
inline cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*,
                                                  const cudaLaunchConfig_t* config) {
  const unsigned size = config->attrs[0].val.clusterDim.x;
  const bool fits = size <= fake_cuda.largest_cluster;
  *clusters = fits ? 1 : 0;
  return fake_cuda.note(
      "clusters of " + std::to_string(size) + " with " + std::to_string(config->dynamicSmemBytes),
      fits ? cudaSuccess : fake_cuda.if_too_large);
}

inline cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  *pool = reinterpret_cast<cudaMemPool_t>(context_of(properties->location.id));
  return fake_cuda.note("pool of " + std::to_string(properties->location.id));
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) {
  return fake_cuda.note("keeps " + std::to_string(*static_cast<std::uint64_t*>(value) >> 20),
                        fake_cuda.pool_attribute);
}
inline cudaError_t cudaMemPoolDestroy(cudaMemPool_t) { return fake_cuda.note("no pool"); }
inline cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t, cudaMemPool_t pool,
                                           cudaStream_t) {
  *memory = &fake_cuda;
  const bool is_its = reinterpret_cast<CUcontext>(pool) == context_of(fake_cuda.device);
  return fake_cuda.note(is_its ? "malloc on stream" : "another pool", fake_cuda.allocation);
}
inline cudaError_t cudaFreeAsync(void*, cudaStream_t) { return fake_cuda.note("free on stream"); }
inline cudaError_t cudaMalloc(void** memory, std::size_t) {
  *memory = &fake_cuda;
  return fake_cuda.note("malloc", fake_cuda.allocation);
}
inline cudaError_t cudaFree(void*) { return fake_cuda.note("free"); }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return fake_cuda.note("wait"); }

inline CUresult get_fake_context(CUcontext* context) {
  *context = fake_cuda.context;
  return CUDA_SUCCESS;
}
inline CUresult set_fake_context(CUcontext context) {
  fake_cuda.context = context;
  for (int device = 0; device < 8; ++device)
    if (context == context_of(device)) fake_cuda.device = device;
  return CUDA_SUCCESS;
}
// Addresses below 1000 are memory of the device that they are.
inline CUresult get_fake_attribute(void* data, CUpointer_attribute, CUdeviceptr address) {
  if (address >= 1000) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<int*>(data) = static_cast<int>(address);
  return CUDA_SUCCESS;
}
using PFN_cuCtxGetCurrent_v4000 = CUresult (*)(CUcontext*);
using PFN_cuCtxSetCurrent_v4000 = CUresult (*)(CUcontext);
using PFN_cuPointerGetAttribute_v4000 = CUresult (*)(void*, CUpointer_attribute, CUdeviceptr);
inline cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                                    unsigned long long, void*) {
  *function = nullptr;
  if (std::strcmp(name, "cuCtxGetCurrent") == 0)
    *function = reinterpret_cast<void*>(get_fake_context);
  if (std::strcmp(name, "cuCtxSetCurrent") == 0)
    *function = reinterpret_cast<void*>(set_fake_context);
  if (std::strcmp(name, "cuPointerGetAttribute") == 0)
    *function = reinterpret_cast<void*>(get_fake_attribute);
  return cudaSuccess;
}
