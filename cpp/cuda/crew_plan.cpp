#include "cuda/crew_plan.h"

#include "cuda/crew_geometry.h"
#include "cuda/plan_arithmetic.h"

namespace fastsoftmax::cuda {
namespace {

constexpr int kMostGroups = kMaxCrewThreads / kGroup;

// How a row of so many blocks is shared out.
struct Shares {
  int cluster;
  std::int64_t rounds;  // blocks of a group at most
  int groups;           // of a thread block, no more than that takes

  Shares(std::int64_t blocks, int thread_blocks, int most)
      : cluster(thread_blocks),
        rounds(std::max<std::int64_t>(ceil_div(blocks, std::int64_t{cluster} * most), 1)),
        groups(groups_for(ceil_div(blocks, cluster * rounds), most)) {}

  // With so many blocks of each group in shared memory.
  std::int64_t shared_bytes(std::int64_t slots) const {
    return crew_bytes(cluster * groups) + groups * slots * kBlockBytes;
  }
  // Whether the row has room in registers or shared memory.
  bool stays(const Device& device) const {
    return rounds == 1 || shared_bytes(rounds) + kStaticSharedBytes <= device.shared_per_block;
  }
};

Plan plan_of(const RowsCall& call, Path path, const Shares& shares, std::int64_t slots) {
  const std::int64_t crews = std::max<std::int64_t>(call.rows, 1);
  Plan plan = of_path(shares.cluster > 1 ? Path::cluster_rows : path, shares.groups * kGroup,
                      crews * shares.cluster, static_cast<int>(shares.shared_bytes(slots)));
  plan.direct = call.layout == Layout::rows;
  plan.cluster = shares.cluster;
  plan.in_registers = path == Path::register_rows;
  plan.slots = static_cast<int>(slots);
  return plan;
}

}  // namespace

Plan make_crew_plan(const RowsCall& call, const Device& device) {
  if (call.layout == Layout::columns)
    return of_path(Path::columns, kColumnThreads, call.rows * ceil_div(call.inner.size, kColumns),
                   kColumnSharedBytes);
  const std::int64_t blocks = ceil_div(call.length, block_of(call.dtype == DType::f64));
  if (call.layout == Layout::rows && blocks <= 1)
    return of_path(Path::short_rows, kShortRowThreads,
                   ceil_div(call.rows, kShortRowThreads / kGroup), 0);
  if (call.layout == Layout::gathered) {
    const Shares shares(blocks, widened(1, call.rows, blocks, device), kGatheringGroups);
    return plan_of(call, Path::reread_rows, shares, 1);
  }

  // Rows that have no room anywhere are read twice by as many as possible, so that few of them are
  // in work, and L2 may have them.
  int cluster = 1;
  while (call.y != nullptr && cluster < max_cluster(device) &&
         !Shares(blocks, cluster, kMostGroups).stays(device))
    cluster *= 2;
  const Shares shares(blocks, widened(cluster, call.rows, blocks, device), kMostGroups);
  if (shares.rounds == 1) return plan_of(call, Path::register_rows, shares, 0);
  if (call.y != nullptr && shares.stays(device))
    return plan_of(call, Path::shared_rows, shares, shares.rounds);
  return plan_of(call, Path::reread_rows, shares, 0);
}

}  // namespace fastsoftmax::cuda
