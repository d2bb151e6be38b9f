#include "cuda/crew_plan.h"

#include <algorithm>

#include "cuda/crew_geometry.h"

namespace fastsoftmax::cuda {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Thread blocks walk on through rows where there are more than these.
CrewPlan of_path(CrewPath path, int threads, std::int64_t blocks, int shared_bytes) {
  return {path, threads, std::clamp<std::int64_t>(blocks, 1, INT32_MAX), shared_bytes};
}

}  // namespace

CrewPlan make_crew_plan(const RowsCall& call, const Device& device) {
  const bool f64 = call.dtype == DType::f64;
  // In whole warps.
  const auto groups_for = [](std::int64_t blocks, int most) {
    return static_cast<int>(std::clamp<std::int64_t>((blocks + 1) / 2 * 2, 2, most));
  };
  const std::int64_t blocks = ceil_div(call.length, f64 ? kernels::kBlockF64 : kernels::kBlockF32);
  if (call.layout == Layout::columns)
    return of_path(CrewPath::columns, kColumnThreads,
                   call.rows * ceil_div(call.inner.size, kColumns), kColumnSharedBytes);
  if (call.layout == Layout::rows && blocks <= 1)
    return of_path(CrewPath::short_rows, kShortRowThreads,
                   ceil_div(call.rows, kShortRowThreads / kGroup), 0);
  if (call.layout == Layout::gathered) {
    const int groups = groups_for(blocks, kGatheringGroups);
    return of_path(CrewPath::reread_rows, groups * kGroup, call.rows,
                   crew_bytes(groups) + groups * kBlockBytes);
  }
  const int groups = groups_for(blocks, kMaxCrewThreads / kGroup);
  const int desk = crew_bytes(groups);
  if (blocks <= groups) return of_path(CrewPath::register_rows, groups * kGroup, call.rows, desk);
  const std::int64_t kept = ceil_div(call.length * (f64 ? 8 : 4), 16) * 16;
  if (call.y != nullptr && desk + kept + kStaticSharedBytes <= device.shared_per_block)
    return of_path(CrewPath::shared_rows, groups * kGroup, call.rows,
                   desk + static_cast<int>(kept));
  return of_path(CrewPath::reread_rows, groups * kGroup, call.rows, desk);
}

}  // namespace fastsoftmax::cuda
