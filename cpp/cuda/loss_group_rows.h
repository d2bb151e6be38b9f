// Losses of rows that a group has for itself: short rows, and columns along a strided axis.
#pragma once

#include "cuda/group_walk.h"
#include "cuda/loss_sums.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Without softcap and coefficients of their own. Kept: rows have no more than one block, which
// stays in registers. `there` is false for threads that only keep others company.
template <int Steps, bool Kept, class Group, class Row>
FASTSOFTMAX_HD inline void run_loss_row(const Group& group, const LossParameters& call, Row& row,
                                        std::int64_t index, bool there) {
  using A = typename Row::A;
  using T = typename A::T;
  const int s = group.s();
  const std::int64_t target = target_of(call, index);
  // Ahead of the barrier behind which others may write the gradient in its place.
  const double score = row.score(target);
  Tile<A, Steps> z;
  RowLoss found{};
  double max = 0.0;
  bool repeats = group.any(target != kIgnored || call.logsumexp != nullptr);
  for (bool again = false; repeats; again = true) {
    LossSums<A> sums;
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      load_tile(row, start, count, s, z);
      sums.join(loss_block(group, call.coefficients == Coefficients::ones, count, z));
    });
    const RowLoss now = sums.row(row.shifted_score(target, score));
    if (again) {
      if (found.kind == RowLoss::irregular) found = repeated(found, max, now);
      break;
    }
    found = now;
    max = sums.max;
    const bool irregular = found.kind == RowLoss::irregular;
    if (irregular && max - max == 0.0) row.shift = static_cast<T>(max);
    repeats = group.any(irregular);
  }
  if (there && s == 0) put_loss<A>(call, index, target, found);
  group.meet();
  if (!there || call.y == nullptr) return;

  const RowGradient<A> how = row_gradient(row, index, target, score, found);
  if (how.kind != LossGradient::regular) {
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      fill_block<A, Steps>(row, gradient_without_scores<T>(how.kind), s, start, count);
    });
  } else if (Kept && row.shift == how.shift) {
    write_gradient_of<Steps>(z, row, how, target, s, 0, static_cast<int>(call.length));
  } else {
    row.shift = how.shift;
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      write_gradient(row, how, target, s, start, count);
    });
  }
}

// Rows in registers, or columns.
template <class A, class In, Layout L>
struct LossGroupRows {
  static constexpr int max_threads = L == Layout::rows ? kShortRowThreads : kColumnThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    A::load_tables(team.thread());
    F64::load_tables(team.thread());
    team.sync();
    const auto body = [&](const auto& group, std::int64_t index, const Offsets& at, bool there) {
      LossRow<A, In, L> row(call, at, index);
      run_loss_row<kernels::kTermsPerLane, L == Layout::rows>(group, call, row, index, there);
    };
    if constexpr (L == Layout::rows)
      for_each_short_row(team, call, body);
    else
      for_each_column(team, call, body);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
