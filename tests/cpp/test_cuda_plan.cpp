// The plan of the CUDA backend: which path, and shapes that a device can launch.
#include <doctest/doctest.h>

#include <initializer_list>

#include "cuda/geometry.h"
#include "cuda/plan.h"
#include "elements.h"

namespace tests {
namespace {

using fs::cuda::Device;
using fs::cuda::Layout;
using fs::cuda::make_plan;
using fs::cuda::Path;
using fs::cuda::Plan;
using fs::cuda::RowsCall;

constexpr Device kH200{132, 227 * 1024, std::int64_t{50} << 20};
constexpr Device kT4{40, 64 * 1024, std::int64_t{4} << 20};

RowsCall call_of(fs::DType dtype, std::int64_t rows, std::int64_t length,
                 Layout layout = Layout::rows, std::int64_t columns = 0) {
  RowsCall call{};
  call.dtype = dtype;
  call.layout = layout;
  call.rows = rows;
  call.length = length;
  call.inner.size = columns;
  return call;
}

Plan plan_of(fs::DType dtype, std::int64_t rows, std::int64_t length,
             const Device& device = kH200) {
  return make_plan(call_of(dtype, rows, length), device);
}

TEST_CASE("short rows: a group each, and no more steps than they need") {
  for (const auto& [length, steps] :
       {std::pair{1, 1}, {64, 1}, {65, 4}, {256, 4}, {257, 16}, {1024, 16}}) {
    const Plan plan = plan_of(fs::DType::f32, 1000, length);
    CHECK(plan.path == Path::short_rows);
    CHECK(plan.steps == steps);
    CHECK(plan.blocks == 63);  // 16 rows to a thread block
  }
  CHECK(plan_of(fs::DType::f64, 10, 32).steps == 1);
  CHECK(plan_of(fs::DType::f64, 10, 33).steps == 4);
  CHECK(plan_of(fs::DType::f64, 10, 512).path == Path::short_rows);
  CHECK(plan_of(fs::DType::f64, 1000, 513).path == Path::register_rows);
}

TEST_CASE("rows by size: registers, shared memory, parts") {
  const auto path = [](fs::DType dtype, std::int64_t length) {
    return plan_of(dtype, 8192, length).path;
  };
  CHECK(path(fs::DType::f32, 1025) == Path::register_rows);
  CHECK(path(fs::DType::f32, 24 * 1024) == Path::register_rows);
  CHECK(path(fs::DType::f32, 24 * 1024 + 1) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 56 * 1024) == Path::shared_rows);
  CHECK(path(fs::DType::bf16, 56 * 1024) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 64 * 1024) == Path::parts);
  CHECK(path(fs::DType::f64, 16 * 512) == Path::register_rows);
  CHECK(path(fs::DType::f64, 16 * 512 + 1) == Path::shared_rows);
  CHECK(path(fs::DType::f64, 32 * 1024) == Path::parts);
}

TEST_CASE("a thread block has a group for each block of a row in registers") {
  for (std::int64_t blocks = 2; blocks <= 24; ++blocks) {
    const Plan plan = plan_of(fs::DType::f32, 8192, blocks * 1024);
    CHECK(plan.threads / fs::cuda::kGroup >= blocks);
    CHECK(plan.threads / fs::cuda::kGroup <= blocks + 1);
  }
}

TEST_CASE("few long rows are shared by thread blocks") {
  const Plan plan = plan_of(fs::DType::f32, 1, 1 << 22);
  CHECK(plan.path == Path::parts);
  CHECK(plan.rows_in_flight == 1);
  CHECK(plan.blocks >= kH200.sms);
  CHECK(plan_of(fs::DType::f32, 1, 4096).path == Path::register_rows);
}

TEST_CASE("rows in parts: what is in flight stays in half of L2") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    for (const std::int64_t length : {100'000, 1'000'000, 10'000'000, 1'000'000'000}) {
      const RowsCall call = call_of(dtype, 4096, length);
      const Plan plan = make_plan(call, kH200);
      CHECK(plan.path == Path::parts);
      const std::int64_t bytes = length * fs::itemsize(dtype);
      CHECK((plan.rows_in_flight == 1 || plan.rows_in_flight * bytes <= kH200.l2_bytes / 2));
      CHECK(fs::cuda::workspace_bytes(call, plan) > 0);
      CHECK(plan.part_blocks % (plan.threads / fs::cuda::kGroup) == 0);
      const std::int64_t block = dtype == fs::DType::f64 ? 512 : 1024;
      const std::int64_t parts =
          ((length + block - 1) / block + plan.part_blocks - 1) / plan.part_blocks;
      CHECK(plan.blocks == plan.rows_in_flight * parts);
    }
  }
}

TEST_CASE("other paths need no workspace") {
  const RowsCall call = call_of(fs::DType::f32, 8192, 4096);
  CHECK(fs::cuda::workspace_bytes(call, make_plan(call, kH200)) == 0);
}

TEST_CASE("every plan can be launched") {
  for (const Device& device : {kH200, kT4}) {
    for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::f16}) {
      for (const Layout layout : {Layout::rows, Layout::gathered, Layout::columns}) {
        for (const std::int64_t rows :
             {std::int64_t{1}, std::int64_t{100}, std::int64_t{1} << 40}) {
          for (std::int64_t length = 1; length < std::int64_t{1} << 33; length = 3 * length + 1) {
            const Plan plan = make_plan(call_of(dtype, rows, length, layout, 100), device);
            CAPTURE(length);
            CHECK(plan.blocks >= 1);
            CHECK(plan.blocks <= INT32_MAX);
            CHECK(plan.threads % 32 == 0);
            CHECK(plan.threads >= 32);
            CHECK(plan.threads <= fs::cuda::max_row_threads(dtype == fs::DType::f64));
            CHECK(plan.shared_bytes + fs::cuda::kStaticSharedBytes <= device.shared_per_block);
            CHECK(plan.direct == (layout != Layout::gathered));
          }
        }
      }
    }
  }
}

TEST_CASE("columns: a thread block for each sixteen of them") {
  const Plan plan = make_plan(call_of(fs::DType::f32, 3, 1000, Layout::columns, 33), kH200);
  CHECK(plan.path == Path::columns);
  CHECK(plan.blocks == 9);
  CHECK(std::string(fs::cuda::name(plan.path)) == "columns");
}

}  // namespace
}  // namespace tests
