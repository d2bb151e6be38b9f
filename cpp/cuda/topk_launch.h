// Which kernels a plan of top-k stands for. A launcher has, besides launch (launch.h),
//   normalize(plan, call, workspace)   carries out the call of the core
#pragma once

#include "cuda/topk_choose.h"
#include "cuda/topk_observe.h"
#include "cuda/topk_short.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Row, bool Log, class Launcher>
void launch_outcomes(const TopkPlan& plan, TopkParameters call, RowOp op, Launcher& launcher) {
  call.op = op;
  launcher.template launch<JoinSums<typename Row::A, Log>>(plan.join_blocks, kFetchThreads,
                                                           plan.join_shared_bytes, call);
  launcher.template launch<SumExceptional<Row, Log>>(plan.join_blocks, plan.exceptional_threads,
                                                     plan.exceptional_shared_bytes, call);
}

template <class Row, class Launcher>
void launch_batch(const TopkPlan& plan, TopkParameters call, Launcher& launcher) {
  if (plan.sums || plan.maxima)
    launcher.template launch<ObserveBlocks<Row>>(plan.observe_blocks, plan.observe_threads, 0,
                                                 call);
  if constexpr (Row::has_scores) {
    const Picked picked = call.selection.picked;
    if (call.selection.logsumexp != nullptr)
      launch_outcomes<Row, true>(plan, call, RowOp::logsumexp, launcher);
    if (picked == Picked::softmax)
      launch_outcomes<Row, false>(plan, call, RowOp::softmax, launcher);
    if (picked == Picked::log_softmax)
      launch_outcomes<Row, true>(plan, call, RowOp::log_softmax, launcher);
  }
  launcher.template launch<ChooseRows<Row>>(plan.choose_blocks, plan.choose_threads,
                                            plan.choose_shared_bytes, call);
}

// `memory` has plan.workspace.bytes, aligned as cudaMalloc aligns.
template <class Row, class Launcher>
void launch_topk(const TopkPlan& plan, const TopkRowsCall& rows, void* memory, Launcher& launcher) {
  char* const workspace = static_cast<char*>(memory);
  const TopkWorkspace& at = plan.workspace;
  TopkParameters call{};
  static_cast<RowsCall&>(call) = rows;
  call.selection = rows.selection;
  call.item = rows.item;
  if (plan.short_blocks != 0)
    return launcher.template launch<ShortTopk<Row>>(plan.short_blocks, kShortRowThreads, 0, call);
  call.sums = plan.sums ? reinterpret_cast<BlockSum*>(workspace + at.sums) : nullptr;
  call.sums_rest =
      rows.selection.logsumexp != nullptr || rows.selection.picked == Picked::log_softmax;
  call.maxima = plan.maxima ? workspace + at.maxima : nullptr;
  call.outcomes = reinterpret_cast<RowOutcome*>(workspace + at.outcomes);
  call.scores = workspace + at.scores;
  call.candidates = plan.capacity > plan.sorted_at_once ? workspace + at.candidates : nullptr;
  call.capacity = plan.capacity;
  call.sorted_at_once = plan.sorted_at_once;
  call.pieces_at_once = plan.pieces_at_once;
  for (call.first_row = 0; call.first_row < rows.rows; call.first_row += plan.rows_in_flight) {
    const std::int64_t left = rows.rows - call.first_row;
    call.rows = left < plan.rows_in_flight ? left : plan.rows_in_flight;
    launch_batch<Row>(plan, call, launcher);
  }
  if constexpr (Row::has_scores) {
    if (rows.selection.picked != Picked::scores) return;
    launcher.normalize(plan.rows, selected_rows(rows, call.scores), workspace + at.rows);
    call.rows = rows.rows;
    launcher.template launch<StoreSelected<Row>>(plan.store_blocks, kObserveThreads, 0, call);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
