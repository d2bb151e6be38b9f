// Losses of rows that a group has for itself: short rows, and columns along a strided axis.
#pragma once

#include "cuda/group_rows.h"
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
  const double score = row.score(target);
  Tile<A, Steps> z;
  RowLoss found{};
  double max = 0.0;
  bool repeats = group.any(target != kIgnored || call.logsumexp != nullptr);
  for (bool again = false; repeats; again = true) {
    LossSums<A> sums;
    // Ahead of exchanges, behind which others may write the gradient in its place.
    const double of_target = row.score(target);
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      load_tile(row, start, count, s, z);
      sums.join(loss_block(group, call.coefficients == Coefficients::ones, count, z));
    });
    const RowLoss now = sums.row(of_target);
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
  if (!there || call.y == nullptr) return;

  const RowGradient<A> how = row_gradient(row, index, target, score, found);
  if (how.kind != LossGradient::regular) {
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      fill_block<A, Steps>(row, gradient_without_scores<T>(how.kind), s, start, count);
    });
  } else if (Kept && row.shift == how.shift) {
    for_each_pack<A, Steps>(s, static_cast<int>(call.length), [&](int k, int at, int inside) {
      if (inside <= 0) return;
      to_gradient(row, how, target, at, inside, z.v[k]);
      row.write(at, inside, z.v[k]);
    });
  } else {
    row.shift = how.shift;
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      write_gradient<Steps>(row, how, target, s, start, count);
    });
  }
}

template <class A, class In>
struct LossShortRows {
  static constexpr int max_threads = kShortRowThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    A::load_tables(team.thread());
    F64::load_tables(team.thread());
    team.sync();
    const RowGroup<Team> group{&team};
    const std::int64_t groups = team.threads() / kGroup;
    const std::int64_t first = team.block() * groups + team.thread() / kGroup;
    for (std::int64_t r = first; r < call.rows; r += team.blocks() * groups) {
      LossRow<A, In, Layout::rows> row(call, offsets_of(call.outer, r), r);
      run_loss_row<kernels::kTermsPerLane, true>(group, call, row, r, true);
    }
  }
};

template <class A, class In>
struct LossColumns {
  static constexpr int max_threads = kColumnThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    A::load_tables(team.thread());
    F64::load_tables(team.thread());
    team.sync();
    const ColumnGroup<Team> group{&team};
    const std::int64_t tiles = (call.inner.size + kColumns - 1) / kColumns;
    for (std::int64_t t = team.block(); t < call.rows * tiles; t += team.blocks()) {
      const std::int64_t outer = t / tiles;
      std::int64_t column = (t - outer * tiles) * kColumns + team.thread() % kColumns;
      const bool there = column < call.inner.size;
      if (!there) column = 0;
      Offsets at = offsets_of(call.outer, outer);
      at.x += column * call.inner.x;
      at.y += column * call.inner.y;
      const std::int64_t index = outer * call.inner.size + column;
      LossRow<A, In, Layout::columns> row(call, at, index);
      run_loss_row<kernels::kTermsPerLane, false>(group, call, row, index, there);
    }
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
