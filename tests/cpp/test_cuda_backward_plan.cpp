// The plan of gradients on a device: which path, and shapes that a device can launch.
#include <doctest/doctest.h>

#include "array.h"
#include "cuda/backward_parameters.h"
#include "cuda/backward_plan.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;
using cuda::Path;

constexpr cuda::Device kH200{132, 227 * 1024, std::int64_t{50} << 20, 90};
constexpr cuda::Device kT4{40, 64 * 1024, std::int64_t{4} << 20, 75};
constexpr cuda::Device kA100{108, 163 * 1024, std::int64_t{40} << 20, 80};
constexpr cuda::Device kB200{148, 227 * 1024, std::int64_t{126} << 20, 100};
constexpr cuda::Device kRtx5090{170, 99 * 1024, std::int64_t{96} << 20, 120};
constexpr cuda::Device kSlice{16, 227 * 1024, std::int64_t{12} << 20, 90, 2};  // of an H200
constexpr cuda::Device kAlone{16, 227 * 1024, std::int64_t{12} << 20, 90, 1};

cuda::BackwardCall call_of(fs::DType dtype, std::int64_t rows, std::int64_t length,
                           cuda::Layout layout = cuda::Layout::rows) {
  cuda::BackwardCall call{};
  call.dtype = dtype;
  call.layout = layout;
  call.rows = rows;
  call.length = length;
  call.inner.size = 100;
  return call;
}

cuda::Plan plan_of(fs::DType dtype, std::int64_t length, std::int64_t rows = 8192,
                   const cuda::Device& device = kH200) {
  return cuda::make_plan(call_of(dtype, rows, length), device);
}

constexpr auto kF32 = fs::DType::f32;
constexpr auto kF64 = fs::DType::f64;
constexpr auto kBf16 = fs::DType::bf16;

TEST_CASE("gradients: paths by size") {
  CHECK(plan_of(kF32, 1024).path == Path::short_rows);
  CHECK(plan_of(kF64, 513).path == Path::register_rows);
  CHECK(plan_of(kF32, 4096, 100).path == Path::register_rows);
  CHECK(plan_of(kF32, 192 * 1024 + 1).path == Path::parts);
  CHECK(plan_of(kBf16, 200 * 1024, 10).path == Path::parts);
  CHECK(plan_of(kBf16, 200 * 1024, 20, kB200).path == Path::parts);
  CHECK(plan_of(kBf16, 200 * 1024, 80, kB200).path == Path::reread_rows);
  CHECK(plan_of(kF32, 1 << 22, 1).path == Path::parts);
}

TEST_CASE("gradients: the smallest cluster that keeps a row in registers") {
  for (const cuda::Device& device : {kH200, kB200, kRtx5090}) {
    for (const fs::DType dtype : {kF32, kF64, kBf16}) {
      const auto block = static_cast<std::int64_t>(block_of(dtype));
      const auto check = [&](std::int64_t length, int cluster) {
        const cuda::Plan plan = plan_of(dtype, length, 8192, device);
        CAPTURE(length);
        CHECK(plan.path == (cluster > 1 ? Path::cluster_rows : Path::register_rows));
        CHECK(plan.in_registers);
        CHECK(plan.cluster == cluster);
        CHECK(plan.blocks == 8192 * cluster);
        CHECK(plan.shared_bytes ==
              cuda::gradient_desk_bytes(plan.threads / cuda::kGroup * cluster));
      };
      for (const int cluster : {1, 2, 4}) {
        check(24 * block * cluster, cluster);
        check(24 * block * cluster + 1, 2 * cluster);
      }
      check(192 * block, 8);
      CHECK(plan_of(dtype, 192 * block + 1, 8192, device).path == Path::parts);
    }
  }
  CHECK(plan_of(kF32, 24 * 1024 + 1).threads == 14 * 16);
}

TEST_CASE("gradients: few rows have larger clusters") {
  CHECK(plan_of(kF32, 8 * 1024, 66).cluster == 2);
  CHECK(plan_of(kF32, 8 * 1024, 67).cluster == 1);
  CHECK(plan_of(kF32, 7 * 1024, 1).path == Path::register_rows);
  CHECK(plan_of(kF32, 7 * 1024 + 1, 1).path == Path::cluster_rows);
  CHECK(plan_of(kF32, 15 * 1024 + 1, 1).cluster == 4);
  CHECK(plan_of(kF32, 100 * 1024, 1).cluster == 8);
  CHECK(plan_of(kF32, 100 * 1024, 1).blocks == 8);
  CHECK(plan_of(kF32, 8 * 1024, 1, kA100).cluster == 1);
}

TEST_CASE("gradients: devices without clusters, or without large ones") {
  for (const cuda::Device& device : {kAlone, kA100, kT4})
    CHECK(plan_of(kF32, 24 * 1024, 8192, device).path == Path::register_rows);
  CHECK(plan_of(kF32, 24 * 1024 + 1, 8192, kAlone).path == Path::shared_rows);
  CHECK(plan_of(kF32, 28'892, 8192, kAlone).path == Path::shared_rows);
  CHECK(plan_of(kF32, 28'893, 8192, kAlone).path == Path::parts);
  CHECK(plan_of(kF64, 24 * 512 + 1, 8192, kAlone).path == Path::shared_rows);
  CHECK(plan_of(kBf16, 57'784, 8192, kAlone).path == Path::shared_rows);
  CHECK(plan_of(kBf16, 57'785, 8192, kAlone).path == Path::parts);
  CHECK(plan_of(kF32, 30 * 1024, 20, kAlone).path == Path::reread_rows);
  CHECK(plan_of(kF32, 96 * 1024, 8, kAlone).path == Path::parts);
  CHECK(plan_of(kF32, 24 * 1024 + 1, 8192, kA100).path == Path::parts);
  CHECK(plan_of(kF32, 20 * 1024, 8192, kA100).path == Path::register_rows);
  CHECK(plan_of(kBf16, 41'400, 8192, kA100).path == Path::shared_rows);
  CHECK(plan_of(kBf16, 41'401, 8192, kA100).path == Path::parts);
  CHECK(plan_of(kF32, 48 * 1024, 8192, kSlice).cluster == 2);
  CHECK(plan_of(kF32, 48 * 1024 + 1, 8192, kSlice).path == Path::parts);
  CHECK(plan_of(kBf16, 48 * 1024 + 1, 8192, kSlice).path == Path::shared_rows);
}

TEST_CASE("gradients in parts: both inputs stay in half of L2") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    for (const std::int64_t length : {200'000, 1'000'000, 10'000'000, 1'000'000'000}) {
      const cuda::BackwardCall call = call_of(dtype, 4096, length);
      const cuda::Plan plan = cuda::make_plan(call, kH200);
      CHECK(plan.path == Path::parts);
      const std::int64_t bytes = 2 * length * fs::itemsize(dtype);
      CHECK((plan.rows_in_flight == 1 || plan.rows_in_flight * bytes <= kH200.l2_bytes / 2));
      const auto block = static_cast<std::int64_t>(block_of(dtype));
      CHECK(cuda::workspace_bytes(call, plan) ==
            plan.rows_in_flight * 16 * ((length + block - 1) / block + 1));
    }
  }
  const cuda::BackwardCall call = call_of(fs::DType::f32, 8192, 4096);
  CHECK(cuda::workspace_bytes(call, cuda::make_plan(call, kH200)) == 0);
}

TEST_CASE("every plan of gradients can be launched") {
  for (const cuda::Device& device : {kH200, kB200, kRtx5090, kA100, kT4, kSlice, kAlone}) {
    for (const fs::DType dtype : {kF32, kF64, fs::DType::f16}) {
      for (const auto layout :
           {cuda::Layout::rows, cuda::Layout::gathered, cuda::Layout::columns}) {
        for (const std::int64_t rows :
             {std::int64_t{1}, std::int64_t{100}, std::int64_t{1} << 40}) {
          for (std::int64_t length = 1; length < std::int64_t{1} << 33; length = 3 * length + 1) {
            const cuda::Plan plan = cuda::make_plan(call_of(dtype, rows, length, layout), device);
            CAPTURE(length);
            CHECK(plan.blocks >= 1);
            CHECK(plan.blocks <= INT32_MAX);
            CHECK(plan.threads % 32 == 0);
            CHECK(plan.threads >= 32);
            CHECK(plan.threads <= cuda::kGradientThreads);
            CHECK(plan.shared_bytes + cuda::kStaticSharedBytes <= device.shared_per_block);
            CHECK(plan.direct == (layout != cuda::Layout::gathered));
            CHECK(plan.blocks % plan.cluster == 0);
            CHECK(plan.cluster <= (device.architecture >= 90 ? device.largest_cluster : 1));
            const auto block = static_cast<std::int64_t>(block_of(dtype));
            const std::int64_t kept = plan.threads / cuda::kGroup * plan.cluster * block;
            CHECK((!plan.in_registers || length <= kept));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tests
