// The plan of losses and statistics on a device: which path, and shapes that it can launch.
#include <doctest/doctest.h>

#include "cuda/crew_geometry.h"
#include "cuda/crew_plan.h"
#include "elements.h"
#include "plan_devices.h"

namespace tests {
namespace {

using fs::cuda::Layout;
using fs::cuda::Path;
using fs::cuda::Plan;

constexpr auto kF32 = fs::DType::f32;
constexpr auto kF64 = fs::DType::f64;

Plan plan_of(fs::DType dtype, std::int64_t rows, std::int64_t length, bool gradient,
             const Device& device = kH200, Layout layout = Layout::rows) {
  static char y = 0;
  fs::cuda::RowsCall call{};
  call.dtype = dtype;
  call.layout = layout;
  call.rows = rows;
  call.length = length;
  call.y = gradient ? &y : nullptr;
  call.inner = {33, 4, 4, 0, 0};
  return fs::cuda::make_crew_plan(call, device);
}

TEST_CASE("losses and statistics: many rows, by size") {
  const auto path = [](fs::DType dtype, std::int64_t length, bool gradient = true) {
    return plan_of(dtype, 1000, length, gradient).path;
  };
  const auto cluster = [](fs::DType dtype, std::int64_t length) {
    return plan_of(dtype, 1000, length, true).cluster;
  };
  CHECK(path(kF32, 1024) == Path::short_rows);
  CHECK(plan_of(kF32, 100, 1024, true).blocks == 7);
  CHECK(path(kF32, 1025) == Path::register_rows);
  CHECK(plan_of(kF32, 100, 1025, true).threads == 32);
  CHECK(path(kF32, 16 * 1024) == Path::register_rows);
  CHECK(path(kF32, 16 * 1024 + 1) == Path::shared_rows);
  CHECK(plan_of(kF32, 1000, 16 * 1024 + 1, true).slots == 2);
  CHECK(path(kF64, 8 * 1024) == Path::register_rows);
  CHECK(path(kF64, 8 * 1024 + 1) == Path::shared_rows);
  CHECK(path(kF32, 56 * 1024) == Path::shared_rows);
  CHECK(path(kF32, 56 * 1024 + 1) == Path::cluster_rows);
  CHECK(cluster(kF32, 56 * 1024 + 1) == 2);
  CHECK(cluster(kF32, 128 * 1024) == 4);
  CHECK(cluster(kF32, 256 * 1024) == 8);
  CHECK(plan_of(kF32, 1000, 256 * 1024, true).slots == 2);
  // Longer than eight thread blocks keep: few of them in work.
  CHECK(cluster(kF32, 1 << 20) == 8);
  CHECK(plan_of(kF32, 1000, 1 << 20, true).slots == 0);
  // Read once.
  CHECK(path(kF32, 16 * 1024 + 1, false) == Path::reread_rows);
  CHECK(path(kF32, 1 << 20, false) == Path::reread_rows);
  // Without clusters.
  CHECK(plan_of(kF32, 1000, 1 << 20, true, kA100).path == Path::reread_rows);
  CHECK(plan_of(kF32, 1, 1 << 20, true, kA100).blocks == 1);
}

TEST_CASE("losses and statistics: few long rows are shared by clusters") {
  for (const bool gradient : {false, true}) {
    for (const Device& device : {kH200, kB200, kRtx5090}) {
      const Plan plan = plan_of(kF32, 8, 131'072, gradient, device);
      CHECK(plan.path == Path::cluster_rows);
      CHECK(plan.cluster == 8);
      CHECK(plan.blocks == 64);
      CHECK(plan.in_registers);
    }
    CHECK(plan_of(kF32, 8, 131'072, gradient, kA100).cluster == 1);
    CHECK(plan_of(kF32, 8, 131'072, gradient, kT4).blocks == 8);
    CHECK(plan_of(kF32, 66, 8 * 1024, gradient).cluster == 2);
    CHECK(plan_of(kF32, 67, 8 * 1024, gradient).cluster == 1);
    CHECK(plan_of(kF32, 1, 7 * 1024, gradient).cluster == 1);
    CHECK(plan_of(kF32, 1, 7 * 1024 + 1, gradient).cluster == 2);
    CHECK(plan_of(kF64, 1, 7 * 512 + 1, gradient).cluster == 2);
    CHECK(plan_of(kF32, 1, 15 * 1024 + 1, gradient).cluster == 4);
    CHECK(plan_of(kF32, 1, 31 * 1024 + 1, gradient).cluster == 8);
    CHECK(plan_of(kF32, 8, 131'072, gradient, kH200, Layout::gathered).cluster == 8);
  }
}

TEST_CASE("losses and statistics: any rows, columns") {
  const auto plan = [](Layout layout, std::int64_t rows, std::int64_t length) {
    return plan_of(kF32, rows, length, true, kH200, layout);
  };
  CHECK(plan(Layout::gathered, 100, 5).path == Path::reread_rows);
  CHECK(plan(Layout::gathered, 100, 5).threads == 32);
  CHECK(plan(Layout::gathered, 100, 1 << 20).threads == 128);
  CHECK(plan(Layout::gathered, 100, 1 << 20).cluster == 1);
  CHECK(plan(Layout::columns, 100, 5).path == Path::columns);
  CHECK(plan(Layout::columns, 100, 5).blocks == 300);
}

TEST_CASE("losses and statistics: every plan can be launched") {
  for (const Device& device : kDevices) {
    for (const fs::DType dtype : {kF32, kF64, fs::DType::f16}) {
      for (const Layout layout : {Layout::rows, Layout::gathered, Layout::columns}) {
        for (const std::int64_t rows : {0L, 1L, 8L, 66L, 5000L, 1L << 40}) {
          for (std::int64_t length = 0; length < (1L << 33); length += length / 5 + 300) {
            for (const bool gradient : {false, true}) {
              const Plan plan = plan_of(dtype, rows, length, gradient, device, layout);
              const int groups = plan.threads / fs::cuda::kGroup;
              const std::int64_t block = dtype == kF64 ? 512 : 1024;
              const std::int64_t blocks = (length + block - 1) / block;
              const bool fits =
                  plan.threads % 32 == 0 && plan.threads >= 32 && plan.threads <= 256 &&
                  plan.blocks >= 1 && plan.blocks <= INT32_MAX && plan.blocks % plan.cluster == 0 &&
                  plan.shared_bytes + fs::cuda::kStaticSharedBytes <= device.shared_per_block &&
                  (plan.cluster == 1 || device.architecture >= 90) && plan.cluster <= 8;
              const std::int64_t kept = std::int64_t{plan.slots} * groups * plan.cluster;
              const bool stays = plan.direct
                                     ? (!plan.in_registers || blocks <= groups * plan.cluster) &&
                                           (plan.slots == 0 || kept >= blocks)
                                     : true;
              CAPTURE(length);
              if (!fits || !stays) CHECK(false);
            }
          }
        }
      }
    }
  }
  CHECK(plan_of(kF32, std::int64_t{1} << 40, 5000, true).blocks > INT32_MAX - 8);
  CHECK(plan_of(kF32, 0, 5000, true).blocks == 1);
}

}  // namespace
}  // namespace tests
