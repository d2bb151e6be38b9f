// Short rows, of which a few elements are wanted: a group for each row, which is in registers. The
// k first are found one after the other; thread s keeps those that lanes s * kPerThread + c would
// have, so that they are a row in registers themselves.
#pragma once

#include "cuda/group_rows.h"
#include "cuda/topk_choose.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What becomes of a row that load(z, shift) leaves in registers, less `shift`.
template <class A, bool Log, int Steps, class Group, class Load>
FASTSOFTMAX_HD inline RowOutcome outcome_of_tile(const Group& group, const TopkParameters& call,
                                                 int count, Load&& load) {
  using T = typename A::T;
  T shift = 0;
  for (;;) {
    Tile<A, Steps> z;
    load(z, shift);
    RowTotal<Log> total;
    total.join(sum_tile<A, Log>(group, z, count));
    const RowOutcome outcome = outcome_of<A>(call, total, shift);
    if (outcome.state.kind != RowState::exceptional) return outcome;
    load(z, T(0));
    shift = group_max(group, thread_max(z));
    const RowOutcome exception = exceptional_outcome(call, static_cast<double>(shift));
    if (exception.is_constant) return exception;
  }
}

template <class Row>
struct ShortTopk {
  using A = typename Row::A;
  using Key = typename Row::Key;
  using Rank = Ranked<Key>;
  static constexpr int max_threads = kShortRowThreads;
  static constexpr int min_blocks = 1;
  static constexpr int per_thread = Row::per_thread;
  static constexpr int steps = kShortSteps;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const RowGroup<Team> group{&team};
    const std::int64_t groups = team.threads() / kGroup;
    const std::int64_t first = team.block() * groups + team.thread() / kGroup;
    for (std::int64_t r = first; r < call.rows; r += team.blocks() * groups) {
      Row row(call, offsets_of(call.outer, r));
      Rank chosen[per_thread];
      choose(group, call, row, chosen);
      put_all(group, call, row, r, chosen);
    }
  }

 private:
  template <class Group>
  FASTSOFTMAX_HD static void choose(const Group& group, const TopkParameters& call, const Row& row,
                                    Rank* chosen) {
    const int count = static_cast<int>(call.length);
    Key keys[steps][per_thread];
    for_each_pack<A, steps>(group.s(), count,
                            [&](int k, int at, int inside) { row.keys(at, inside, keys[k]); });
    Rank last{};
    FASTSOFTMAX_ROLLED
    for (int j = 0; j < call.selection.k; ++j) {
      // Nothing comes behind the last element of all, which this is the rank of, or could be.
      Rank best{};
      for_each_pack<A, steps>(group.s(), count, [&](int k, int at, int inside) {
        FASTSOFTMAX_UNROLL
        for (int c = 0; c < per_thread; ++c) {
          const Rank rank{keys[k][c], static_cast<Key>(count - 1 - at - c)};
          const bool left = c < inside && (j == 0 || comes_before(last, rank));
          if (left && comes_before(rank, best)) best = rank;
        }
      });
      for (int mask = kGroup / 2; mask > 0; mask /= 2) {
        const Rank other{group.exchange(best.key, mask), group.exchange(best.place, mask)};
        if (comes_before(other, best)) best = other;
      }
      last = best;
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) {
        if (j == group.s() * per_thread + c) chosen[c] = best;
      }
    }
  }

  template <class Group>
  FASTSOFTMAX_HD static void put_all(const Group& group, const TopkParameters& call, Row& row,
                                     std::int64_t r, const Rank* chosen) {
    const Selection& selection = call.selection;
    const int first = group.s() * per_thread;
    const auto index = [&](int c) {
      return call.length - 1 - static_cast<std::int64_t>(chosen[c].place);
    };
    const auto to = [&](int c) { return output_of(selection, r, first + c); };
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (first + c < selection.k) selection.indices[to(c)] = index(c);
    }
    if constexpr (Row::has_scores) {
      if (selection.picked != Picked::elements) {
        typename A::T scores[per_thread];
        FASTSOFTMAX_UNROLL
        for (int c = 0; c < per_thread; ++c)
          scores[c] = first + c < selection.k ? row.score(index(c)) : -infinity<typename A::T>();
        if (call.op == RowOp::log_softmax)
          normalize<true>(group, call, row, scores);
        else
          normalize<false>(group, call, row, scores);
        FASTSOFTMAX_UNROLL
        for (int c = 0; c < per_thread; ++c) {
          if (first + c < selection.k)
            A::store(reinterpret_cast<typename Row::In*>(selection.values) + to(c), scores[c]);
        }
        return;
      }
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (first + c < selection.k)
        copy_item(row.x + index(c) * row.step, selection.values + to(c) * call.item, call.item);
    }
  }

  // Scores become probabilities, of the row or of themselves alone, or their logarithms.
  template <bool Log, class Group, class T>
  FASTSOFTMAX_HD static void normalize(const Group& group, const TopkParameters& call, Row& row,
                                       T* scores) {
    RowOutcome outcome;
    if (call.selection.picked == Picked::scores) {
      outcome = outcome_of_tile<A, Log, 1>(group, call, static_cast<int>(call.selection.k),
                                           [&](Tile<A, 1>& z, T shift) {
                                             FASTSOFTMAX_UNROLL
                                             for (int c = 0; c < per_thread; ++c)
                                               z.v[0][c] = less(scores[c], shift);
                                           });
    } else {
      const int count = static_cast<int>(call.length);
      outcome = outcome_of_tile<A, Log, steps>(group, call, count, [&](Tile<A, steps>& z, T shift) {
        row.shift = shift;
        load_tile(row, 0, count, group.s(), z);
      });
    }
    const Writer<A, Log> writer(outcome.state);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c)
      scores[c] = outcome.is_constant
                      ? constant_of<T>(outcome)
                      : writer.from_score(less(scores[c], static_cast<T>(outcome.shift)));
  }

  template <class T>
  FASTSOFTMAX_HD static T less(T score, T shift) {
    return shift == T(0) ? score : A::sub(score, shift);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
