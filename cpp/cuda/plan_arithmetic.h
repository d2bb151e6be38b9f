// What the plans of several operations are made with.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/geometry.h"
#include "cuda/plan.h"

namespace fastsoftmax::cuda {

// Thread blocks walk on through rows where there are more than this.
inline constexpr std::int64_t kMaxBlocks = INT32_MAX / kMaxCluster * kMaxCluster;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr int block_of(bool f64) { return f64 ? kernels::kBlockF64 : kernels::kBlockF32; }

// Groups for a row of so many blocks, in whole warps.
constexpr int groups_for(std::int64_t blocks, int most) {
  return static_cast<int>(std::clamp<std::int64_t>((blocks + 1) / 2 * 2, 2, most));
}

// Thread blocks of a cluster at most, on this device.
constexpr int max_cluster(const Device& device) {
  return device.architecture >= 90 ? device.largest_cluster : 1;
}

// A cluster of so many thread blocks, or of more where there are too few rows of so many blocks to
// keep the device busy.
constexpr int widened(int cluster, std::int64_t rows, std::int64_t blocks, const Device& device) {
  while (cluster < max_cluster(device) && 2 * cluster * rows <= device.sms && blocks >= 8 * cluster)
    cluster *= 2;
  return cluster;
}

constexpr Plan of_path(Path path, int threads, std::int64_t blocks, int shared_bytes) {
  Plan plan{};
  plan.path = path;
  plan.direct = true;
  plan.threads = threads;
  plan.blocks = std::clamp<std::int64_t>(blocks, 1, kMaxBlocks);
  plan.shared_bytes = shared_bytes;
  plan.cluster = 1;
  return plan;
}

// Rows of so many blocks, of which `row_bytes` are read twice.
constexpr Plan in_parts(std::int64_t rows, std::int64_t row_bytes, std::int64_t blocks, int threads,
                        int shared_bytes, const Device& device) {
  const int groups = threads / kGroup;
  // Enough rows to fill the device, and no more than stay in half of L2 until they are written.
  const std::int64_t cached = std::max<std::int64_t>(device.l2_bytes / 2 / row_bytes, 1);
  const std::int64_t at_once = std::min(cached, rows);
  const std::int64_t wanted = ceil_div(std::int64_t{4} * device.sms, at_once);
  const std::int64_t rounds = std::max<std::int64_t>(blocks / groups / wanted, 1);
  Plan plan = of_path(Path::parts, threads, 1, shared_bytes);
  plan.part_blocks = rounds * groups;
  plan.rows_in_flight =
      std::clamp<std::int64_t>(at_once, 1, kMaxBlocks / ceil_div(blocks, plan.part_blocks));
  plan.blocks = plan.rows_in_flight * ceil_div(blocks, plan.part_blocks);
  return plan;
}

}  // namespace fastsoftmax::cuda
