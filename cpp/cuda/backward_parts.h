// Gradients of rows that several thread blocks share, in launches of their own: sums of blocks;
// their join in order; the output.
#pragma once

#include "cuda/backward_rows.h"
#include "cuda/row_parts.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, class In>
struct SumGradientParts {
  static constexpr int max_threads = kGradientThreads;
  static constexpr int min_blocks = 2;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    using Row = BackwardRow<A, In, Layout::rows>;
    const Crew<Team, false> crew{&team};
    const std::int64_t blocks = blocks_of<A>(call.length);
    for_part<Row>(
        crew, call,
        [&](std::int64_t r, const Row& row, std::int64_t start, int count, std::int64_t b) {
          const SumPair sum = sum_of_block(crew, row, start, count);
          if (crew.s() == 0) call.sums[r * blocks + b] = sum;
        });
  }
};

// The threads of a block fetch the sums of a row that one of them adds.
template <class A>
struct JoinGradientParts {
  static constexpr int max_threads = kJoinThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    const std::int64_t blocks = blocks_of<A>(call.length);
    const SumPair* const sums = call.sums + team.block() * blocks;
    auto* fetched = reinterpret_cast<SumPair*>(team.shared);
    SumPair total{};
    int turn = 0;
    for (std::int64_t first = 0; first < blocks; first += team.threads(), turn ^= 1) {
      const std::int64_t left = blocks - first;
      const int there = left < team.threads() ? static_cast<int>(left) : team.threads();
      SumPair* const round = fetched + turn * team.threads();
      if (team.thread() < there) round[team.thread()] = sums[first + team.thread()];
      team.sync();
      if (team.thread() != 0) continue;
      for (int i = 0; i < there; ++i) add(total, round[i]);
    }
    if (team.thread() == 0) call.totals[team.block()] = total;
  }
};

template <class A, class In>
struct WriteGradientParts {
  static constexpr int max_threads = kGradientThreads;
  static constexpr int min_blocks = 2;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    using Row = BackwardRow<A, In, Layout::rows>;
    A::load_tables(team.thread());
    team.sync();
    const Crew<Team, false> crew{&team};
    for_part<Row>(crew, call,
                  [&](std::int64_t r, const Row& row, std::int64_t start, int count, std::int64_t) {
                    const ArithmeticPair<typename A::T> sum(call.totals[r]);
                    write_block(row, sum, crew.s(), start, count);
                  });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
