#include "cuda/backward_plan.h"

#include "cuda/backward_parameters.h"
#include "cuda/plan_arithmetic.h"

namespace fastsoftmax::cuda {
namespace {

std::int64_t blocks_of(const BackwardCall& call) {
  return ceil_div(call.length, block_of(call.dtype == DType::f64));
}

constexpr int kMostGroups = kGradientThreads / kGroup;

// The smallest cluster that keeps a row of so many blocks in registers, or the largest that there
// is.
int smallest_cluster(std::int64_t blocks, const Device& device) {
  int cluster = 1;
  while (cluster < max_cluster(device) && blocks > cluster * kMostGroups) cluster *= 2;
  return cluster;
}

Plan in_registers(std::int64_t rows, std::int64_t blocks, int cluster) {
  const int groups = groups_for(ceil_div(blocks, cluster), kMostGroups);
  Plan plan = of_path(cluster > 1 ? Path::cluster_rows : Path::register_rows, groups * kGroup,
                      rows * cluster, gradient_desk_bytes(groups * cluster));
  plan.cluster = cluster;
  plan.in_registers = true;
  return plan;
}

}  // namespace

Plan make_plan(const BackwardCall& call, const Device& device) {
  if (call.layout == Layout::columns)
    return of_path(Path::columns, kColumnThreads, call.rows * ceil_div(call.inner.size, kColumns),
                   kColumnSharedBytes);

  const bool f64 = call.dtype == DType::f64;
  const std::int64_t blocks = blocks_of(call);
  if (call.layout == Layout::rows && blocks <= 1) {
    const int lanes = f64 ? kernels::kLanesF64 : kernels::kLanesF32;
    const int steps = call.length <= lanes ? 1 : call.length <= 4 * lanes ? 4 : 16;
    const int threads = short_gradient_threads(steps);
    Plan plan = of_path(Path::short_rows, threads, ceil_div(call.rows, threads / kGroup), 0);
    plan.steps = steps;
    return plan;
  }

  const int groups = groups_for(blocks, kMostGroups);
  const int threads = groups * kGroup;
  const int desk = gradient_desk_bytes(groups);
  if (call.layout == Layout::gathered) {
    Plan plan = of_path(Path::reread_rows, threads, call.rows, desk);
    plan.direct = false;
    return plan;
  }

  const int cluster = smallest_cluster(blocks, device);
  if (blocks <= cluster * kMostGroups)
    return in_registers(call.rows, blocks, widened(cluster, call.rows, blocks, device));
  const int item = f64 ? 8 : call.dtype == DType::f32 ? 4 : 2;
  const std::int64_t read_bytes = 2 * call.length * item;
  const auto parts = [&] { return in_parts(call.rows, read_bytes, blocks, threads, 0, device); };
  // Too few rows for a thread block each to keep the device busy.
  if (2 * call.rows <= device.sms && blocks >= 4 * groups) return parts();
  const std::int64_t kept = 2 * kept_row_bytes(call.length, item);
  if (desk + kept + kStaticSharedBytes <= device.shared_per_block)
    return of_path(Path::shared_rows, threads, call.rows, desk + static_cast<int>(kept));
  const std::int64_t at_once = std::min<std::int64_t>(call.rows, 2 * std::int64_t{device.sms});
  if (at_once * read_bytes <= device.l2_bytes / 2)
    return of_path(Path::reread_rows, threads, call.rows, desk);
  return parts();
}

std::int64_t workspace_bytes(const BackwardCall& call, const Plan& plan) {
  if (plan.path != Path::parts) return 0;
  return plan.rows_in_flight * (blocks_of(call) + 1) *
         static_cast<std::int64_t>(sizeof(kernels::SumPair));
}

}  // namespace fastsoftmax::cuda
