// The one read of a row: each block leaves its sum, and each thread the largest key of its
// elements; then what becomes of the row, from the sums.
#pragma once

#include "cuda/block_rows.h"
#include "cuda/topk_keys.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The largest key of this thread's elements.
template <int Steps, class Row>
FASTSOFTMAX_HD inline typename Row::Key largest_key(const Row& row, std::int64_t start, int count,
                                                    int s) {
  using Key = typename Row::Key;
  Key largest = 0;
  for_each_pack_in_turn<typename Row::A, Steps>(s, count, [&](int at, int inside) {
    Key keys[Row::per_thread];
    row.keys(start + at, inside, keys);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < Row::per_thread; ++c) largest = keys[c] > largest ? keys[c] : largest;
  });
  return largest;
}

template <class Row>
struct ObserveBlocks {
  using A = typename Row::A;
  using Key = typename Row::Key;
  static constexpr int max_threads = kObserveThreads;
  static constexpr int min_blocks = 2;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const Crew<Team, false> crew{&team};
    const std::int64_t blocks = blocks_of<A>(call.length);
    const std::int64_t stride = team.blocks() * crew.groups();
    for (std::int64_t i = team.block() * crew.groups() + crew.group(); i < call.rows * blocks;
         i += stride) {
      const std::int64_t r = i / blocks;
      const std::int64_t start = (i - r * blocks) * A::block;
      const std::int64_t left = call.length - start;
      const Row row(call, offsets_of(call.outer, call.first_row + r));
      const Key largest =
          observe(crew, call, row, start, left < A::block ? static_cast<int>(left) : A::block, i);
      if (call.maxima != nullptr) static_cast<Key*>(call.maxima)[i * kGroup + crew.s()] = largest;
    }
  }

 private:
  template <class Crew>
  FASTSOFTMAX_HD static Key observe(const Crew& crew, const TopkParameters& call, const Row& row,
                                    std::int64_t start, int count, std::int64_t i) {
    if constexpr (Row::has_scores) {
      if (call.sums != nullptr) {
        Tile<A, kTermsPerLane> z;
        load_tile(row, start, count, crew.s(), z);
        const Key largest = key_of(thread_max(z));
        const BlockSum sum =
            call.sums_rest ? sum_tile<A, true>(crew, z, count) : sum_tile<A, false>(crew, z, count);
        if (crew.s() == 0) call.sums[i] = sum;
        return largest;
      }
    }
    return largest_key<kTermsPerLane>(row, start, count, crew.s());
  }
};

// Threads that fetch sums for the first of them to join.
template <class Team>
struct Fetchers : Crew<Team, false> {
  FASTSOFTMAX_HD int place() const { return this->team->thread(); }
  FASTSOFTMAX_HD int places() const { return this->team->threads(); }
  FASTSOFTMAX_HD BlockSum* sums() const {
    return Crew<Team, false>{this->team}.sums() + this->turn * places();
  }
  FASTSOFTMAX_HD void post(const BlockSum& sum) const { sums()[place()] = sum; }
};

// What becomes of each row, if it is in the domain.
template <class A, bool Log>
struct JoinSums {
  static constexpr int max_threads = kFetchThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    Fetchers<Team> crew{{&team}};
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      const BlockSum* const sums = call.sums + r * blocks_of<A>(call.length);
      sum_row<A, Log>(crew, call.length,
                      [&](std::int64_t start, int) { return sums[start / A::block]; });
      if (crew.first())
        call.outcomes[r] =
            outcome_of<A>(call, crew.facts().template total<Log>(), typename A::T(0));
      crew.sync();
    }
  }
};

// Rows outside the domain, as a rule none, are summed again, less their maximum. logsumexp is
// written, of all rows.
template <class Row, bool Log>
struct SumExceptional {
  using A = typename Row::A;
  using T = typename A::T;
  static constexpr int max_threads = kExceptionalThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    Crew<Team, false> crew{&team};
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      RowOutcome& outcome = call.outcomes[r];
      if (outcome.state.kind == RowState::exceptional) {
        sum_again(crew, call, r);
        if (crew.first()) outcome = crew.facts().outcome;
        crew.sync();
      }
      if (Log && call.op == RowOp::logsumexp && crew.first())
        A::store(reinterpret_cast<typename Row::In*>(call.selection.logsumexp) + call.first_row + r,
                 logsumexp_of<T>(outcome));
    }
  }

 private:
  template <class Crew>
  FASTSOFTMAX_HD static void sum_again(Crew& crew, const TopkParameters& call, std::int64_t r) {
    Row row(call, offsets_of(call.outer, call.first_row + r));
    decide<A, Log, kTermsPerLane>(crew, call, row, [&](std::int64_t start, int count) {
      Tile<A, kTermsPerLane> z;
      load_tile(row, start, count, crew.s(), z);
      return sum_tile<A, Log>(crew, z, count);
    });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
