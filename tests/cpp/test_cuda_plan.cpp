// The plan of the CUDA backend: which path, and shapes that a device can launch.
#include <doctest/doctest.h>

#include <initializer_list>

#include "cuda/geometry.h"
#include "cuda/plan.h"
#include "elements.h"
#include "plan_devices.h"

namespace tests {
namespace {

using fs::cuda::Layout;
using fs::cuda::make_plan;
using fs::cuda::Path;
using fs::cuda::Plan;
using fs::cuda::RowsCall;

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
    const int rows = 256 / (steps == 1 ? 4 : steps == 4 ? 8 : 16);  // to a thread block
    CHECK(plan.blocks == (1000 + rows - 1) / rows);
  }
  CHECK(plan_of(fs::DType::f64, 10, 32).steps == 1);
  CHECK(plan_of(fs::DType::f64, 10, 33).steps == 4);
  CHECK(plan_of(fs::DType::f64, 10, 512).path == Path::short_rows);
  CHECK(plan_of(fs::DType::f64, 1000, 513).path == Path::register_rows);
}

TEST_CASE("many short rows: a group loads rows ahead") {
  const Plan plan = plan_of(fs::DType::f32, 1'000'000, 64);
  CHECK(plan.blocks <= 1'000'000 / 64 / 4);
  CHECK(plan.blocks >= 4 * 2 * kH200.sms);  // several waves
  CHECK(plan_of(fs::DType::f32, 64 * 4 * 2 * 132, 64).blocks == 4 * 2 * 132);
}

TEST_CASE("rows by size: registers, those of a cluster, shared memory of a cluster, parts") {
  const auto path = [](fs::DType dtype, std::int64_t length) {
    return plan_of(dtype, 8192, length).path;
  };
  const auto cluster = [](fs::DType dtype, std::int64_t length) {
    const Plan plan = plan_of(dtype, 8192, length);
    return plan.in_registers ? plan.cluster : 0;
  };
  CHECK(path(fs::DType::f32, 1025) == Path::register_rows);
  CHECK(path(fs::DType::f32, 12 * 1024) == Path::register_rows);
  CHECK(path(fs::DType::f32, 12 * 1024 + 1) == Path::cluster_rows);
  CHECK(cluster(fs::DType::f32, 12 * 1024 + 1) == 2);
  CHECK(cluster(fs::DType::f16, 24 * 1024) == 2);
  CHECK(cluster(fs::DType::f32, 24 * 1024 + 1) == 4);
  CHECK(cluster(fs::DType::f32, 48 * 1024 + 1) == 8);
  CHECK(cluster(fs::DType::f32, 192 * 1024) == 8);
  CHECK(cluster(fs::DType::f32, 192 * 1024 + 1) == 0);
  CHECK(path(fs::DType::f32, 256 * 1024) == Path::cluster_rows);
  CHECK(path(fs::DType::bf16, 512 * 1024) == Path::cluster_rows);
  CHECK(path(fs::DType::f32, 512 * 1024) == Path::parts);
  CHECK(path(fs::DType::f64, 8 * 512) == Path::register_rows);
  CHECK(cluster(fs::DType::f64, 8 * 512 + 1) == 2);
  CHECK(cluster(fs::DType::f64, 8 * 16 * 512) == 8);
  CHECK(path(fs::DType::f64, 1 << 18) == Path::parts);
}

TEST_CASE("without clusters: registers, shared memory in the type of the row, parts") {
  const auto path = [](fs::DType dtype, std::int64_t length, const Device& device) {
    const Plan plan = plan_of(dtype, 8192, length, device);
    CHECK(plan.cluster == 1);
    CHECK_FALSE(plan.bulk);
    return plan.path;
  };
  CHECK(path(fs::DType::f32, 24 * 1024, kA100) == Path::register_rows);
  CHECK(path(fs::DType::f32, 24 * 1024 + 1, kA100) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 36 * 1024, kA100) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 64 * 1024, kA100) == Path::parts);
  CHECK(path(fs::DType::bf16, 72 * 1024, kA100) == Path::shared_rows);
  CHECK(path(fs::DType::f64, 16 * 512 + 1, kA100) == Path::shared_rows);
  CHECK(path(fs::DType::f64, 32 * 1024, kA100) == Path::parts);
  CHECK(path(fs::DType::bf16, 26 * 1024, kT4) == Path::shared_rows);
  CHECK(path(fs::DType::f32, 26 * 1024, kT4) == Path::parts);
}

TEST_CASE("no cluster is larger than can be resident") {
  for (const int largest : {1, 2, 4}) {
    const Device device = h200_with_clusters_of(largest);
    const std::int64_t in_registers = largest == 1 ? 24 * 1024 : largest * 24 * 1024;
    for (const std::int64_t rows : {1, 8192}) {
      const Plan plan = plan_of(fs::DType::f32, rows, 24 * 1024, device);
      CHECK(plan.cluster <= largest);
      CHECK(plan.in_registers);
    }
    const Plan longest = plan_of(fs::DType::f32, 8192, in_registers, device);
    CHECK(longest.cluster == largest);
    CHECK(longest.in_registers);
    CHECK(longest.path == (largest == 1 ? Path::register_rows : Path::cluster_rows));
    const Plan longer = plan_of(fs::DType::f32, 8192, in_registers + 1024, device);
    CHECK(longer.cluster == largest);
    CHECK_FALSE(longer.in_registers);
    CHECK(longer.path == (largest == 1 ? Path::shared_rows : Path::cluster_rows));
    CHECK(plan_of(fs::DType::f32, 8192, largest * 60 * 1024, device).path == Path::parts);
  }
}

TEST_CASE("rows are fetched ahead where they are aligned and thread blocks take several") {
  for (const std::int64_t length : {2048, 5000, 24 * 1024, 100'000, 300'000}) {
    CAPTURE(length);
    const Plan plan = plan_of(fs::DType::f32, 1 << 16, length);
    CHECK(plan.bulk);
    CHECK(plan.blocks % plan.cluster == 0);
    CHECK(plan.blocks / plan.cluster < 1 << 16);
    CHECK(plan.slots * plan.threads / fs::cuda::kGroup * plan.cluster * 1024 > length);
    CHECK_FALSE(plan_of(fs::DType::f32, 1 << 16, length, kA100).bulk);
    CHECK_FALSE(plan_of(fs::DType::f32, 1 << 16, length - 1).bulk);
    alignas(16) constexpr static char memory[16] = {};
    RowsCall call = call_of(fs::DType::f32, 1 << 16, length);
    call.x = &memory[8];
    CHECK_FALSE(make_plan(call, kH200).bulk);
    call.x = nullptr;
    call.outer.count = 1;
    call.outer.axis[0] = {1 << 16, 4 * length + 4, 4 * length, 0, 0};
    CHECK_FALSE(make_plan(call, kH200).bulk);
    call.outer.axis[0].x = 4 * length + 16;
    CHECK(make_plan(call, kH200).bulk);
  }
  // Nothing to fetch ahead.
  CHECK_FALSE(plan_of(fs::DType::f32, 100, 8192).bulk);
  CHECK(plan_of(fs::DType::f32, 100, 8192).slots == 0);
}

TEST_CASE("logsumexp reads a row once, however long") {
  RowsCall call = call_of(fs::DType::f32, 8192, 1 << 20);
  call.op = fs::kernels::RowOp::logsumexp;
  const Plan plan = make_plan(call, kH200);
  CHECK(plan.path == Path::reread_rows);
  CHECK(plan.bulk);
  call.rows = 1;
  CHECK(make_plan(call, kH200).path == Path::parts);
}

TEST_CASE("a thread block has a group for each block of a row in registers") {
  for (std::int64_t blocks = 2; blocks <= 24; ++blocks) {
    const Plan plan = plan_of(fs::DType::f32, 8192, blocks * 1024, kA100);
    CHECK(plan.threads / fs::cuda::kGroup >= blocks);
    CHECK(plan.threads / fs::cuda::kGroup <= blocks + 1);
  }
  for (std::int64_t blocks = 13; blocks <= 192; ++blocks) {
    const Plan plan = plan_of(fs::DType::f32, 8192, blocks * 1024);
    const std::int64_t groups = plan.threads / fs::cuda::kGroup * plan.cluster;
    CHECK(groups >= blocks);
    CHECK(groups < blocks + 2 * plan.cluster);
  }
}

TEST_CASE("few long rows are shared by thread blocks") {
  const Plan plan = plan_of(fs::DType::f32, 1, 1 << 22);
  CHECK(plan.path == Path::parts);
  CHECK(plan.rows_in_flight == 1);
  CHECK(plan.blocks >= kH200.sms);
  CHECK(plan_of(fs::DType::f32, 1, 4096).path == Path::register_rows);
  CHECK(plan_of(fs::DType::f32, 1, 100'000).cluster == 8);
  CHECK(plan_of(fs::DType::f32, 16, 16'384).cluster == 4);
  CHECK(plan_of(fs::DType::f32, 1, 100'000, kA100).path == Path::parts);
}

TEST_CASE("rows in parts: what is in flight stays in half of L2") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    for (const std::int64_t length : {1'000'000, 10'000'000, 1'000'000'000}) {
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
  for (const Device& device : kDevices) {
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
            CHECK(plan.blocks % plan.cluster == 0);
            CHECK(plan.cluster <= (device.architecture >= 90 ? device.largest_cluster : 1));
            const int groups = plan.threads / fs::cuda::kGroup;
            const std::int64_t block = dtype == fs::DType::f64 ? 512 : 1024;
            const std::int64_t at_once = plan.cluster * groups * block;
            if (plan.in_registers) CHECK(at_once >= length);
            if (plan.path == Path::shared_rows) CHECK(plan.slots * at_once >= length);
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
