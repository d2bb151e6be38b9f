// From the plan of sample to its kernels; launchers are those of launch.h.
#pragma once

#include "cuda/sample_rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// `workspace` has room for plan.rows rows in work, aligned as cudaMalloc aligns.
template <class A, class Launcher>
void launch_sample(const SamplePlan& plan, const SampleCall& call, void* workspace,
                   Launcher& launcher) {
  const SampleWorkspace memory(call);
  SampleParameters p{};
  static_cast<RowsCall&>(p) = call.rows;
  p.options = call.options;
  p.indices = call.indices;
  p.logprobs = call.logprobs;
  p.observed = plan.part_blocks > 0;
  p.part_blocks = plan.part_blocks;
  p.stride = memory.bytes;
  p.sums = static_cast<BlockSum*>(workspace);
  p.list_sums = p.sums + memory.blocks;
  p.masses = reinterpret_cast<double*>(p.list_sums + memory.blocks);
  p.most_k = call.most_k;
  p.values = static_cast<char*>(workspace) + memory.sums_bytes;
  p.indices_of_values = reinterpret_cast<std::int64_t*>(p.values + memory.values_bytes);
  p.spare = static_cast<char*>(workspace) + memory.bytes - memory.list_bytes;
  p.list = p.spare - memory.list_bytes;
  if (plan.part_blocks == 0)
    return launcher.template launch<SampleRows<A>>(plan.rows, plan.threads, plan.shared_bytes, p);
  const std::int64_t parts = (memory.blocks + plan.part_blocks - 1) / plan.part_blocks;
  for (; p.first_row < call.rows.rows; p.first_row += plan.rows) {
    const std::int64_t left = call.rows.rows - p.first_row;
    p.rows = left < plan.rows ? left : plan.rows;
    launcher.template launch<SampleParts<A>>(p.rows * parts, plan.threads, plan.shared_bytes, p);
    launcher.template launch<SampleRows<A>>(p.rows, plan.threads, plan.shared_bytes, p);
  }
}

// By the type of the elements' arithmetic.
template <class Launcher>
void launch_sample(const SamplePlan& plan, const SampleCall& call, void* workspace,
                   Launcher& launcher) {
  if (call.rows.dtype == DType::f64)
    launch_sample<F64>(plan, call, workspace, launcher);
  else
    launch_sample<F32>(plan, call, workspace, launcher);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
