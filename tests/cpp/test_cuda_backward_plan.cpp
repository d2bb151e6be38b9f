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

TEST_CASE("gradients: paths by size") {
  const auto path = [](fs::DType dtype, std::int64_t length, std::int64_t rows = 8192) {
    return cuda::make_plan(call_of(dtype, rows, length), kH200).path;
  };
  CHECK(path(fs::DType::f32, 1024) == Path::short_rows);
  CHECK(path(fs::DType::f64, 513) == Path::register_rows);
  CHECK(path(fs::DType::f32, 24 * 1024) == Path::register_rows);
  CHECK(path(fs::DType::f32, 24 * 1024 + 1) == Path::shared_rows);
  CHECK(path(fs::DType::bf16, 56 * 1024) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 30 * 1024) == Path::parts);
  CHECK(path(fs::DType::f32, 30 * 1024, 100) == Path::reread_rows);
  CHECK(path(fs::DType::f64, 13 * 1024) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 1 << 22, 1) == Path::parts);
  CHECK(path(fs::DType::f32, 4096, 1) == Path::register_rows);
}

TEST_CASE("gradients in parts: both inputs stay in half of L2") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    for (const std::int64_t length : {100'000, 1'000'000, 10'000'000, 1'000'000'000}) {
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
  for (const cuda::Device& device : {kH200, kT4}) {
    for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::f16}) {
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
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tests
