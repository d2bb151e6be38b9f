// What tests of losses and statistics on the emulated device have in common: rows of every length,
// and a plan for every path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/crew_geometry.h"
#include "cuda/crew_plan.h"
#include "emulated_plans.h"
#include "run.h"

namespace tests {

// Two crews of `cluster` thread blocks.
inline cuda::Plan crew_plan(cuda::Path path, int cluster, int groups, int slots) {
  cuda::Plan plan =
      small_plan(cluster > 1 ? cuda::Path::cluster_rows : path, cuda::Layout::rows, groups,
                 cuda::crew_bytes(groups * cluster) + groups * slots * cuda::kBlockBytes);
  plan.blocks *= cluster;
  plan.cluster = cluster;
  plan.slots = slots;
  return plan;
}

// One for every path that can do the call, and for clusters of one size, in small thread blocks.
inline std::vector<cuda::Plan> crew_plans(const cuda::RowsCall& call, Random& random) {
  using cuda::Path;
  if (call.layout == cuda::Layout::columns)
    return {small_plan(Path::columns, call.layout, cuda::kColumns, cuda::kColumnSharedBytes)};
  const auto blocks = static_cast<int>(blocks_of(call));
  const bool direct = call.layout == cuda::Layout::rows;
  std::vector<cuda::Plan> plans;
  if (direct && blocks <= 1) plans.push_back(crew_plan(Path::short_rows, 1, 2, 0));
  const int cluster = 2 << random.below(3);
  for (const auto& [ranks, groups] : {std::pair{1, 2}, {1, 4}, {cluster, 2}}) {
    const auto slots = static_cast<int>(ceil_div(blocks, ranks * groups));
    if (!direct) {
      plans.push_back(crew_plan(Path::reread_rows, ranks, groups, 1));
      plans.back().direct = false;
      continue;
    }
    if (slots <= 1) {
      plans.push_back(crew_plan(Path::register_rows, ranks, groups, 0));
      plans.back().in_registers = true;
    }
    if (call.y != nullptr) plans.push_back(crew_plan(Path::shared_rows, ranks, groups, slots));
    if (groups == 2) plans.push_back(crew_plan(Path::reread_rows, ranks, groups, 0));
  }
  return plans;
}

inline std::string text_of(const cuda::Plan& plan) {
  return std::string(cuda::name(plan.path)) + ", " + std::to_string(plan.cluster) + " x " +
         std::to_string(plan.threads) + " threads, " + std::to_string(plan.slots) + " slots";
}

// body(dtype, rows, n, layout), so many times for lengths around every boundary: more often for
// those below a block.
template <class Body>
void for_each_size(Random& random, int times_short, int times_long, Body&& body) {
  for (const fs::DType dtype : kFloatTypes) {
    const auto b = static_cast<std::int64_t>(block_of(dtype));
    for (const std::int64_t n : lengths_around(block_of(dtype))) {
      for (int turn = 0; turn < (n < b - 1 ? times_short : times_long); ++turn) {
        const auto layout = static_cast<Layout>(random.chance(0.5) ? 0 : random.below(4));
        body(dtype, n < b ? 1 + random.below(20) : 2 + random.below(2), n, layout);
      }
    }
  }
}

// body(dtype, rows, n, layout, device) for what devices plan differently: many rows, rows as long
// as only clusters keep them, few long rows.
template <class Body>
void for_each_planned(Random& random, Body&& body) {
  constexpr cuda::Device devices[] = {
      {132, 227 * 1024, 50 << 20, 90}, {1, 48 * 1024, 1 << 14, 90}, {40, 64 * 1024, 4 << 20, 75}};
  for (const fs::DType dtype : kFloatTypes) {
    const auto b = static_cast<std::int64_t>(block_of(dtype));
    for (const cuda::Device& device : devices) {
      body(dtype, 500 + random.below(300), 3, Layout::rows, device);
      body(dtype, 40, 20, Layout::columns, device);
      for (const std::int64_t n : {7 * b, 7 * b + 1, 15 * b + 1, 16 * b + 1, 32 * b, 57 * b - 5})
        body(dtype, n < 8 * b ? 3 : 1, n, Layout::rows, device);
      body(dtype, 1, 8 * b + 3, Layout::every_second, device);
    }
  }
}

}  // namespace tests
