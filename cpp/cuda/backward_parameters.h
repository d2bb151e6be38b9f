// What the kernels of gradients are told, and how large what they share is.
#pragma once

#include "cuda/backward_call.h"
#include "cuda/geometry.h"

namespace fastsoftmax::cuda {

struct BackwardParameters : BackwardCall {
  bool keep;  // rows of grad and output in shared memory until their sums are known
  // Rows in parts: how many blocks a thread block takes; which row is the first; sums of the blocks
  // of `rows` rows from there on, and of those rows.
  std::int64_t part_blocks;
  std::int64_t first_row;
  kernels::SumPair* sums;
  kernels::SumPair* totals;
};

// The more elements a thread has, the smaller thread blocks fill a multiprocessor's registers best.
FASTSOFTMAX_HD constexpr int short_gradient_threads(int steps) { return steps == 1 ? 256 : 128; }

// Threads of a block that has a row for itself: registers hold a block of grad and of the output
// for each group.
inline constexpr int kGradientThreads = 384;

// Dynamic shared memory of such a block, ahead of rows that it keeps there: a total, and two sums
// of blocks for each group, of its cluster's too.
FASTSOFTMAX_HD constexpr int gradient_desk_bytes(int groups) {
  return desk_bytes(sizeof(kernels::SumPair), sizeof(kernels::SumPair), groups);
}
// Of one of the two rows that it keeps.
FASTSOFTMAX_HD constexpr std::int64_t kept_row_bytes(std::int64_t length, int item) {
  return (length * item + 15) / 16 * 16;
}

// Threads that join the sums of a row in parts, and the shared memory that this takes.
inline constexpr int kJoinThreads = 256;
inline constexpr int kJoinSharedBytes =
    2 * kJoinThreads * static_cast<int>(sizeof(kernels::SumPair));

}  // namespace fastsoftmax::cuda
