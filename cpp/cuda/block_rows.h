// Rows that a thread block or a cluster has for itself. What is left between the two reads of the
// row is in registers, in slots of shared memory, or not kept.
#pragma once

#include "cuda/slots.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// In registers: rows have no more blocks than there are groups, and stay there.
template <class A, class In, bool Log, Layout L, bool InRegisters>
struct BlockRows {
  static constexpr int max_threads = max_row_threads(sizeof(typename A::T) == sizeof(double));
  static constexpr int min_blocks = 1;
  static constexpr int steps = kTermsPerLane;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const Parameters& call) {
    A::load_tables(team.thread());
    using Members = Crew<Team, L == Layout::rows>;
    Members crew{&team};
    Slots<A, In, Members> slots(crew, call);
    crew.sync_all();
    for (std::int64_t r = crew.crew(); r < call.rows; r += crew.crews()) {
      const std::int64_t index = call.first_row + r;
      if (call.outcomes != nullptr && call.outcomes[r].state.kind != RowState::exceptional)
        continue;
      Row<A, In, L> row(call, offsets_of(call.outer, index));
      run_row(crew, call, r, row, slots);
    }
  }

 private:
  using T = typename A::T;
  static constexpr int per_thread = kPerThread<A>;

  template <class Crew, class Row, class Slots>
  FASTSOFTMAX_HD static void run_row(Crew& crew, const Parameters& call, std::int64_t r, Row& row,
                                     Slots& slots) {
    Tile<A, steps> z;
    std::int32_t exponent = 0;
    const bool once = InRegisters || (Log && call.op == RowOp::logsumexp);
    // A row that has been shifted is read from device memory once more.
    const auto in_slots = [&] { return L == Layout::rows && slots.there() && row.shift == T(0); };
    decide<A, Log, steps>(crew, call, row, [&](std::int64_t start, int count) {
      if constexpr (L == Layout::gathered) {
        T* const through = reinterpret_cast<T*>(crew.behind_desk()) + crew.group() * A::block;
        gather(row, start, count, crew.s(), through, z);
      } else {
        typename Row::Packed packs[steps];
        if (in_slots()) {
          load_kept_packs<Row>(slots.next(row, start, count), count, crew.s(), packs);
          if (once) slots.release(r, start);
        } else {
          load_packs(row, start, count, crew.s(), packs);
        }
        scores_of(row, start, count, crew.s(), packs, z);
      }
      const BlockSum sum = sum_tile<A, Log>(crew, z, count);
      exponent = sum.exponent;
      return sum;
    });
    const RowOutcome& outcome = crew.facts().outcome;
    if (Log && call.op == RowOp::logsumexp) {
      if (crew.first_of_all()) row.put(logsumexp_of<T>(outcome));
      return;
    }
    for_each_own_block<A>(crew, call.length, [&](std::int64_t start, int count) {
      if (outcome.is_constant) {
        fill_block<A, steps>(row, constant_of<T>(outcome), crew.s(), start, count);
      } else if constexpr (InRegisters) {
        write_tile<A, Log>(row, outcome.state, crew.s(), start, count, z, exponent);
      } else if (in_slots()) {
        const char* const kept = slots.oldest();
        write_block<A, Log, steps>(
            row, outcome.state, crew.s(), start, count, [&](std::int64_t at, int left, auto& part) {
              typename Row::Packed packs[part.steps];
              load_kept_packs<Row>(kept + (at - start) * sizeof(In), left, crew.s(), packs);
              scores_of(row, at, left, crew.s(), packs, part);
            });
      } else {
        write_block<A, Log, steps>(row, outcome.state, crew.s(), start, count);
      }
      if (!InRegisters && L == Layout::rows && slots.there()) slots.release(r, start);
    });
  }

  // By way of shared memory, so that the code that gathers an element is there once.
  template <class Row>
  FASTSOFTMAX_HD static void gather(const Row& row, std::int64_t start, int count, int s,
                                    T* through, Tile<A, steps>& z) {
    using Packed = Pack<T, per_thread>;
    FASTSOFTMAX_ROLLED
    for (int k = 0; k < steps; ++k) {
      const int at = k * A::lanes + s * per_thread;
      Packed pack;
      row.read(start + at, count - at, pack.v);
      *reinterpret_cast<Packed*>(through + at) = pack;
    }
    for_each_pack<A, steps>(s, count, [&](int k, int at, int) {
      const Packed pack = *reinterpret_cast<const Packed*>(through + at);
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) z.v[k][c] = pack.v[c];
    });
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
