// What kernels are told: the call, passed by value, and what the plan adds to it.
#pragma once

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

// Either `constant` everywhere, or what `state` says of scores less `shift`.
struct RowOutcome {
  kernels::RowState state;
  double shift;
  double constant;
  bool is_constant;
};

struct Parameters : RowsCall {
  int slots;  // of a group: blocks that it has in shared memory
  bool bulk;  // they are copied there ahead of time
  // Rows in parts: how many blocks a thread block takes; which row is the first; sums of the blocks
  // of `rows` rows from there on, and what becomes of those rows. Null for any others.
  std::int64_t part_blocks;
  std::int64_t first_row;
  kernels::BlockSum* sums;
  RowOutcome* outcomes;
};

}  // namespace fastsoftmax::cuda
