// Plans of the tests' own making, for every path that can do a call; thread blocks are kept small.
#pragma once

#include <utility>
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

// Begins with the plans for columns and for short rows.
class Plans {
 public:
  Plans(fs::DType dtype, cuda::Layout layout, std::int64_t length) : layout_(layout) {
    if (layout == cuda::Layout::columns)
      add(cuda::Path::columns, cuda::kColumnThreads / cuda::kGroup, cuda::kColumnSharedBytes);
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    if (layout != cuda::Layout::rows || length > block) return;
    for (const int steps : {1, 4, 16}) {
      if (length > steps * block / fs::kernels::kTermsPerLane) continue;
      add(cuda::Path::short_rows, 2, 0);
      plans_.back().steps = steps;
    }
  }
  void add(const cuda::Plan& plan) { plans_.push_back(plan); }
  void add(cuda::Path path, int groups, std::int64_t shared_bytes) {
    plans_.push_back(small_plan(path, layout_, groups, shared_bytes));
  }
  void add_parts(int groups, int shared_bytes) {
    add(cuda::Path::parts, groups, shared_bytes);
    plans_.back().part_blocks = groups == 2 ? 1 : 3;
    plans_.back().rows_in_flight = groups == 2 ? 2 : 1;
  }
  std::vector<cuda::Plan> all() && { return std::move(plans_); }

 private:
  cuda::Layout layout_;
  std::vector<cuda::Plan> plans_;
};

// Rows of a crew with so many slots more than it needs.
inline cuda::Plan crew_ahead(const cuda::RowsCall& call, cuda::Path path, int groups, int cluster,
                             int ahead) {
  const auto rounds = static_cast<int>(ceil_div(blocks_of(call), groups * cluster));
  const bool in_registers = path != cuda::Path::shared_rows && rounds <= 1;
  const int slots = in_registers ? ahead : rounds + ahead;
  return crew_plan(call, {path, groups, cluster, in_registers, slots, ahead > 0});
}

inline std::vector<cuda::Plan> plans_of(const cuda::RowsCall& call) {
  using cuda::Path;
  Plans plans(call.dtype, call.layout, call.length);
  for (const int groups : {2, 4}) {
    const int desk = cuda::desk_bytes(groups);
    if (call.layout == cuda::Layout::gathered)
      plans.add(Path::reread_rows, groups, desk + groups * cuda::kBlockBytes);
    if (call.layout != cuda::Layout::rows) continue;
    for (const int ahead : {0, groups / 2}) {
      if (blocks_of(call) <= groups)
        plans.add(crew_ahead(call, Path::register_rows, groups, 1, ahead));
      plans.add(crew_ahead(call, Path::shared_rows, groups, 1, ahead));
      plans.add(crew_ahead(call, Path::cluster_rows, 2, groups, ahead));
    }
    plans.add(Path::reread_rows, groups, desk);
    plans.add_parts(groups, desk);
  }
  return std::move(plans).all();
}

// Rows in registers, two clusters at work.
inline cuda::Plan gradient_cluster(int cluster, int groups) {
  cuda::Plan plan = small_plan(cuda::Path::cluster_rows, cuda::Layout::rows, groups,
                               cuda::gradient_desk_bytes(groups * cluster));
  plan.cluster = cluster;
  plan.blocks = std::int64_t{2} * cluster;
  plan.in_registers = true;
  return plan;
}

inline std::vector<cuda::Plan> plans_of(const cuda::BackwardCall& call) {
  using cuda::Path;
  Plans plans(call.dtype, call.layout, call.length);
  const std::int64_t kept = cuda::kept_row_bytes(call.length, fs::itemsize(call.dtype));
  for (const int groups : {2, 4}) {
    const int desk = cuda::gradient_desk_bytes(groups);
    if (call.layout != cuda::Layout::columns) plans.add(Path::reread_rows, groups, desk);
    if (call.layout != cuda::Layout::rows) continue;
    if (blocks_of(call) <= groups) plans.add(Path::register_rows, groups, desk);
    for (const int cluster : {2, 4, 8})
      if (blocks_of(call) <= cluster * groups) plans.add(gradient_cluster(cluster, groups));
    plans.add(Path::shared_rows, groups, desk + 2 * kept);
    plans.add_parts(groups, 0);
  }
  return std::move(plans).all();
}

}  // namespace tests
