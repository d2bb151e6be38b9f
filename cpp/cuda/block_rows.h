// Rows that a thread block has for itself: every group sums one block at a time, and one thread
// joins the sums in the order of the blocks. What is left between the two reads of the row is in
// registers, in shared memory, or not kept.
#pragma once

#include "cuda/outcome.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {

namespace {

using kernels::kTermsPerLane;

// The threads of a block on one row.
template <class Team>
struct Crew {
  const Team* team;

  FASTSOFTMAX_HD int s() const { return team->thread() % kGroup; }
  FASTSOFTMAX_HD int group() const { return team->thread() / kGroup; }
  FASTSOFTMAX_HD int groups() const { return team->threads() / kGroup; }
  FASTSOFTMAX_HD bool first() const { return team->thread() == 0; }
  template <class T>
  FASTSOFTMAX_HD T exchange(T v, int mask) const {
    return team->exchange(v, mask);
  }
  FASTSOFTMAX_HD void sync() const { team->sync(); }

  FASTSOFTMAX_HD RowOutcome& outcome() const {
    return *reinterpret_cast<RowOutcome*>(team->shared);
  }
  template <bool Log>
  FASTSOFTMAX_HD RowTotal<Log>& total() const {
    static_assert(sizeof(RowTotal<Log>) <= kTotalBytes);
    return *reinterpret_cast<RowTotal<Log>*>(team->shared + sizeof(RowOutcome));
  }
  // The sums of a round of blocks; those of the next round do not overwrite them.
  FASTSOFTMAX_HD BlockSum* sums(int turn) const {
    return reinterpret_cast<BlockSum*>(team->shared + sizeof(RowOutcome) + kTotalBytes) +
           turn * groups();
  }
  FASTSOFTMAX_HD char* kept_row() const { return team->shared + desk_bytes(groups()); }
};

// body(block, start, count) for this group's blocks, and round(first block, turn) after each round
// of them, behind a barrier.
template <class A, class Crew, class Body, class Round>
FASTSOFTMAX_HD inline void for_each_round(const Crew& crew, std::int64_t length, Body&& body,
                                          Round&& round) {
  int turn = 0;
  const std::int64_t blocks = blocks_of<A>(length);
  for (std::int64_t first = 0; first < blocks; first += crew.groups(), turn ^= 1) {
    const std::int64_t b = first + crew.group();
    if (b < blocks) {
      const std::int64_t left = length - b * A::block;
      body(turn, b * A::block, left < A::block ? static_cast<int>(left) : A::block);
    }
    crew.sync();
    if (crew.first()) {
      const std::int64_t left = blocks - first;
      round(turn, left < crew.groups() ? static_cast<int>(left) : crew.groups());
    }
  }
}

// The largest score, or NaN; for the first thread.
template <class A, int Steps, class Crew, class Row>
FASTSOFTMAX_HD inline double max_or_nan(const Crew& crew, std::int64_t length, const Row& row) {
  using T = typename A::T;
  double max = -__builtin_inf();
  for_each_round<A>(
      crew, length,
      [&](int turn, std::int64_t start, int count) {
        const T largest = group_max(crew, thread_max_of<Steps>(row, start, count, crew.s()));
        if (crew.s() == 0) crew.sums(turn)[crew.group()].max = static_cast<double>(largest);
      },
      [&](int turn, int there) {
        for (int g = 0; g < there; ++g) max = larger_or_nan(max, crew.sums(turn)[g].max);
      });
  return max;
}

// The total of a row on the desk, for the first thread; summed(turn, start, count) leaves the sum
// of a block in sums(turn).
template <class A, bool Log, class Crew, class Summed>
FASTSOFTMAX_HD inline void sum_row(const Crew& crew, std::int64_t length, Summed&& summed) {
  // Not in registers, which the next round needs.
  auto& kept = crew.template total<Log>();
  if (crew.first()) kept = {};
  for_each_round<A>(crew, length, summed, [&](int turn, int there) {
    RowTotal<Log> total = kept;
    for (int g = 0; g < there; ++g) total.join(crew.sums(turn)[g]);
    kept = total;
  });
}

// Decides what becomes of a row; the outcome is on the desk for all threads to see. `sum` as summed
// above. Rows outside the domain are summed a second time, less their maximum.
template <class A, bool Log, int Steps, class Crew, class Row, class Summed>
FASTSOFTMAX_HD inline void decide(const Crew& crew, const Parameters& call, Row& row,
                                  Summed&& summed) {
  using T = typename A::T;
  for (;;) {
    sum_row<A, Log>(crew, call.length, summed);
    if (crew.first()) crew.outcome() = outcome_of<A>(call, crew.template total<Log>(), row.shift);
    crew.sync();
    if (crew.outcome().state.kind != RowState::exceptional) return;
    crew.sync();
    const double max = max_or_nan<A, Steps>(crew, call.length, row);
    if (crew.first()) crew.outcome() = exceptional_outcome(call, max);
    crew.sync();
    if (crew.outcome().is_constant) return;
    row.shift = static_cast<T>(crew.outcome().shift);
    crew.sync();
  }
}

// In registers: rows have no more blocks than there are groups, and stay there. Otherwise they are
// read twice, or kept in shared memory.
template <class A, class In, bool Log, Layout L, bool InRegisters>
struct BlockRows {
  static constexpr int max_threads = max_row_threads(sizeof(typename A::T) == sizeof(double));
  static constexpr int min_blocks = 1;
  static constexpr int steps = kTermsPerLane;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const Crew<Team> crew{&team};
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      const std::int64_t index = call.first_row + r;
      if (call.outcomes != nullptr && call.outcomes[r].state.kind != RowState::exceptional)
        continue;
      Row<A, In, L> row(call, offsets_of(call.outer, index));
      run_row(crew, call, row);
      crew.sync();
    }
  }

 private:
  using T = typename A::T;
  static constexpr int per_thread = kPerThread<A>;
  using Packed = Pack<T, per_thread>;

  template <class Crew, class Row>
  FASTSOFTMAX_HD static void run_row(const Crew& crew, const Parameters& call, Row& row) {
    Tile<A, steps> z;
    std::int32_t exponent = 0;
    T* const shared = reinterpret_cast<T*>(crew.kept_row());
    T* const kept = call.keep ? shared : nullptr;
    decide<A, Log, steps>(crew, call, row, [&](int turn, std::int64_t start, int count) {
      if constexpr (L == Layout::gathered)
        gather(row, start, count, crew.s(), shared + crew.group() * A::block, z);
      else
        load_tile(row, start, count, crew.s(), z);
      if (!InRegisters && kept != nullptr) keep(kept + start, crew.s(), count, z);
      const BlockSum sum = sum_tile<A, Log>(crew, z, count);
      exponent = sum.exponent;
      if (crew.s() == 0) crew.sums(turn)[crew.group()] = sum;
    });
    const RowOutcome& outcome = crew.outcome();
    if (Log && call.op == RowOp::logsumexp) {
      if (crew.first()) row.put(logsumexp_of<T>(outcome));
      return;
    }
    const std::int64_t stride = crew.groups() * std::int64_t{A::block};
    for (std::int64_t start = crew.group() * std::int64_t{A::block}; start < call.length;
         start += stride) {
      const std::int64_t left = call.length - start;
      const int count = left < A::block ? static_cast<int>(left) : A::block;
      if (outcome.is_constant) {
        fill_block<A, steps>(row, constant_of<T>(outcome), crew.s(), start, count);
      } else if constexpr (InRegisters) {
        write_tile<A, Log>(row, outcome.state, crew.s(), start, count, z, exponent);
      } else {
        write_block<A, Log, steps>(row, outcome.state, crew.s(), start, count,
                                   [&](std::int64_t at, int inside, T* v) {
                                     if (kept != nullptr)
                                       recall(kept + at, v);
                                     else
                                       row.read(at, inside, v);
                                   });
      }
    }
  }

  // Scores as the arithmetic has them. Each thread reads what it has written itself.
  FASTSOFTMAX_HD static void keep(T* kept, int s, int count, const Tile<A, steps>& z) {
    for_each_pack<A, steps>(s, count, [&](int k, int at, int inside) {
      if (inside <= 0) return;
      Packed pack;
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) pack.v[c] = z.v[k][c];
      *reinterpret_cast<Packed*>(kept + at) = pack;
    });
  }
  // By way of shared memory, so that the code that gathers an element is there once.
  template <class Row>
  FASTSOFTMAX_HD static void gather(const Row& row, std::int64_t start, int count, int s,
                                    T* through, Tile<A, steps>& z) {
    FASTSOFTMAX_ROLLED
    for (int k = 0; k < steps; ++k) {
      const int at = k * A::lanes + s * per_thread;
      Packed pack;
      row.read(start + at, count - at, pack.v);
      *reinterpret_cast<Packed*>(through + at) = pack;
    }
    for_each_pack<A, steps>(s, count, [&](int k, int at, int) { recall(through + at, z.v[k]); });
  }
  FASTSOFTMAX_HD static void recall(const T* kept, T* v) {
    const Packed pack = *reinterpret_cast<const Packed*>(kept);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) v[c] = pack.v[c];
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
