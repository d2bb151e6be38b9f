// Which kernels a plan of top-k stands for. A launcher has, besides launch (launch.h),
//   normalize(plan, call, workspace)   carries out the call of the core
#pragma once

#include "cuda/topk_choose.h"
#include "cuda/topk_observe.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Row, class Launcher>
void launch_batch(const TopkPlan& plan, TopkParameters call, Launcher& launcher) {
  if (plan.sums || plan.maxima)
    launcher.template launch<ObserveBlocks<Row>>(plan.observe_blocks, plan.observe_threads, 0,
                                                 call);
  if constexpr (Row::has_scores) {
    const auto join = [&](auto kernel, RowOp op) {
      TopkParameters joined = call;
      joined.op = op;
      launcher.template launch<decltype(kernel)>(plan.join_blocks, plan.join_threads,
                                                 plan.join_shared_bytes, joined);
    };
    if (call.selection.logsumexp != nullptr) join(JoinSums<Row, true>{}, RowOp::logsumexp);
    if (call.selection.picked == Picked::softmax) join(JoinSums<Row, false>{}, RowOp::softmax);
    if (call.selection.picked == Picked::log_softmax)
      join(JoinSums<Row, true>{}, RowOp::log_softmax);
  }
  launcher.template launch<ChooseRows<Row>>(plan.choose_blocks, plan.choose_threads,
                                            plan.choose_shared_bytes, call);
}

// `memory` has plan.workspace.bytes, aligned as cudaMalloc aligns.
template <class Row, class Launcher>
void launch_topk(const TopkPlan& plan, const TopkRowsCall& rows, void* memory,
                 Launcher& launcher) {
  char* const workspace = static_cast<char*>(memory);
  const TopkWorkspace& at = plan.workspace;
  TopkParameters call{};
  static_cast<RowsCall&>(call) = rows;
  call.selection = rows.selection;
  call.item = rows.item;
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
