// Which kernels a plan for losses stands for, by a launcher as in launch.h.
#pragma once

#include "cuda/crew_plan.h"
#include "cuda/loss_block_rows.h"
#include "cuda/loss_group_rows.h"
#include "cuda/loss_sum.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// `workspace` has loss_workspace_bytes, aligned as cudaMalloc aligns.
template <class A, class In, class Launcher>
void launch_loss(const CrewPlan& plan, const LossCall& loss, void* workspace, Launcher& launcher) {
  LossParameters call{};
  static_cast<RowsCall&>(call) = loss;
  static_cast<LossTerms&>(call) = loss;
  const auto in_order = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(1, kSumThreads, kSumSharedBytes, call);
  };
  const auto rows = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(plan.blocks, plan.threads, plan.shared_bytes, call);
  };
  if (call.reduction != RowSum::none) {
    call.losses = static_cast<double*>(workspace);
    call.divisor = call.losses + all_rows(call);
  }
  if (call.reduction == RowSum::mean) in_order(LossDivisor{});
  call.keep = plan.path == CrewPath::shared_rows;
  switch (plan.path) {
    case CrewPath::short_rows:
      rows(LossShortRows<A, In>{});
      break;
    case CrewPath::register_rows:
      rows(LossBlockRows<A, In, Layout::rows, true>{});
      break;
    case CrewPath::shared_rows:
    case CrewPath::reread_rows:
      if (call.layout == Layout::rows)
        rows(LossBlockRows<A, In, Layout::rows, false>{});
      else
        rows(LossBlockRows<A, In, Layout::gathered, false>{});
      break;
    case CrewPath::columns:
      rows(LossColumns<A, In>{});
      break;
  }
  if (call.reduction != RowSum::none) in_order(LossSum<typename A::T>{});
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
