// Shared memory of a thread block that chooses, ahead of the pieces that it lists and of the
// candidates.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax::cuda {

struct alignas(16) TopkDesk {
  unsigned bins[256];  // how many have each value of a digit
  unsigned above;      // of larger digits than the one found
  unsigned within;
  unsigned counted;
  unsigned listed;
  int digit;
};

}  // namespace fastsoftmax::cuda
