// Sizes that the plan and the kernels agree on.
#pragma once

#include <cstddef>

#include "cuda/parameters.h"

namespace fastsoftmax::cuda {

// Threads that reduce one block of a row together.
inline constexpr int kGroup = 16;

inline constexpr int kShortRowThreads = 256;
// Thread blocks of them that a multiprocessor has room for, by the elements of a lane: the fewer a
// thread has, the more threads have to load at a time.
FASTSOFTMAX_HD constexpr int short_row_blocks(int steps) { return steps == 16 ? 1 : 2; }
// Threads that sum one: the fewer, the less they all do for a row as a whole.
FASTSOFTMAX_HD constexpr int short_row_group(int steps, bool f64) {
  const int threads = steps == 16 ? kGroup : steps == 4 ? 8 : 4;
  return f64 && steps < 16 ? 2 * threads : threads;
}

inline constexpr int kColumns = 16;  // of a thread block
inline constexpr int kColumnThreads = kColumns * kGroup;
inline constexpr int kColumnSharedBytes = kColumnThreads * static_cast<int>(sizeof(double));

// Threads of a block that has a row for itself: registers hold a tile for each.
FASTSOFTMAX_HD constexpr int max_row_threads(bool f64) { return f64 ? 256 : 384; }

// Dynamic shared memory of a thread block on rows of its own or of its cluster's: first the
// facts of the row, and two sums of blocks for each group of the cluster;
FASTSOFTMAX_HD constexpr int desk_bytes(std::size_t facts, std::size_t sum, int groups) {
  const std::size_t bytes = facts + 2 * static_cast<std::size_t>(groups) * sum;
  return static_cast<int>((bytes + 15) / 16 * 16);
}
// in the forward functions the outcome, a total, and sums of exponentials;
inline constexpr int kTotalBytes = 72;
FASTSOFTMAX_HD constexpr int desk_bytes(int groups) {
  return desk_bytes(sizeof(RowOutcome) + kTotalBytes, sizeof(kernels::BlockSum), groups);
}
// then slots, each a block and a barrier.
FASTSOFTMAX_HD constexpr int slot_bytes(int block_bytes) { return block_bytes + 16; }

static_assert(kMaxCluster <= kGroup);

// Shared memory that kernels have besides, of a limit that counts both: the tables of powers.
inline constexpr int kStaticSharedBytes = 512;
// Dynamic shared memory that every kernel may have; more is asked for before it is launched.
inline constexpr int kSharedWithoutAsking = 48 * 1024 - kStaticSharedBytes;
// What a device takes for itself of every thread block, on top of that limit.
inline constexpr int kReservedSharedBytes = 1024;

// Gathered rows: groups at most, and shared memory behind the desk for a block of each.
inline constexpr int kGatheringGroups = 8;
inline constexpr int kBlockBytes = kernels::kBlockF32 * static_cast<int>(sizeof(float));
static_assert(kBlockBytes == kernels::kBlockF64 * static_cast<int>(sizeof(double)));

}  // namespace fastsoftmax::cuda
