#include "cuda/plan.h"

#include <algorithm>

#include "cuda/geometry.h"
#include "cuda/plan_arithmetic.h"

namespace fastsoftmax::cuda {
namespace {

struct Work {
  bool f64;  // the arithmetic type; otherwise f32
  Layout layout;
  std::int64_t rows;
  std::int64_t length;
  std::int64_t columns;
  int item_bytes;
  std::int64_t row_bytes;
  bool has_output;  // as long as the row, which is read for it once more
  bool aligned;     // rows begin and end at multiples of 16 bytes
};

Work work_of(const RowsCall& call) {
  Work work{};
  work.f64 = call.dtype == DType::f64;
  work.layout = call.layout;
  work.rows = call.rows;
  work.length = call.length;
  work.columns = call.inner.size;
  work.item_bytes = work.f64 ? 8 : call.dtype == DType::f32 ? 4 : 2;
  work.row_bytes = call.length * work.item_bytes;
  work.has_output = call.op != kernels::RowOp::logsumexp;
  work.aligned = reinterpret_cast<std::uintptr_t>(call.x) % 16 == 0 && work.row_bytes % 16 == 0;
  for (int d = 0; d < call.outer.count; ++d) {
    const Axis& axis = call.outer.axis[d];
    if (axis.size > 1 && axis.x % 16 != 0) work.aligned = false;
  }
  return work;
}

// Shared memory for a slot of every group.
std::int64_t slot_of_groups(const Work& work, int groups) {
  return std::int64_t{groups} * slot_bytes(block_of(work.f64) * work.item_bytes);
}

// Thread blocks of a cluster: as many as keep a row in half of the registers, so that another one
// works while this one waits for its sums, and more where there are too few rows to keep the device
// busy.
int cluster_for(const Work& work, const Device& device, std::int64_t blocks) {
  const int most = max_cluster(device);
  const int groups = max_row_threads(work.f64) / kGroup;
  int cluster = 1;
  while (cluster < most && 2 * blocks > cluster * groups) cluster *= 2;
  return widened(cluster, work.rows, blocks, device);
}

// How many turns a thread block takes, so that it loads for one while it works on another. There
// are several waves of thread blocks, so that all end at about the same time however many are
// resident.
std::int64_t turns_each(std::int64_t turns, std::int64_t at_once) {
  return std::clamp<std::int64_t>(turns / (4 * std::max<std::int64_t>(at_once, 1)), 1, 16);
}

// Shared memory for each of so many thread blocks on a multiprocessor.
std::int64_t shared_for_each(const Device& device, int resident) {
  return (device.shared_per_block + kReservedSharedBytes) / resident - kReservedSharedBytes -
         kStaticSharedBytes;
}

// Has slots filled ahead of time, up to so many, and thread blocks go from row to row.
void fetch_ahead(Plan& plan, const Work& work, const Device& device, int most) {
  if (device.architecture < 90 || !work.aligned) return;
  const int resident = std::max(max_row_threads(work.f64) / plan.threads, 1);
  const std::int64_t each =
      turns_each(work.rows, std::int64_t{resident} * device.sms / plan.cluster);
  if (each == 1 && plan.in_registers) return;
  const int groups = plan.threads / kGroup;
  const std::int64_t left = shared_for_each(device, resident) - plan.shared_bytes;
  const std::int64_t more =
      std::clamp<std::int64_t>(left / slot_of_groups(work, groups), 0, most - plan.slots);
  plan.slots += static_cast<int>(more);
  plan.shared_bytes += static_cast<int>(more * slot_of_groups(work, groups));
  plan.bulk = plan.slots > 0;
  if (!plan.bulk) return;
  plan.blocks = std::min(ceil_div(work.rows, each), kMaxBlocks / kMaxCluster) * plan.cluster;
}

// Rows of more than one block.
Plan of_long_rows(const Work& work, const Device& device, std::int64_t blocks) {
  const int most = max_row_threads(work.f64) / kGroup;
  const int cluster = cluster_for(work, device, blocks);
  const std::int64_t share = ceil_div(blocks, cluster);  // of a thread block
  const std::int64_t rounds = ceil_div(share, most);
  const int groups = groups_for(ceil_div(share, rounds), most);
  Plan plan = of_path(cluster > 1 ? Path::cluster_rows : Path::register_rows, groups * kGroup,
                      work.rows * cluster, desk_bytes(groups * cluster));
  plan.cluster = cluster;
  plan.in_registers = rounds == 1;
  if (plan.in_registers) {
    fetch_ahead(plan, work, device, 2);
    return plan;
  }

  const bool too_few = 2 * cluster * work.rows <= device.sms && share >= 4 * groups;
  const std::int64_t kept = rounds * slot_of_groups(work, groups);
  if (work.has_output && !too_few &&
      plan.shared_bytes + kept + kStaticSharedBytes <= device.shared_per_block) {
    if (cluster == 1) plan.path = Path::shared_rows;
    plan.slots = static_cast<int>(rounds);
    plan.shared_bytes += static_cast<int>(kept);
    fetch_ahead(plan, work, device, 2 * plan.slots);
    return plan;
  }

  const std::int64_t at_once = std::min<std::int64_t>(work.rows, 2 * std::int64_t{device.sms});
  const bool cached = at_once * work.row_bytes <= device.l2_bytes / 2;
  if (2 * work.rows <= device.sms || (work.has_output && !cached))
    return in_parts(work.rows, work.row_bytes, blocks, most * kGroup, desk_bytes(most), device);
  plan = of_path(Path::reread_rows, most * kGroup, work.rows, desk_bytes(most));
  if (!work.has_output) fetch_ahead(plan, work, device, 2);
  return plan;
}

}  // namespace

Plan make_plan(const RowsCall& call, const Device& device) {
  const Work work = work_of(call);
  if (work.layout == Layout::columns)
    return of_path(Path::columns, kColumnThreads, work.rows * ceil_div(work.columns, kColumns),
                   kColumnSharedBytes);

  const int lanes = work.f64 ? kernels::kLanesF64 : kernels::kLanesF32;
  const std::int64_t blocks = ceil_div(work.length, block_of(work.f64));
  if (work.layout == Layout::rows && blocks <= 1) {
    const int steps = work.length <= lanes ? 1 : work.length <= 4 * lanes ? 4 : 16;
    const int rows = kShortRowThreads / short_row_group(steps, work.f64);
    const std::int64_t turns = ceil_div(work.rows, rows);
    const std::int64_t each = turns_each(turns, std::int64_t{short_row_blocks(steps)} * device.sms);
    Plan plan = of_path(Path::short_rows, kShortRowThreads, ceil_div(turns, each), 0);
    plan.steps = steps;
    return plan;
  }

  if (work.layout == Layout::gathered) {
    const int groups = groups_for(blocks, kGatheringGroups);
    Plan plan = of_path(Path::reread_rows, groups * kGroup, work.rows,
                        desk_bytes(groups) + groups * kBlockBytes);
    plan.direct = false;
    return plan;
  }
  return of_long_rows(work, device, blocks);
}

std::int64_t workspace_bytes(const RowsCall& call, const Plan& plan) {
  if (plan.path != Path::parts) return 0;
  const std::int64_t blocks = ceil_div(call.length, block_of(call.dtype == DType::f64));
  const auto row = static_cast<std::int64_t>(sizeof(RowOutcome)) +
                   blocks * static_cast<std::int64_t>(sizeof(kernels::BlockSum));
  return plan.rows_in_flight * row;
}

const char* name(Path path) noexcept {
  switch (path) {
    case Path::short_rows:
      return "short_rows";
    case Path::register_rows:
      return "register_rows";
    case Path::cluster_rows:
      return "cluster_rows";
    case Path::shared_rows:
      return "shared_rows";
    case Path::reread_rows:
      return "reread_rows";
    case Path::parts:
      return "parts";
    case Path::columns:
      return "columns";
  }
  return "unknown";
}

}  // namespace fastsoftmax::cuda
