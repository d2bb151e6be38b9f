// Plans of the tests' own making, for every path that can do a call; thread blocks are kept small.
#pragma once

#include <vector>

#include "array.h"
#include "cuda/backward_parameters.h"
#include "emulated_launch.h"

namespace tests {

inline cuda::Plan small_plan(cuda::Path path, cuda::Layout layout, int groups,
                             std::int64_t shared_bytes) {
  cuda::Plan plan{};
  plan.path = path;
  plan.direct = layout == cuda::Layout::rows;
  plan.threads = groups * cuda::kGroup;
  plan.blocks = 2;
  plan.shared_bytes = static_cast<int>(shared_bytes);
  plan.cluster = 1;
  return plan;
}

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
template <class Call>
std::int64_t blocks_of(const Call& call) {
  return ceil_div(call.length, static_cast<std::int64_t>(block_of(call.dtype)));
}

// Whether bulk copies can fetch its rows.
inline bool is_aligned(const cuda::RowsCall& call) {
  const auto bytes = call.length * static_cast<std::int64_t>(item_bytes(call.dtype));
  bool is = reinterpret_cast<std::uintptr_t>(call.x) % 16 == 0 && bytes % 16 == 0;
  for (int d = 0; d < call.outer.count; ++d) is = is && call.outer.axis[d].x % 16 == 0;
  return is;
}

// A crew keeps its row in registers or in slots, or reads it again; with `bulk` slots are filled by
// bulk copies where the call allows it.
struct CrewShape {
  cuda::Path path;
  int groups;  // of a thread block
  int cluster;
  bool in_registers;
  int slots;
  bool bulk;
};
inline cuda::Plan crew_plan(const cuda::RowsCall& call, const CrewShape& crew) {
  cuda::Plan plan = small_plan(crew.path, cuda::Layout::rows, crew.groups,
                               cuda::desk_bytes(crew.groups * crew.cluster));
  plan.cluster = crew.cluster;
  plan.blocks = std::int64_t{2} * crew.cluster;
  plan.in_registers = crew.in_registers;
  plan.bulk = crew.bulk && is_aligned(call);
  plan.slots = crew.in_registers && !plan.bulk ? 0 : crew.slots;
  const auto block_bytes = static_cast<int>(block_of(call.dtype) * item_bytes(call.dtype));
  plan.shared_bytes += plan.slots * crew.groups * cuda::slot_bytes(block_bytes);
  return plan;
}

template <class Call>
void add_short_rows(std::vector<cuda::Plan>& plans, const Call& call) {
  if (call.layout != cuda::Layout::rows || blocks_of(call) > 1) return;
  const std::int64_t lanes =
      static_cast<std::int64_t>(block_of(call.dtype)) / fs::kernels::kTermsPerLane;
  for (const int steps : {1, 4, 16}) {
    if (call.length > steps * lanes) continue;
    plans.push_back(small_plan(cuda::Path::short_rows, call.layout, 2, 0));
    plans.back().steps = steps;
  }
}
inline void add_parts(std::vector<cuda::Plan>& plans, int groups, int shared_bytes) {
  plans.push_back(small_plan(cuda::Path::parts, cuda::Layout::rows, groups, shared_bytes));
  plans.back().part_blocks = groups == 2 ? 1 : 3;
  plans.back().rows_in_flight = groups == 2 ? 2 : 1;
}

inline std::vector<cuda::Plan> plans_of(const cuda::RowsCall& call) {
  using cuda::Path;
  std::vector<cuda::Plan> plans;
  const auto add = [&](Path path, int groups, std::int64_t shared_bytes) {
    plans.push_back(small_plan(path, call.layout, groups, shared_bytes));
  };
  if (call.layout == cuda::Layout::columns) {
    add(Path::columns, cuda::kColumnThreads / cuda::kGroup, cuda::kColumnSharedBytes);
    return plans;
  }
  add_short_rows(plans, call);
  const std::int64_t blocks = blocks_of(call);
  // Rows of this crew, with so many slots more than it needs.
  const auto add_crew = [&](Path path, int groups, int cluster, int ahead) {
    const auto rounds = static_cast<int>(ceil_div(blocks, groups * cluster));
    const bool in_registers = path != Path::shared_rows && rounds <= 1;
    const int slots = in_registers ? ahead : rounds + ahead;
    plans.push_back(crew_plan(call, {path, groups, cluster, in_registers, slots, ahead > 0}));
  };
  for (const int groups : {2, 4}) {
    const int desk = cuda::desk_bytes(groups);
    if (call.layout == cuda::Layout::gathered) {
      add(Path::reread_rows, groups, desk + groups * cuda::kBlockBytes);
      continue;
    }
    for (const int ahead : {0, groups / 2}) {
      if (blocks <= groups) add_crew(Path::register_rows, groups, 1, ahead);
      add_crew(Path::shared_rows, groups, 1, ahead);
      add_crew(Path::cluster_rows, 2, groups, ahead);
    }
    add(Path::reread_rows, groups, desk);
    add_parts(plans, groups, desk);
  }
  return plans;
}

inline std::vector<cuda::Plan> plans_of(const cuda::BackwardCall& call) {
  using cuda::Path;
  std::vector<cuda::Plan> plans;
  const auto add = [&](Path path, int groups, std::int64_t shared_bytes) {
    plans.push_back(small_plan(path, call.layout, groups, shared_bytes));
  };
  if (call.layout == cuda::Layout::columns) {
    add(Path::columns, cuda::kColumnThreads / cuda::kGroup, cuda::kColumnSharedBytes);
    return plans;
  }
  add_short_rows(plans, call);
  for (const int groups : {2, 4}) {
    const int desk = cuda::gradient_desk_bytes(groups);
    add(Path::reread_rows, groups, desk);
    if (call.layout == cuda::Layout::gathered) continue;
    if (blocks_of(call) <= groups) add(Path::register_rows, groups, desk);
    add(Path::shared_rows, groups,
        desk + 2 * cuda::kept_row_bytes(call.length, fs::itemsize(call.dtype)));
    add_parts(plans, groups, 0);
  }
  return plans;
}

}  // namespace tests
