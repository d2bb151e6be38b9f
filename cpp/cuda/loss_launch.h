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
void launch_loss(const Plan& plan, const LossCall& loss, void* workspace, Launcher& launcher) {
  LossParameters call{};
  static_cast<RowsCall&>(call) = loss;
  static_cast<LossTerms&>(call) = loss;
  const auto in_order = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(1, kSumThreads, kSumSharedBytes, call);
  };
  const auto rows = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(plan.blocks, plan.threads, plan.shared_bytes, call,
                                               plan.cluster);
  };
  if (call.reduction != RowSum::none) {
    call.losses = static_cast<double*>(workspace);
    call.divisor = call.losses + all_rows(call);
  }
  if (call.reduction == RowSum::mean) in_order(LossDivisor{});
  call.slots = plan.slots;
  switch (plan.path) {
    case Path::short_rows:
      rows(LossGroupRows<A, In, Layout::rows>{});
      break;
    case Path::register_rows:
    case Path::cluster_rows:
    case Path::shared_rows:
    case Path::reread_rows:
      if (!plan.direct)
        rows(LossBlockRows<A, In, Layout::gathered, false>{});
      else if (plan.in_registers)
        rows(LossBlockRows<A, In, Layout::rows, true>{});
      else
        rows(LossBlockRows<A, In, Layout::rows, false>{});
      break;
    case Path::columns:
      rows(LossGroupRows<A, In, Layout::columns>{});
      break;
    case Path::parts:  // not in plans of losses
      return;
  }
  if (call.reduction != RowSum::none) in_order(LossSum<typename A::T>{});
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
