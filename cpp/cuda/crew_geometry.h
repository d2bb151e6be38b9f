// Sizes that the plan for crews (row_crew.h) and their kernels agree on.
#pragma once

#include "cuda/geometry.h"

namespace fastsoftmax::cuda {

// Threads of a block that has a row for itself: registers hold a tile for each, and for one of them
// what is made of the row.
inline constexpr int kMaxCrewThreads = 256;

// Its dynamic shared memory, ahead of scores that it keeps: what is known of the row, and what two
// rounds of blocks leave of each.
inline constexpr int kFactsBytes = 256;
inline constexpr int kBlockFactsBytes = 80;
FASTSOFTMAX_HD constexpr int crew_bytes(int groups) {
  return kFactsBytes + 2 * groups * kBlockFactsBytes;
}

}  // namespace fastsoftmax::cuda
