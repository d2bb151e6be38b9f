// Which kernels a plan of gradients stands for, with a launcher as launch.h has it.
#pragma once

#include "cuda/backward_parts.h"
#include "cuda/backward_plan.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, class In, class Launcher>
void launch_gradient_parts(const Plan& plan, BackwardParameters call, void* workspace,
                           Launcher& launcher) {
  const std::int64_t rows = call.rows;
  const std::int64_t blocks = blocks_of<A>(call.length);
  const std::int64_t parts = (blocks + plan.part_blocks - 1) / plan.part_blocks;
  call.sums = static_cast<SumPair*>(workspace);
  call.totals = call.sums + plan.rows_in_flight * blocks;
  call.part_blocks = plan.part_blocks;
  for (call.first_row = 0; call.first_row < rows; call.first_row += plan.rows_in_flight) {
    const std::int64_t left = rows - call.first_row;
    call.rows = left < plan.rows_in_flight ? left : plan.rows_in_flight;
    const std::int64_t all = call.rows * parts;
    launcher.template launch<SumGradientParts<A, In>>(all, plan.threads, 0, call);
    launcher.template launch<JoinGradientParts<A>>(call.rows, kJoinThreads, kJoinSharedBytes, call);
    launcher.template launch<WriteGradientParts<A, In>>(all, plan.threads, 0, call);
  }
}

// `workspace` has workspace_bytes, aligned as cudaMalloc aligns.
template <class A, class In, class Launcher>
void launch_backward(const Plan& plan, const BackwardCall& backward, void* workspace,
                     Launcher& launcher) {
  BackwardParameters call{};
  static_cast<BackwardCall&>(call) = backward;
  call.keep = plan.path == Path::shared_rows;
  const auto one = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(plan.blocks, plan.threads, plan.shared_bytes, call,
                                               plan.cluster);
  };
  switch (plan.path) {
    case Path::short_rows:
      if (plan.steps == 1) return one(ShortGradients<A, In, 1>{});
      if (plan.steps == 4) return one(ShortGradients<A, In, 4>{});
      return one(ShortGradients<A, In, 16>{});
    case Path::register_rows:
    case Path::cluster_rows:
      return one(BlockGradients<A, In, Layout::rows, true>{});
    case Path::shared_rows:
    case Path::reread_rows:
      if (plan.direct) return one(BlockGradients<A, In, Layout::rows, false>{});
      return one(BlockGradients<A, In, Layout::gathered, false>{});
    case Path::parts:
      return launch_gradient_parts<A, In>(plan, call, workspace, launcher);
    case Path::columns:
      return one(ColumnGradients<A, In>{});
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
