// Which kernels a plan stands for. A launcher has
//   launch<Kernel>(blocks, threads, shared bytes, parameters, thread blocks of a cluster = 1)
// and the tests have one that runs thread blocks on a CPU.
#pragma once

#include "cuda/block_rows.h"
#include "cuda/group_rows.h"
#include "cuda/plan.h"
#include "cuda/row_parts.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, class In, bool Log, class Launcher>
void launch_parts(const Plan& plan, Parameters call, void* workspace, Launcher& launcher) {
  const std::int64_t rows = call.rows;
  const std::int64_t blocks = blocks_of<A>(call.length);
  const std::int64_t parts = (blocks + plan.part_blocks - 1) / plan.part_blocks;
  call.sums = static_cast<BlockSum*>(workspace);
  call.outcomes = reinterpret_cast<RowOutcome*>(call.sums + plan.rows_in_flight * blocks);
  call.part_blocks = plan.part_blocks;
  for (call.first_row = 0; call.first_row < rows; call.first_row += plan.rows_in_flight) {
    const std::int64_t left = rows - call.first_row;
    call.rows = left < plan.rows_in_flight ? left : plan.rows_in_flight;
    const std::int64_t all = call.rows * parts;
    launcher.template launch<SumParts<A, In, Log>>(all, plan.threads, 0, call);
    launcher.template launch<JoinParts<A, Log>>(call.rows, plan.threads, plan.shared_bytes, call);
    launcher.template launch<WriteParts<A, In, Log>>(all, plan.threads, 0, call);
    launcher.template launch<BlockRows<A, In, Log, Layout::rows, false>>(call.rows, plan.threads,
                                                                         plan.shared_bytes, call);
  }
}

template <class A, class In, bool Log, class Launcher>
void launch_plan(const Plan& plan, const RowsCall& rows, void* workspace, Launcher& launcher) {
  Parameters call{};
  static_cast<RowsCall&>(call) = rows;
  const auto one = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(plan.blocks, plan.threads, plan.shared_bytes, call,
                                               plan.cluster);
  };
  call.slots = plan.slots;
  call.bulk = plan.bulk;
  switch (plan.path) {
    case Path::short_rows:
      if (plan.steps == 1) return one(ShortRows<A, In, Log, 1>{});
      if (plan.steps == 4) return one(ShortRows<A, In, Log, 4>{});
      return one(ShortRows<A, In, Log, 16>{});
    case Path::register_rows:
    case Path::cluster_rows:
    case Path::shared_rows:
    case Path::reread_rows:
      if (!plan.direct) return one(BlockRows<A, In, Log, Layout::gathered, false>{});
      if (plan.in_registers) return one(BlockRows<A, In, Log, Layout::rows, true>{});
      return one(BlockRows<A, In, Log, Layout::rows, false>{});
    case Path::parts:
      return launch_parts<A, In, Log>(plan, call, workspace, launcher);
    case Path::columns:
      return one(Columns<A, In, Log>{});
  }
}

// `workspace` has workspace_bytes, aligned as cudaMalloc aligns.
template <class A, class In, class Launcher>
void launch(const Plan& plan, const RowsCall& call, void* workspace, Launcher& launcher) {
  if (call.op == RowOp::softmax)
    launch_plan<A, In, false>(plan, call, workspace, launcher);
  else
    launch_plan<A, In, true>(plan, call, workspace, launcher);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
