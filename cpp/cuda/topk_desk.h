// Shared memory of a thread block that chooses, ahead of the pieces that it lists and of the
// candidates.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax::cuda {

struct TopkDesk {
  unsigned long long bins[256];  // how many have each value of a digit
  unsigned long long above;      // of larger digits than the one found
  unsigned long long within;
  unsigned long long counted;
  unsigned long long listed;
  int digit;
};

}  // namespace fastsoftmax::cuda
