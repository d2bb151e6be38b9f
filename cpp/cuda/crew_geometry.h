// Sizes that the plan for crews (crew.h) and their kernels agree on.
#pragma once

#include "cuda/geometry.h"

namespace fastsoftmax::cuda {

// Threads of a block that has a row for itself: registers hold a tile for each, and for one of them
// what is made of the row.
inline constexpr int kMaxCrewThreads = 256;

// The most that losses and statistics have on its desk: facts of the row, and what is left of a
// block.
inline constexpr int kFactsBytes = 264;
inline constexpr int kBlockFactsBytes = 80;
FASTSOFTMAX_HD constexpr int crew_bytes(int groups) {
  return desk_bytes(kFactsBytes, kBlockFactsBytes, groups);
}

}  // namespace fastsoftmax::cuda
