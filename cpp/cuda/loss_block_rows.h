// Losses of rows that a thread block has for itself.
#pragma once

#include "cuda/loss_sums.h"
#include "cuda/row_crew.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What the threads of a block know of their row.
template <class A>
struct LossFacts {
  LossSums<A> sums;
  RowLoss found;
  double max;
  bool repeats;
  RowGradient<A> gradient;
};

// In registers: rows have no more blocks than there are groups, and stay there. Otherwise they are
// read twice, or, where they lie as Layout::rows has them, kept in shared memory.
template <class A, class In, Layout L, bool InRegisters>
struct LossBlockRows {
  static constexpr int max_threads =
      L == Layout::gathered ? kGatheringGroups * kGroup : kMaxCrewThreads;
  static constexpr int min_blocks = 1;
  static constexpr int steps = kernels::kTermsPerLane;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    A::load_tables(team.thread());
    F64::load_tables(team.thread());
    team.sync();
    const RowCrew<A, Team, LossFacts<A>, LossBlock> crew{&team};
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      LossRow<A, In, L> row(call, offsets_of(call.outer, r), r);
      run_row(crew, call, row, r);
      crew.sync();
    }
  }

 private:
  using T = typename A::T;
  static constexpr int per_thread = kPerThread<A>;

  // Leaves the sums with the first thread.
  template <class Crew, class Row>
  FASTSOFTMAX_HD static void sum(const Crew& crew, const LossParameters& call, const Row& row,
                                 Tile<A, steps>& z) {
    auto& sums = crew.facts().sums;
    if (crew.first()) sums = {};
    crew.for_each_block(
        call.length,
        [&](std::int64_t start, int count) {
          const int s = crew.s();
          if constexpr (Row::is_any) {
            T* const through = crew.kept() + crew.group() * A::block;
            return any_loss_block(crew, row, start, count, through, z);
          } else {
            load_tile(row, start, count, s, z);
            if (!InRegisters && call.keep) keep(crew.kept() + start, s, count, z);
            return loss_block(crew, call.coefficients == Coefficients::ones, count, z);
          }
        },
        [&](const LossBlock& block) {
          // Not in registers, which the next round needs.
          LossSums<A> joined = sums;
          joined.join(block);
          sums = joined;
        });
  }
  FASTSOFTMAX_HD static void keep(T* kept, int s, int count, const Tile<A, steps>& z) {
    for_each_pack<A, steps>(s, count, [&](int k, int at, int inside) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c)
        if (inside > 0) kept_pack<A>(kept + at).v[c] = z.v[k][c];
    });
  }

  // What is known of the row, with the first thread.
  template <class Crew, class Row>
  FASTSOFTMAX_HD static void find(const Crew& crew, const LossParameters& call, Row& row,
                                  std::int64_t target, Tile<A, steps>& z) {
    auto& known = crew.facts();
    for (bool again = false;; again = true) {
      sum(crew, call, row, z);
      if (crew.first()) {
        const RowLoss now = known.sums.row(row.score(target));
        known.found = again ? repeated(known.found, known.max, now) : now;
        known.repeats = !again && is_to_repeat(call, now);
        if (!again) known.max = known.sums.max;
      }
      crew.sync();
      if (!known.repeats) return;
      if (known.max - known.max == 0.0) row.shift = static_cast<T>(known.max);
      crew.sync();
    }
  }

  template <class Crew, class Row>
  FASTSOFTMAX_HD static void run_row(const Crew& crew, const LossParameters& call, Row& row,
                                     std::int64_t index) {
    Tile<A, steps> z;
    auto& known = crew.facts();
    const std::int64_t target = target_of(call, index);
    if (target != kIgnored || call.logsumexp != nullptr) find(crew, call, row, target, z);
    const T summed_less = row.shift;
    if (crew.first()) {
      put_loss<A>(call, index, target, known.found);
      row.shift = T(0);
      if (call.y != nullptr)
        known.gradient = row_gradient(row, index, target, row.score(target), known.found);
    }
    crew.sync();
    if (call.y == nullptr) return;

    const RowGradient<A>& how = known.gradient;
    const std::int64_t stride = crew.groups() * std::int64_t{A::block};
    const bool stale = summed_less != how.shift;
    row.shift = how.shift;
    for (std::int64_t start = crew.group() * std::int64_t{A::block}; start < call.length;
         start += stride) {
      const std::int64_t left = call.length - start;
      const int count = left < A::block ? static_cast<int>(left) : A::block;
      const int s = crew.s();
      const auto from_kept = [&](auto&& kept) {
        for_each_pack<A, steps>(s, count, [&](int k, int at, int inside) {
          if (inside <= 0) return;
          T v[per_thread];
          FASTSOFTMAX_UNROLL
          for (int c = 0; c < per_thread; ++c) v[c] = kept(k, at, c);
          to_gradient(row, how, target, start + at, inside, v);
          row.write(start + at, inside, v);
        });
      };
      if (how.kind != LossGradient::regular)
        fill_block<A, steps>(row, gradient_without_scores<T>(how.kind), s, start, count);
      else if (InRegisters && !stale)
        from_kept([&](int k, int, int c) { return z.v[k][c]; });
      else if (!InRegisters && call.keep && !stale)
        from_kept([&](int, int at, int c) { return kept_pack<A>(crew.kept() + start + at).v[c]; });
      else
        write_gradient<steps>(row, how, target, s, start, count);
    }
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
