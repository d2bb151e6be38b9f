// softmax_stats: each row is read once (kernels/stats.h), by a group, a thread block or a cluster.
#pragma once

#include "cuda/crew.h"
#include "cuda/crew_geometry.h"
#include "cuda/crew_plan.h"
#include "cuda/group_walk.h"
#include "cuda/stats_call.h"
#include "kernels/stats_formula.h"

namespace fastsoftmax::cuda {

struct StatsParameters : Parameters, StatsResults {};

}  // namespace fastsoftmax::cuda

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What a group knows of a block.
struct StatsBlock {
  BlockSum sum;
  double weighted;
  double second;  // largest element but for the first maximum
};

template <class A, int Steps, class Group>
FASTSOFTMAX_HD inline StatsBlock stats_block(const Group& group, Tile<A, Steps>& z, int count) {
  using T = typename A::T;
  StatsBlock block{};
  block.sum = sum_tile<A, true>(group, z, count);
  const T max = static_cast<T>(block.sum.max);
  const T rounder = sum_rounder<A>(static_cast<T>(block.sum.exponent));
  ThreadLanes<A> lanes{};
  T second = -infinity<T>();
  int times = 0;
  for_each_pack<A, Steps>(group.s(), count, [&](int k, int, int inside) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (c >= inside) continue;
      const T v = z.v[k][c];
      lanes.sum[c] = add_weighted<A>(lanes.sum[c], ExtExp<A>::term(v, rounder), v, max);
      times += v == max ? 1 : 0;
      second = v == max ? second : A::max(v, second);
    }
  });
  block.weighted = join_lanes<A, true>(group, lanes).hi;
  for (int mask = kGroup / 2; mask > 0; mask /= 2) {
    second = A::max(second, group.exchange(second, mask));
    times += group.exchange(times, mask);
  }
  block.second = static_cast<double>(times > 1 ? max : second);
  return block;
}

// A row from its blocks.
template <class A>
struct StatsOfBlocks {
  using T = typename A::T;
  StatsTotal<A> row;
  T max = -infinity<T>();  // or NaN

  FASTSOFTMAX_HD void join(const StatsBlock& block) {
    const T largest = static_cast<T>(block.sum.max);
    max = larger_or_nan(max, largest);
    // Nothing to weigh.
    if (block.sum.exponent == kOutOfDomain || largest == -infinity<T>())
      return row.total.join(block.sum);
    row.join(block.sum, block.weighted, largest);
    row.top.add(largest);
    row.top.add(static_cast<T>(block.second));
  }
};

// What is known of a row after it was read, and once more less its maximum.
template <class T>
struct StatsFound {
  RowStats<T> stats;
  T max;
  bool repeats;

  template <class A>
  FASTSOFTMAX_HD void take(const StatsOfBlocks<A>& blocks, bool again) {
    if (again) {
      if (repeats) blocks.row.finish(&max, stats);
      repeats = false;
    } else if (blocks.row.finish(nullptr, stats)) {
      repeats = false;
    } else {
      max = blocks.max;
      stats = stats_of_maximum(max);
      repeats = max - max == T(0);
    }
  }
};

template <class In, class A>
FASTSOFTMAX_HD inline void put_stats(const StatsParameters& call, std::int64_t index,
                                     const RowStats<typename A::T>& stats) {
  const auto put = [&](char* to, typename A::T v) {
    A::store(reinterpret_cast<In*>(to) + index, v);
  };
  put(call.max, stats.max);
  put(call.logsumexp, stats.logsumexp);
  put(call.entropy, stats.entropy);
  put(call.top1, stats.top1);
  put(call.margin, stats.margin);
}

template <int Steps, class Group, class Row>
FASTSOFTMAX_HD inline void run_stats_row(const Group& group, const StatsParameters& call, Row& row,
                                         std::int64_t index, bool there) {
  using A = typename Row::A;
  using T = typename A::T;
  StatsFound<T> found{};
  for (bool again = false;; again = true) {
    StatsOfBlocks<A> blocks;
    for_each_start<A>(call.length, [&](std::int64_t start, int count) {
      Tile<A, Steps> z;
      load_tile(row, start, count, group.s(), z);
      blocks.join(stats_block(group, z, count));
    });
    found.take(blocks, again);
    if (!group.any(found.repeats)) break;
    if (found.repeats) row.shift = found.max;
  }
  if (there && group.s() == 0) put_stats<typename Row::In, A>(call, index, found.stats);
}

// Rows in registers, or columns.
template <class A, class In, Layout L>
struct StatsGroupRows {
  static constexpr int max_threads = L == Layout::rows ? kShortRowThreads : kColumnThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const StatsParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const auto body = [&](const auto& group, std::int64_t index, const Offsets& at, bool there) {
      Row<A, In, L> row(call, at);
      run_stats_row<kernels::kTermsPerLane>(group, call, row, index, there);
    };
    if constexpr (L == Layout::rows)
      for_each_short_row(team, call, body);
    else
      for_each_column(team, call, body);
  }
};

// A crew for each row. Layout::columns: along any axis.
template <class A, class In, Layout L>
struct StatsBlockRows {
  using T = typename A::T;
  static constexpr int max_threads =
      L == Layout::rows ? kMaxCrewThreads : kGatheringGroups * kGroup;
  static constexpr int min_blocks = 1;
  static constexpr int steps = kernels::kTermsPerLane;

  struct Facts {
    StatsOfBlocks<A> blocks;
    StatsFound<T> found;
  };

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const StatsParameters& call) {
    A::load_tables(team.thread());
    static_assert(sizeof(Facts) <= kFactsBytes && sizeof(StatsBlock) <= kBlockFactsBytes);
    Crew<Team, true, Facts, StatsBlock> crew{&team};
    crew.sync_all();
    for (std::int64_t r = crew.crew(); r < call.rows; r += crew.crews()) {
      Row<A, In, L> row(call, offsets_of(call.outer, r));
      run_row(crew, call, row, r);
    }
  }

 private:
  template <class Crew, class Row>
  FASTSOFTMAX_HD static void run_row(Crew& crew, const StatsParameters& call, Row& row,
                                     std::int64_t index) {
    Facts& known = crew.facts();
    for (bool again = false;; again = true) {
      join_row<A>(crew, call.length, known.blocks, [&](std::int64_t start, int count) {
        Tile<A, steps> z;
        load_tile(row, start, count, crew.s(), z);
        return stats_block(crew, z, count);
      });
      if (crew.first()) known.found.take(known.blocks, again);
      crew.sync();
      if (!known.found.repeats) break;
      row.shift = known.found.max;
    }
    if (crew.first_of_all()) put_stats<typename Row::In, A>(call, index, known.found.stats);
  }
};

// A launcher as in launch.h.
template <class A, class In, class Launcher>
void launch_stats(const Plan& plan, const StatsCall& stats, Launcher& launcher) {
  StatsParameters call{};
  static_cast<RowsCall&>(call) = stats;
  static_cast<StatsResults&>(call) = stats;
  const auto rows = [&](auto kernel) {
    launcher.template launch<decltype(kernel)>(plan.blocks, plan.threads, plan.shared_bytes, call,
                                               plan.cluster);
  };
  if (plan.path == Path::short_rows) return rows(StatsGroupRows<A, In, Layout::rows>{});
  if (plan.path == Path::columns) return rows(StatsGroupRows<A, In, Layout::columns>{});
  if (plan.direct) return rows(StatsBlockRows<A, In, Layout::rows>{});
  rows(StatsBlockRows<A, In, Layout::columns>{});
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
