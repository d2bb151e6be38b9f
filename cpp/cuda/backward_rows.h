// Gradients of rows that a group has for itself, short ones and columns, and of rows that a thread
// block or a cluster has for itself. In place each thread writes what it has read itself, once the
// row's sum is known.
#pragma once

#include "cuda/backward_block.h"
#include "cuda/block_rows.h"
#include "cuda/group_walk.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Rows of a block or less.
template <class A, class In, int Steps>
struct ShortGradients {
  static constexpr int max_threads = short_gradient_threads(Steps);
  static constexpr int min_blocks = Steps == 1 ? 4 : Steps == 4 ? 5 : 2;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    using Row = BackwardRow<A, In, Layout::rows>;
    A::load_tables(team.thread());
    team.sync();
    const int count = static_cast<int>(call.length);
    for_each_short_row<BackwardOffsets>(
        team, call, [&](const auto& group, std::int64_t, const BackwardOffsets& at, bool) {
          const Row row(call, at);
          PairTile<Row, Steps> tile;
          tile.read(row, 0, count, group.s());
          const ArithmeticPair<typename A::T> sum(tile.sum(group, row));
          tile.write(row, sum, 0, count, group.s());
        });
  }
};

template <class A, class In>
struct ColumnGradients {
  static constexpr int max_threads = kColumnThreads;
  static constexpr int min_blocks = 2;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    for_each_column<BackwardOffsets>(
        team, call, [&](const auto& group, std::int64_t, const BackwardOffsets& at, bool there) {
          const BackwardRow<A, In, Layout::columns> row(call, at);
          SumPair total{};
          for_each_start<A>(call.length, [&](std::int64_t start, int count) {
            add(total, sum_of_block(group, row, start, count));
          });
          // Those that keep others company have read a column that its own threads now write.
          if (!there) return;
          const ArithmeticPair<typename A::T> sum(total);
          for_each_start<A>(call.length, [&](std::int64_t start, int count) {
            write_block(row, sum, group.s(), start, count);
          });
        });
  }
};

// In registers: rows have no more blocks than there are groups in a thread block or in a cluster,
// and stay there. Otherwise a thread block reads them twice, or keeps them in shared memory.
template <class A, class In, Layout L, bool InRegisters>
struct BlockGradients {
  static constexpr int max_threads = kGradientThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const BackwardParameters& call) {
    A::load_tables(team.thread());
    Crew<Team, InRegisters, SumPair, SumPair> crew{&team};
    crew.sync_all();
    for (std::int64_t r = crew.crew(); r < call.rows; r += crew.crews()) {
      const Row row(call, offsets_of<BackwardOffsets>(call.outer, r));
      if constexpr (InRegisters)
        run_in_registers(crew, row);
      else
        run_row(crew, row);
    }
  }

 private:
  using T = typename A::T;
  using Row = BackwardRow<A, In, L>;
  using Packed = typename Row::Packed;

  // summed(start, count) is the sum of a block.
  template <class Crew, class Summed>
  FASTSOFTMAX_HD static ArithmeticPair<T> sum_of_row(Crew& crew, std::int64_t length,
                                                     Summed&& summed) {
    SumPair total{};
    for_each_sum<A, InRegisters>(crew, length, summed, [&](const SumPair* sums, int there) {
      if (!crew.first()) return;
      FASTSOFTMAX_UNROLL_BY_4
      for (int g = 0; g < there; ++g) add(total, sums[g]);
    });
    if (crew.first()) crew.facts() = total;
    crew.sync();
    return ArithmeticPair<T>(crew.facts());
  }

  template <class Crew>
  FASTSOFTMAX_HD static void run_in_registers(Crew& crew, const Row& row) {
    const std::int64_t length = row.call->length;
    PairTile<Row, kTermsPerLane> tile;
    const auto sum = sum_of_row(crew, length, [&](std::int64_t start, int count) {
      tile.read(row, start, count, crew.s());
      return tile.sum(crew, row);
    });
    const std::int64_t start = crew.place() * std::int64_t{A::block};
    const std::int64_t left = length - start;
    tile.write(row, sum, start, left < A::block ? static_cast<int>(left) : A::block, crew.s());
  }

  template <class Crew>
  FASTSOFTMAX_HD static void run_row(Crew& crew, const Row& row) {
    const std::int64_t length = row.call->length;
    const bool keep = row.call->keep;
    char* const grads = crew.behind_desk();
    char* const outputs = grads + kept_row_bytes(length, sizeof(In));
    const int s = crew.s();
    const auto sum = sum_of_row(crew, length, [&](std::int64_t start, int count) {
      if (!keep) return sum_of_block(crew, row, start, count);
      return sum_of_block(crew, row, start, count, [&](std::int64_t at, int left, auto& tile) {
        tile.read(row, at, left, s);
        for_each_pack<A, tile.steps>(s, left, [&](int k, int offset, int inside) {
          if (inside <= 0) return;
          kept(grads, at + offset) = tile.grad[k];
          kept(outputs, at + offset) = tile.output[k];
        });
      });
    });
    for_each_own_block<A>(crew, length, [&](std::int64_t start, int count) {
      if (!keep) return write_block(row, sum, s, start, count);
      write_block(row, sum, s, start, count, [&](std::int64_t at, int left, auto& tile) {
        for_each_pack<A, tile.steps>(s, left, [&](int k, int offset, int inside) {
          if (inside <= 0) return;
          tile.grad[k] = kept(grads, at + offset);
          tile.output[k] = kept(outputs, at + offset);
        });
      });
    });
  }
  FASTSOFTMAX_HD static Packed& kept(char* row, std::int64_t at) {
    return *reinterpret_cast<Packed*>(row + at * static_cast<std::int64_t>(sizeof(In)));
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
