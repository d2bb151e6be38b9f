// Rows that several thread blocks share, in launches of their own: sums of blocks; their join in
// order; the output. BlockRows then does rows outside the domain, as a rule none.
#pragma once

#include "cuda/crew.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// body(row within the batch, its access, start, count, block) for the blocks that this group has of
// its thread block's part.
template <class Row, class Crew, class Call, class Body>
FASTSOFTMAX_HD inline void for_part(const Crew& crew, const Call& call, Body&& body) {
  using A = typename Row::A;
  const std::int64_t blocks = blocks_of<A>(call.length);
  const std::int64_t parts = (blocks + call.part_blocks - 1) / call.part_blocks;
  const std::int64_t r = crew.team->block() / parts;
  const std::int64_t first = (crew.team->block() - r * parts) * call.part_blocks;
  const std::int64_t last = first + call.part_blocks < blocks ? first + call.part_blocks : blocks;
  const Row row(call, offsets_of<typename Row::At>(call.outer, call.first_row + r));
  for (std::int64_t b = first + crew.group(); b < last; b += crew.groups()) {
    const std::int64_t left = call.length - b * A::block;
    body(r, row, b * A::block, left < A::block ? static_cast<int>(left) : A::block, b);
  }
}

template <class A, class In, bool Log>
struct SumParts {
  static constexpr int max_threads = max_row_threads(sizeof(typename A::T) == sizeof(double));
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const Crew<Team, false> crew{&team};
    const std::int64_t blocks = blocks_of<A>(call.length);
    for_part<Row<A, In, Layout::rows>>(
        crew, call,
        [&](std::int64_t r, const auto& row, std::int64_t start, int count, std::int64_t b) {
          Tile<A, kTermsPerLane> z;
          load_tile(row, start, count, crew.s(), z);
          const BlockSum sum = sum_tile<A, Log>(crew, z, count);
          if (crew.s() == 0) call.sums[r * blocks + b] = sum;
        });
  }
};

template <class A, bool Log>
struct JoinParts {
  static constexpr int max_threads = max_row_threads(sizeof(typename A::T) == sizeof(double));
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    team.sync();
    Crew<Team, false> crew{&team};
    const std::int64_t r = team.block();
    const BlockSum* const sums = call.sums + r * blocks_of<A>(call.length);
    sum_row<A, Log>(crew, call.length,
                    [&](std::int64_t start, int) { return sums[start / A::block]; });
    if (crew.first())
      call.outcomes[r] = outcome_of<A>(call, crew.facts().template total<Log>(), typename A::T(0));
  }
};

template <class A, class In, bool Log>
struct WriteParts {
  static constexpr int max_threads = max_row_threads(sizeof(typename A::T) == sizeof(double));
  static constexpr int min_blocks = 2;
  static constexpr int steps = kTermsPerLane;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    using T = typename A::T;
    A::load_tables(team.thread());
    team.sync();
    const Crew<Team, false> crew{&team};
    for_part<Row<A, In, Layout::rows>>(
        crew, call,
        [&](std::int64_t r, const auto& row, std::int64_t start, int count, std::int64_t b) {
          const RowOutcome& outcome = call.outcomes[r];
          const int s = crew.s();
          if (outcome.state.kind == RowState::exceptional) return;
          if (Log && call.op == RowOp::logsumexp) {
            if (b == 0 && s == 0) row.put(logsumexp_of<T>(outcome));
          } else if (outcome.is_constant) {
            fill_block<A, steps>(row, constant_of<T>(outcome), s, start, count);
          } else {
            write_block<A, Log, steps>(row, outcome.state, s, start, count);
          }
        });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
