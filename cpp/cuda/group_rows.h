// softmax, log_softmax and logsumexp of rows that a group has for itself.
#pragma once

#include "cuda/group_walk.h"
#include "cuda/outcome.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// load(start, count, z) gets the scores of a block. Kept: rows have no more than one, which stays
// in registers. Ahead: load has it in registers already; a second pass reads it again, so that they
// are free meanwhile. `writes` is false for threads that only keep others company.
template <bool Log, int Steps, bool Kept, bool Ahead, class Group, class Row, class Load>
FASTSOFTMAX_HD inline void run_row(const Group& group, const Parameters& call, Row& row,
                                   Load&& load, bool writes) {
  using A = typename Row::A;
  using T = typename A::T;
  const int s = group.s();
  const int kept = Kept ? static_cast<int>(call.length) : 0;
  Tile<A, Steps> z;
  if constexpr (Ahead) load(0, kept, z);
  for (;;) {
    if constexpr (Kept && !Ahead) load(0, kept, z);
    BlockSum sum{};
    RowTotal<Log> total;
    if constexpr (Kept) {
      sum = sum_tile<A, Log>(group, z, kept);
      total = RowTotal<Log>::of(sum);
    } else {
      for_each_start<A>(call.length, [&](std::int64_t start, int count) {
        load(start, count, z);
        total.join(sum_tile<A, Log>(group, z, count));
      });
    }
    const RowOutcome outcome = outcome_of<A>(call, total, row.shift);
    const bool exceptional = writes && outcome.state.kind == RowState::exceptional;
    if (writes && !exceptional) {
      if (Log && call.op == RowOp::logsumexp) {
        if (s == 0) row.put(logsumexp_of<T>(outcome));
      } else if (outcome.is_constant) {
        for_each_start<A>(call.length, [&](std::int64_t start, int count) {
          fill_block<A, Steps, Group::size>(row, constant_of<T>(outcome), s, start, count);
        });
      } else if constexpr (Kept) {
        write_tile<A, Log, Steps, Group::size>(row, outcome.state, s, 0, kept, z, sum.exponent);
      } else {
        for_each_start<A>(call.length, [&](std::int64_t start, int count) {
          write_block<A, Log, Steps>(row, outcome.state, s, start, count);
        });
      }
      writes = false;
    }
    if (!group.any(exceptional)) return;

    row.shift = T(0);
    T max = -infinity<T>();
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      max = larger_or_nan(max, thread_max_of<Steps, Group::size>(row, start, count, s));
    });
    max = group_max(group, max);
    const RowOutcome exception = exceptional_outcome(call, static_cast<double>(max));
    if (exceptional && exception.is_constant) {
      writes = false;
      if (call.op != RowOp::logsumexp) {
        for_each_start<A>(call.length, [&](std::int64_t start, int count) {
          fill_block<A, Steps, Group::size>(row, constant_of<T>(exception), s, start, count);
        });
      } else if (s == 0) {
        row.put(constant_of<T>(exception));
      }
    }
    row.shift = exception.is_constant ? T(0) : max;
    if (!group.any(writes)) return;
    if constexpr (Ahead) load_tile<Group::size>(row, 0, kept, s, z);
  }
}

template <class A, class In, bool Log, int Steps>
struct ShortRows {
  static constexpr int max_threads = kShortRowThreads;
  using RowOf = Row<A, In, Layout::rows>;
  static constexpr int min_blocks = short_row_blocks(Steps);
  static constexpr int group_size = short_row_group(Steps, sizeof(typename A::T) == sizeof(double));
  static constexpr int packs = Steps * kGroup / group_size;  // of a thread
  // How many rows are loaded ahead of the one that is summed.
  static constexpr int ahead = Steps == 1 && !Log ? 1 : 0;
  struct Stored {
    typename RowOf::Packed packs[ShortRows::packs];
  };

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const RowGroup<Team, group_size> group{&team};
    const std::int64_t first = group.place();
    const std::int64_t stride = group.places();
    const auto fetch = [&](std::int64_t r, Stored& stored) {
      if (r >= call.rows) return;
      const RowOf row(call, offsets_of(call.outer, r));
      load_packs<group_size>(row, 0, static_cast<int>(call.length), group.s(), stored.packs);
    };
    Stored coming[ahead + 1];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < ahead; ++i) fetch(first + i * stride, coming[i]);
    for (std::int64_t r = first; r < call.rows; r += stride) {
      if constexpr (ahead > 0) fetch(r + ahead * stride, coming[ahead]);
      RowOf row(call, offsets_of(call.outer, r));
      const auto load = [&](std::int64_t start, int count, Tile<A, packs>& z) {
        if constexpr (ahead > 0)
          scores_of(row, start, count, group.s(), coming[0].packs, z);
        else
          load_tile<group_size>(row, start, count, group.s(), z);
      };
      run_row<Log, packs, true, (ahead > 0)>(group, call, row, load, true);
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < ahead; ++i) coming[i] = coming[i + 1];
    }
  }
};

template <class A, class In, bool Log>
struct Columns {
  static constexpr int max_threads = kColumnThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    team.sync();
    constexpr int steps = kernels::kTermsPerLane;
    for_each_column(team, call,
                    [&](const auto& group, std::int64_t, const Offsets& at, bool there) {
                      Row<A, In, Layout::columns> row(call, at);
                      const auto load = [&](std::int64_t start, int count, Tile<A, steps>& z) {
                        load_tile(row, start, count, group.s(), z);
                      };
                      run_row<Log, steps, false, false>(group, call, row, load, there);
                    });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
