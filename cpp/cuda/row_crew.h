// A thread block that has a row for itself: every group sums one block at a time, and one thread
// joins in the order of the blocks what they leave. Facts are known of the row to all threads, a
// Block is what a group leaves.
#pragma once

#include "cuda/crew_geometry.h"
#include "cuda/tile.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The threads of a block on one row.
template <class A, class Team, class Facts, class Block>
struct RowCrew {
  static_assert(sizeof(Facts) <= kFactsBytes && alignof(Facts) <= 16);
  static_assert(sizeof(Block) <= kBlockFactsBytes && alignof(Block) <= 16);
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
  FASTSOFTMAX_HD Facts& facts() const { return *reinterpret_cast<Facts*>(team->shared); }
  FASTSOFTMAX_HD typename A::T* kept() const {
    return reinterpret_cast<typename A::T*>(team->shared + crew_bytes(groups()));
  }

  // block_of(start, count) for every block of a row, a group each and a round of them at a time;
  // joined(block) by the first thread, in order. The barrier behind the last is the caller's.
  template <class BlockOf, class Joined>
  FASTSOFTMAX_HD void for_each_block(std::int64_t length, BlockOf&& block_of,
                                     Joined&& joined) const {
    Block* blocks = reinterpret_cast<Block*>(team->shared + kFactsBytes);
    std::int64_t start = group() * std::int64_t{A::block};
    int others = groups();  // blocks of the next round do not overwrite those of this one
    for (std::int64_t round = 0; round < length; round += groups() * std::int64_t{A::block}) {
      if (start < length) {
        const Block block = block_of(
            start, length - start < A::block ? static_cast<int>(length - start) : A::block);
        if (s() == 0) blocks[group()] = block;
      }
      sync();
      if (first()) {
        const std::int64_t left = blocks_of<A>(length - round);
        for (int g = 0; g < groups() && g < left; ++g) joined(blocks[g]);
      }
      start += groups() * std::int64_t{A::block};
      blocks += others;
      others = -others;
    }
  }
};

// Scores in shared memory as the arithmetic has them. Each thread reads what it wrote itself.
template <class A>
FASTSOFTMAX_HD inline Pack<typename A::T, kPerThread<A>>& kept_pack(typename A::T* kept) {
  return *reinterpret_cast<Pack<typename A::T, kPerThread<A>>*>(kept);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
