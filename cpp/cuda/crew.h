// The threads that have a row for themselves, a thread block or a cluster of them, and how they
// come to its sum: in rounds, every group sums one block at a time and leaves the sum on the desk
// of every thread block, which is its shared memory; there the first group joins them in the order
// of the blocks.
#pragma once

#include "cuda/ordered_join.h"
#include "cuda/outcome.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::kTermsPerLane;

// What all threads of a thread block know of a row.
struct RowFacts {
  RowOutcome outcome;
  alignas(double) char total_bytes[kTotalBytes];

  template <bool Log>
  FASTSOFTMAX_HD RowTotal<Log>& total() {
    static_assert(sizeof(RowTotal<Log>) <= kTotalBytes);
    return *reinterpret_cast<RowTotal<Log>*>(total_bytes);
  }
};

// Clusters: thread blocks may have others in their crew. A Sum is what a group leaves of a block.
template <class Team, bool Clusters, class Facts = RowFacts, class Sum = BlockSum>
struct Crew {
  static constexpr int size = kGroup;  // of a group
  const Team* team;
  int turn = 0;  // sums of a round do not overwrite those of the round before

  FASTSOFTMAX_HD int s() const { return team->thread() % kGroup; }
  FASTSOFTMAX_HD int group() const { return team->thread() / kGroup; }
  FASTSOFTMAX_HD int groups() const { return team->threads() / kGroup; }
  FASTSOFTMAX_HD bool first() const { return team->thread() == 0; }
  // Among the groups of all thread blocks.
  FASTSOFTMAX_HD int place() const {
    return Clusters ? team->rank() * groups() + group() : group();
  }
  FASTSOFTMAX_HD int places() const { return ranks() * groups(); }
  // Of all threads: the one that writes what there is one of in a row.
  FASTSOFTMAX_HD bool first_of_all() const { return place() == 0 && s() == 0; }
  // Among the crews, of which each takes one row after the other.
  FASTSOFTMAX_HD std::int64_t crew() const { return static_cast<int>(team->block()) / ranks(); }
  FASTSOFTMAX_HD std::int64_t crews() const { return static_cast<int>(team->blocks()) / ranks(); }

  template <class T>
  FASTSOFTMAX_HD T exchange(T v, int mask) const {
    return team->exchange(v, mask);
  }
  FASTSOFTMAX_HD void sync() const { team->sync(); }
  FASTSOFTMAX_HD void sync_group() const { team->sync_group(); }
  FASTSOFTMAX_HD void sync_all() const {
    if (ranks() > 1)
      team->sync_cluster();
    else
      team->sync();
  }

  FASTSOFTMAX_HD Facts& facts() const { return *reinterpret_cast<Facts*>(team->shared); }
  FASTSOFTMAX_HD Sum* sums() const {
    return reinterpret_cast<Sum*>(team->shared + sizeof(Facts)) + turn * places();
  }
  // By all threads of a group.
  FASTSOFTMAX_HD void post(const Sum& sum) const {
    if (s() < ranks()) *team->peer(sums() + place(), s()) = sum;
  }
  FASTSOFTMAX_HD char* behind_desk() const {
    return team->shared + desk_bytes(sizeof(Facts), sizeof(Sum), places());
  }

 private:
  FASTSOFTMAX_HD int ranks() const { return Clusters ? team->ranks() : 1; }
};

// body(start, count) for the blocks of a row that this group has.
template <class A, class Crew, class Body>
FASTSOFTMAX_HD inline void for_each_own_block(const Crew& crew, std::int64_t length, Body&& body) {
  const std::int64_t stride = crew.places() * std::int64_t{A::block};
  for (std::int64_t start = crew.place() * std::int64_t{A::block}; start < length;
       start += stride) {
    const std::int64_t left = length - start;
    body(start, left < A::block ? static_cast<int>(left) : A::block);
  }
}

// sum_of(start, count) for the same blocks, and for the first group joined(sums, count) of all
// blocks in order, some at a time. There is a barrier in every row, also in those without elements.
// One round: rows have no more blocks than there are groups.
template <class A, bool OneRound = false, class Crew, class SumOf, class Joined>
FASTSOFTMAX_HD inline void for_each_sum(Crew& crew, std::int64_t length, SumOf&& sum_of,
                                        Joined&& joined) {
  const std::int64_t blocks = blocks_of<A>(length);
  std::int64_t first = 0;
  do {
    const std::int64_t b = first + crew.place();
    if (b < blocks) {
      const std::int64_t left = length - b * A::block;
      crew.post(sum_of(b * A::block, left < A::block ? static_cast<int>(left) : A::block));
    }
    crew.sync_all();
    if (crew.group() == 0) {
      const std::int64_t left = blocks - first;
      joined(crew.sums(), left < crew.places() ? static_cast<int>(left) : crew.places());
    }
    crew.turn ^= 1;
    first += crew.places();
  } while (!OneRound && first < blocks);
}

// The largest score, or NaN; for the threads of the first group.
template <class A, int Steps, class Crew, class Row>
FASTSOFTMAX_HD inline double max_or_nan(Crew& crew, std::int64_t length, const Row& row) {
  double max = -__builtin_inf();
  for_each_sum<A>(
      crew, length,
      [&](std::int64_t start, int count) {
        BlockSum sum{};
        sum.max =
            static_cast<double>(group_max(crew, thread_max_of<Steps>(row, start, count, crew.s())));
        return sum;
      },
      [&](const BlockSum* sums, int there) {
        for (int g = 0; g < there; ++g) max = larger_or_nan(max, sums[g].max);
      });
  return max;
}

// All sums of a row joined to `kept`, which is on the desk.
template <class A, class Crew, class Total, class SumOf>
FASTSOFTMAX_HD inline void join_row(Crew& crew, std::int64_t length, Total& kept, SumOf&& sum_of) {
  if (crew.first()) kept = {};
  for_each_sum<A>(crew, length, sum_of,
                  [&](auto* sums, int there) { join_in_order<A>(crew, kept, sums, there); });
}

// The total of a row, likewise.
template <class A, bool Log, class Crew, class SumOf>
FASTSOFTMAX_HD inline void sum_row(Crew& crew, std::int64_t length, SumOf&& sum_of) {
  join_row<A>(crew, length, crew.facts().template total<Log>(), sum_of);
}

// Decides what becomes of a row; the outcome is on the desk for all threads to see, until the first
// barrier of the next row. Rows outside the domain are summed a second time, less their maximum.
template <class A, bool Log, int Steps, class Crew, class Row, class SumOf>
FASTSOFTMAX_HD inline void decide(Crew& crew, const Parameters& call, Row& row, SumOf&& sum_of) {
  using T = typename A::T;
  RowOutcome& outcome = crew.facts().outcome;
  for (;;) {
    sum_row<A, Log>(crew, call.length, sum_of);
    if (crew.first()) outcome = outcome_of<A>(call, crew.facts().template total<Log>(), row.shift);
    crew.sync();
    if (outcome.state.kind != RowState::exceptional) return;
    const double max = max_or_nan<A, Steps>(crew, call.length, row);
    if (crew.first()) outcome = exceptional_outcome(call, max);
    crew.sync();
    if (outcome.is_constant) return;
    row.shift = static_cast<T>(outcome.shift);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
