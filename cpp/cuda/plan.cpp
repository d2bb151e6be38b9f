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
  std::int64_t row_bytes;
};

Work work_of(const RowsCall& call) {
  Work work{};
  work.f64 = call.dtype == DType::f64;
  work.layout = call.layout;
  work.rows = call.rows;
  work.length = call.length;
  work.columns = call.inner.size;
  work.row_bytes = call.length * (work.f64 ? 8 : call.dtype == DType::f32 ? 4 : 2);
  return work;
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
    constexpr int rows = kShortRowThreads / kGroup;
    Plan plan = of_path(Path::short_rows, kShortRowThreads, ceil_div(work.rows, rows), 0);
    plan.steps = work.length <= lanes ? 1 : work.length <= 4 * lanes ? 4 : 16;
    return plan;
  }

  if (work.layout == Layout::gathered) {
    const int groups = groups_for(blocks, kGatheringGroups);
    Plan plan = of_path(Path::reread_rows, groups * kGroup, work.rows,
                        desk_bytes(groups) + groups * kBlockBytes);
    plan.direct = false;
    return plan;
  }
  const int groups = groups_for(blocks, max_row_threads(work.f64) / kGroup);
  const int threads = groups * kGroup;
  const int desk = desk_bytes(groups);
  // Too few rows for a thread block each to keep the device busy.
  if (2 * work.rows <= device.sms && blocks >= 4 * groups)
    return in_parts(work.rows, work.row_bytes, blocks, threads, desk, device);
  if (blocks <= groups) return of_path(Path::register_rows, threads, work.rows, desk);
  const std::int64_t kept = work.length * (work.f64 ? 8 : 4);
  if (desk + kept + kStaticSharedBytes <= device.shared_per_block)
    return of_path(Path::shared_rows, threads, work.rows, desk + static_cast<int>(kept));
  const std::int64_t at_once = std::min<std::int64_t>(work.rows, 2 * std::int64_t{device.sms});
  if (at_once * work.row_bytes <= device.l2_bytes / 2)
    return of_path(Path::reread_rows, threads, work.rows, desk);
  return in_parts(work.rows, work.row_bytes, blocks, threads, desk, device);
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
