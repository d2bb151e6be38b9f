// Losses of rows that a thread block or a cluster has for itself.
#pragma once

#include "cuda/crew.h"
#include "cuda/crew_geometry.h"
#include "cuda/loss_sums.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What the threads of a block know of their row.
template <class A>
struct LossFacts {
  LossSums<A> sums;
  double score;  // of the target
  RowLoss found;
  double max;
  bool repeats;
  RowGradient<A> gradient;
};

// In registers: rows have no more blocks than there are groups, and stay there. Otherwise they are
// read twice, or, where they lie as Layout::rows has them, kept in slots of shared memory; others
// have a slot through which their blocks go.
template <class A, class In, Layout L, bool InRegisters>
struct LossBlockRows {
  static constexpr int max_threads =
      L == Layout::gathered ? kGatheringGroups * kGroup : kMaxCrewThreads;
  static constexpr int min_blocks = 1;
  static constexpr int steps = kTermsPerLane;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const LossParameters& call) {
    A::load_tables(team.thread());
    F64::load_tables(team.thread());
    static_assert(sizeof(LossFacts<A>) <= kFactsBytes && sizeof(LossBlock) <= kBlockFactsBytes);
    Crew<Team, true, LossFacts<A>, LossBlock> crew{&team};
    crew.sync_all();
    for (std::int64_t r = crew.crew(); r < call.rows; r += crew.crews()) {
      LossRow<A, In, L> row(call, offsets_of(call.outer, r), r);
      run_row(crew, call, row, r);
    }
  }

 private:
  using T = typename A::T;
  static constexpr int per_thread = kPerThread<A>;

  // Leaves the sums with the first thread.
  template <class Crew, class Row>
  FASTSOFTMAX_HD static void sum(Crew& crew, const LossParameters& call, const Row& row,
                                 Tile<A, steps>& z) {
    T* slot = first_slot(crew, call);
    join_row<A>(crew, call.length, crew.facts().sums, [&](std::int64_t start, int count) {
      if constexpr (Row::is_any) {
        return any_loss_block(crew, row, start, count, slot, z);
      } else {
        load_tile(row, start, count, crew.s(), z);
        if (!InRegisters && call.slots > 0) {
          keep(slot, crew.s(), count, z);
          slot += A::block;
        }
        return loss_block(crew, call.coefficients == Coefficients::ones, count, z);
      }
    });
  }
  // Scores of this group's blocks, one after the other.
  template <class Crew>
  FASTSOFTMAX_HD static T* first_slot(const Crew& crew, const LossParameters& call) {
    return reinterpret_cast<T*>(crew.behind_desk()) + crew.group() * call.slots * A::block;
  }
  FASTSOFTMAX_HD static void keep(T* kept, int s, int count, const Tile<A, steps>& z) {
    for_each_pack<A, steps>(s, count, [&](int k, int at, int inside) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c)
        if (inside > 0) pack_at(kept + at).v[c] = z.v[k][c];
    });
  }
  // Each thread reads what it wrote itself.
  template <int Steps>
  FASTSOFTMAX_HD static void take(T* kept, int s, int count, Tile<A, Steps>& z) {
    for_each_pack<A, Steps>(s, count, [&](int k, int at, int inside) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) z.v[k][c] = inside > 0 ? pack_at(kept + at).v[c] : T(0);
    });
  }
  FASTSOFTMAX_HD static Pack<T, per_thread>& pack_at(T* kept) {
    return *reinterpret_cast<Pack<T, per_thread>*>(kept);
  }

  // The loss, and what becomes of the scores, which all threads know until the first barrier of the
  // next row.
  template <class Crew, class Row>
  FASTSOFTMAX_HD static void find(Crew& crew, const LossParameters& call, Row& row,
                                  std::int64_t index, std::int64_t target, Tile<A, steps>& z) {
    auto& known = crew.facts();
    // Ahead of the barrier behind which others may write the gradient in its place.
    if (crew.first()) known.score = row.score(target);
    const bool is_summed = target != kIgnored || call.logsumexp != nullptr;
    for (bool again = false;; again = true) {
      if (is_summed)
        sum(crew, call, row, z);
      else
        crew.sync();
      if (crew.first()) {
        known.repeats = false;
        if (is_summed) {
          const RowLoss now = known.sums.row(row.shifted_score(target, known.score));
          known.found = again ? repeated(known.found, known.max, now) : now;
          known.repeats = !again && is_to_repeat(call, now);
          if (!again) known.max = known.sums.max;
        }
        if (!known.repeats) {
          if (crew.first_of_all()) put_loss<A>(call, index, target, known.found);
          if (call.y != nullptr)
            known.gradient = row_gradient(row, index, target, known.score, known.found);
        }
      }
      crew.sync();
      if (!known.repeats) return;
      if (known.max - known.max == 0.0) row.shift = static_cast<T>(known.max);
    }
  }

  template <class Crew, class Row>
  FASTSOFTMAX_HD static void run_row(Crew& crew, const LossParameters& call, Row& row,
                                     std::int64_t index) {
    Tile<A, steps> z;
    const std::int64_t target = target_of(call, index);
    find(crew, call, row, index, target, z);
    if (call.y == nullptr) return;

    const RowGradient<A>& how = crew.facts().gradient;
    const bool stale = row.shift != how.shift;
    row.shift = how.shift;
    const int s = crew.s();
    T* slot = first_slot(crew, call);
    for_each_own_block<A>(crew, call.length, [&](std::int64_t start, int count) {
      if (how.kind != LossGradient::regular) {
        fill_block<A, steps>(row, gradient_without_scores<T>(how.kind), s, start, count);
      } else if (InRegisters && !stale) {
        write_gradient_of<steps>(z, row, how, target, s, start, count);
      } else if (!InRegisters && L == Layout::rows && call.slots > 0 && !stale) {
        write_gradient(row, how, target, s, start, count,
                       [&](std::int64_t at, int left, Tile<A, kGradientSteps>& part) {
                         take(slot + (at - start), s, left, part);
                       });
        slot += A::block;
      } else {
        write_gradient(row, how, target, s, start, count);
      }
    });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
