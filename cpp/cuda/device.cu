#include "cuda/device.cuh"

#include <cudaTypedefs.h>

#include <map>
#include <mutex>

namespace fastsoftmax::cuda {
namespace {

// Functions of the driver. It is not linked, so that the library can be loaded without one.
struct Driver {
  PFN_cuCtxGetCurrent_v4000 get_context = nullptr;
  PFN_cuCtxSetCurrent_v4000 set_context = nullptr;
  PFN_cuPointerGetAttribute_v4000 get_attribute = nullptr;
  cudaError_t error = cudaSuccess;

  Driver() {
    find("cuCtxGetCurrent", get_context);
    find("cuCtxSetCurrent", set_context);
    find("cuPointerGetAttribute", get_attribute);
  }

 private:
  template <class Function>
  void find(const char* name, Function& function) {
    constexpr unsigned version = 12000;
    if (error != cudaSuccess) return;
    void* found = nullptr;
    error = cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, nullptr);
    function = reinterpret_cast<Function>(found);
    if (error == cudaSuccess && found == nullptr) error = cudaErrorNotSupported;
  }
};

const Driver& driver() {
  static const Driver found;
  return found;
}

// What is asked once for each device, and again after an error.
template <class Fact>
class PerDevice {
 public:
  template <class Ask>
  cudaError_t get(int device, Ask ask, Fact& fact) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = known_.find(device); found != known_.end()) {
      fact = found->second;
      return cudaSuccess;
    }
    const cudaError_t error = ask(device, fact);
    if (error == cudaSuccess) known_.emplace(device, fact);
    return error;
  }

 private:
  std::mutex mutex_;
  std::map<int, Fact> known_;
};

// Codes of the driver are those of the runtime.
cudaError_t as_error(CUresult result) { return static_cast<cudaError_t>(result); }

// The largest cluster of thread blocks that can be resident, each with as much shared memory as
// there is. A slice of a device, or a process's share of one, may have fewer multiprocessors side
// by side than a whole one.
cudaError_t find_largest_cluster(const AnyKernel& kernel, int shared_per_block, int& cluster) {
  cudaError_t error = allow_all_shared_memory(kernel.entry);
  for (cluster = kMaxCluster; cluster > 1 && error == cudaSuccess; cluster /= 2) {
    const LaunchShape shape(cluster, kernel.threads, shared_per_block - kStaticSharedBytes, cluster,
                            nullptr);
    int resident = 0;
    error = cudaOccupancyMaxActiveClusters(&resident, kernel.entry, shape.config());
    if (error == cudaSuccess && resident > 0) return error;
    if (error == cudaErrorInvalidClusterSize) {
      cudaGetLastError();
      error = cudaSuccess;
    }
  }
  return error;
}

cudaError_t ask(int device, Device& described) {
  int l2 = 0;
  cudaFuncAttributes attributes{};
  const AnyKernel kernel = any_kernel();
  cudaError_t error =
      cudaDeviceGetAttribute(&described.sms, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&described.shared_per_block,
                                   cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel.entry);
  described.l2_bytes = l2;
  described.architecture = attributes.ptxVersion;
  described.largest_cluster = 1;
  if (error == cudaSuccess && described.architecture >= 90)
    error = find_largest_cluster(kernel, described.shared_per_block, described.largest_cluster);
  return error;
}

cudaError_t make_pool(int device, cudaMemPool_t& pool) {
  int supported = 0;
  cudaError_t error = cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device);
  if (error != cudaSuccess || supported == 0) return error;
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  error = cudaMemPoolCreate(&pool, &properties);
  if (error != cudaSuccess) return error;
  std::uint64_t kept = kKeptBytes;
  error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept);
  if (error != cudaSuccess) cudaMemPoolDestroy(pool);
  return error;
}

// Of the current device, for as long as the process lives; null where it has no pools.
cudaError_t find_pool(cudaMemPool_t& pool) {
  static PerDevice<cudaMemPool_t> pools;
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  return error == cudaSuccess ? pools.get(device, make_pool, pool) : error;
}

}  // namespace

CurrentDevice::CurrentDevice(int device) {
  int current = -1;
  error_ = cudaGetDevice(&current);
  if (error_ == cudaSuccess) error_ = driver().error;
  if (error_ == cudaSuccess) error_ = as_error(driver().get_context(&before_));
  if (error_ != cudaSuccess || (before_ != nullptr && current == device)) return;
  error_ = cudaSetDevice(device);
  switched_ = true;
}

CurrentDevice::~CurrentDevice() {
  if (switched_) driver().set_context(before_);
}

cudaError_t describe(int device, Device& described) {
  static PerDevice<Device> devices;
  return devices.get(device, ask, described);
}

cudaError_t find_device(const void* data, int& device) {
  if (driver().error != cudaSuccess) return driver().error;
  return as_error(driver().get_attribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                         reinterpret_cast<CUdeviceptr>(data)));
}

cudaError_t allow_all_shared_memory(const void* kernel) {
  int device = 0;
  int limit = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              limit - kStaticSharedBytes);
}

LaunchShape::LaunchShape(std::int64_t blocks, int threads, int shared_bytes, int cluster,
                         cudaStream_t stream) {
  cluster_.id = cudaLaunchAttributeClusterDimension;
  cluster_.val.clusterDim.x = static_cast<unsigned>(cluster);
  cluster_.val.clusterDim.y = 1;
  cluster_.val.clusterDim.z = 1;
  config_.gridDim = dim3(static_cast<unsigned>(blocks));
  config_.blockDim = dim3(static_cast<unsigned>(threads));
  config_.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config_.stream = stream;
  config_.attrs = &cluster_;
  config_.numAttrs = cluster > 1 ? 1 : 0;
}

cudaError_t StreamMemory::take(std::int64_t bytes) {
  cudaMemPool_t pool = nullptr;
  if (const cudaError_t error = find_pool(pool); error != cudaSuccess) return error;
  pooled_ = pool != nullptr;
  const auto size = static_cast<std::size_t>(bytes);
  return pooled_ ? cudaMallocFromPoolAsync(&data_, size, pool, stream_) : cudaMalloc(&data_, size);
}

cudaError_t StreamMemory::give_back() {
  if (pooled_) return cudaFreeAsync(data_, stream_);
  const cudaError_t done = cudaStreamSynchronize(stream_);
  const cudaError_t freed = cudaFree(data_);
  return done != cudaSuccess ? done : freed;
}

}  // namespace fastsoftmax::cuda
