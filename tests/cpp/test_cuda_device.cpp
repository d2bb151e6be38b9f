// What the CUDA library asks of the runtime around its launches, with a runtime that only says what
// it is told to: the caller's context, what a device can do, memory.
#include <doctest/doctest.h>

#include <utility>

#include "cuda/device.cu"  // NOLINT(bugprone-suspicious-include)

namespace fastsoftmax::cuda {

AnyKernel any_kernel() { return {nullptr, 384}; }

}  // namespace fastsoftmax::cuda

namespace tests {
namespace {

namespace cuda = fastsoftmax::cuda;
using Asked = std::vector<std::string>;

Asked take_asked() { return std::exchange(fake_cuda.asked, {}); }

TEST_CASE("the caller's context is put back") {
  fake_cuda = {};
  const auto in_call = [](int device) {
    return cuda::submit_on(device, [&] {
      CHECK(fake_cuda.context == context_of(device));
      return cudaSuccess;
    });
  };
  CHECK(in_call(1) == 0);
  CHECK(fake_cuda.context == nullptr);  // and none has been made on device 0
  CHECK(take_asked() == Asked{"set 1"});
  CHECK(in_call(1) == 0);
  CHECK(fake_cuda.context == nullptr);

  cudaSetDevice(2);
  take_asked();
  CHECK(in_call(3) == 0);
  CHECK(fake_cuda.context == context_of(2));
  CHECK(take_asked() == Asked{"set 3"});
  CHECK(in_call(2) == 0);
  CHECK(take_asked().empty());

  CHECK(cuda::submit_on(-1, [] { return cudaSuccess; }) == cudaErrorInvalidValue);
  CHECK(fake_cuda.context == context_of(2));
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("the largest cluster that can be resident is asked for once") {
  int device = 10;
  for (const unsigned largest : {8U, 4U, 2U, 1U}) {
    for (const cudaError_t if_too_large : {cudaSuccess, cudaErrorInvalidClusterSize}) {
      fake_cuda = {};
      fake_cuda.largest_cluster = largest;
      fake_cuda.if_too_large = if_too_large;
      for (int turn = 0; turn < 2; ++turn) {
        cuda::Device described{};
        CHECK(cuda::describe(device, described) == cudaSuccess);
        CHECK(described.sms == 132);
        CHECK(described.shared_per_block == 227 * 1024);
        CHECK(described.l2_bytes == 50 << 20);
        CHECK(described.architecture == 90);
        CHECK(described.largest_cluster == static_cast<int>(largest));
        if (turn == 0)
          CHECK(take_asked()[5] ==
                "clusters of 8 with " + std::to_string(227 * 1024 - cuda::kStaticSharedBytes));
        else
          CHECK(take_asked().empty());
      }
      CHECK(cudaGetLastError() == cudaSuccess);
      ++device;
    }
  }
  fake_cuda = {};
  fake_cuda.architecture = 80;
  cuda::Device described{};
  CHECK(cuda::describe(device, described) == cudaSuccess);
  CHECK(described.largest_cluster == 1);
  CHECK(take_asked() == Asked{"attribute", "attribute", "attribute"});
}

TEST_CASE("an error about a device is told, and it is asked again") {
  fake_cuda = {};
  fake_cuda.largest_cluster = 0;
  fake_cuda.if_too_large = cudaErrorInvalidValue;
  cuda::Device described{};
  CHECK(cuda::describe(99, described) == cudaErrorInvalidValue);
  fake_cuda = {};
  CHECK(cuda::describe(99, described) == cudaSuccess);
  CHECK(described.largest_cluster == 8);
}

TEST_CASE("memory on a stream, with pools and without") {
  fake_cuda = {};
  const auto submit = [](void* memory) {
    return fake_cuda.note(memory == nullptr ? "without memory" : "work");
  };
  CHECK(cuda::with_workspace(0, nullptr, submit) == cudaSuccess);
  CHECK(take_asked() == Asked{"without memory"});
  for (const int device : {0, 1}) {
    fake_cuda.device = device;
    CHECK(cuda::with_workspace(8, nullptr, submit) == cudaSuccess);
    CHECK(take_asked() == Asked{"attribute", "pool of " + std::to_string(device), "keeps 64",
                                "malloc on stream", "work", "free on stream"});
    CHECK(cuda::with_workspace(8, nullptr, submit) == cudaSuccess);
    CHECK(take_asked() == Asked{"malloc on stream", "work", "free on stream"});
  }
  CHECK(cuda::with_workspace(8, nullptr, [](void*) { return cudaErrorInvalidValue; }) ==
        cudaErrorInvalidValue);
  CHECK(take_asked() == Asked{"malloc on stream", "free on stream"});

  fake_cuda.device = 3;
  for (const cudaError_t error : {cudaErrorInvalidValue, cudaSuccess}) {
    fake_cuda.pool_attribute = error;
    CHECK(cuda::with_workspace(8, nullptr, submit) == error);
    CHECK((take_asked().back() == "no pool") == (error != cudaSuccess));
    CHECK(cudaGetLastError() == error);
  }

  fake_cuda.device = 2;
  fake_cuda.has_pools = false;
  CHECK(cuda::with_workspace(8, nullptr, submit) == cudaSuccess);
  CHECK(take_asked() == Asked{"attribute", "malloc", "work", "wait", "free"});
  CHECK(cudaGetLastError() == cudaSuccess);

  for (const bool pools : {true, false}) {
    fake_cuda.device = pools ? 1 : 2;
    fake_cuda.allocation = cudaErrorMemoryAllocation;
    CHECK(cuda::with_workspace(8, nullptr, submit) == cudaErrorMemoryAllocation);
    CHECK(take_asked().back() == (pools ? "malloc on stream" : "malloc"));
  }
}

TEST_CASE("the device of memory; host memory has none") {
  fake_cuda = {};
  int device = -1;
  CHECK(cuda::find_device(reinterpret_cast<const void*>(std::uintptr_t{3}), device) == cudaSuccess);
  CHECK(device == 3);
  CHECK(cuda::find_device(&device, device) == cudaErrorInvalidValue);
  CHECK(fake_cuda.context == nullptr);
}

}  // namespace
}  // namespace tests
