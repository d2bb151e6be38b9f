#include "cuda/crew_plan.h"

#include "cuda/crew_geometry.h"
#include "cuda/plan_arithmetic.h"

namespace fastsoftmax::cuda {
namespace {

constexpr int kMostGroups = kMaxCrewThreads / kGroup;

// Blocks of a row that a group has in turn, with so many of them in each thread block.
std::int64_t rounds_of(std::int64_t blocks, int cluster, int groups) {
  return ceil_div(blocks, std::int64_t{cluster} * groups);
}

// As many groups as that takes, no more.
int groups_of(std::int64_t blocks, int cluster, int most) {
  const std::int64_t rounds = std::max<std::int64_t>(rounds_of(blocks, cluster, most), 1);
  return groups_for(ceil_div(blocks, cluster * rounds), most);
}

std::int64_t bytes_of(int cluster, int groups, std::int64_t slots) {
  return crew_bytes(cluster * groups) + groups * slots * kBlockBytes;
}

// Whether a cluster has the row in registers or shared memory.
bool stays(std::int64_t blocks, int cluster, const Device& device) {
  const int groups = groups_of(blocks, cluster, kMostGroups);
  const std::int64_t rounds = rounds_of(blocks, cluster, groups);
  return rounds <= 1 ||
         bytes_of(cluster, groups, rounds) + kStaticSharedBytes <= device.shared_per_block;
}

Plan crew_of(const RowsCall& call, Path path, int cluster, int groups, int slots) {
  Plan plan = of_path(cluster > 1 ? Path::cluster_rows : path, groups * kGroup,
                      std::max<std::int64_t>(call.rows, 1) * cluster,
                      static_cast<int>(bytes_of(cluster, groups, slots)));
  plan.cluster = cluster;
  plan.slots = slots;
  plan.direct = call.layout == Layout::rows;
  return plan;
}

}  // namespace

Plan make_crew_plan(const RowsCall& call, const Device& device) {
  const std::int64_t blocks = ceil_div(call.length, block_of(call.dtype == DType::f64));
  if (call.layout == Layout::columns)
    return of_path(Path::columns, kColumnThreads, call.rows * ceil_div(call.inner.size, kColumns),
                   kColumnSharedBytes);
  if (call.layout == Layout::rows && blocks <= 1)
    return of_path(Path::short_rows, kShortRowThreads,
                   ceil_div(call.rows, kShortRowThreads / kGroup), 0);
  if (call.layout == Layout::gathered) {
    const int cluster = widened(1, call.rows, blocks, device);
    const int groups = groups_of(blocks, cluster, kGatheringGroups);
    return crew_of(call, Path::reread_rows, cluster, groups, 1);
  }

  // Rows that do not stay anywhere are read twice by as many as possible, so that few of them are
  // in work, and L2 may have them.
  int cluster = 1;
  while (call.y != nullptr && cluster < max_cluster(device) && !stays(blocks, cluster, device))
    cluster *= 2;
  cluster = widened(cluster, call.rows, blocks, device);
  const int groups = groups_of(blocks, cluster, kMostGroups);
  const std::int64_t rounds = rounds_of(blocks, cluster, groups);
  Plan plan = crew_of(call, Path::reread_rows, cluster, groups, 0);
  if (rounds == 1) {
    if (cluster == 1) plan.path = Path::register_rows;
    plan.in_registers = true;
  } else if (call.y != nullptr && stays(blocks, cluster, device)) {
    plan = crew_of(call, Path::shared_rows, cluster, groups, static_cast<int>(rounds));
  }
  return plan;
}

}  // namespace fastsoftmax::cuda
