// How cross-entropy is carried out on a device: a pure function of the work and of the device. It
// cannot change a result.
#pragma once

#include <cstdint>

#include "cuda/loss_call.h"

namespace fastsoftmax::cuda {

enum class LossPath : int {
  short_rows,     // a group for each row, which is one block or less
  register_rows,  // a thread block for each row, and a group for each of its blocks
  shared_rows,    // a thread block for each row, which it keeps in shared memory
  reread_rows,    // a thread block for each row, which it reads twice if there is a gradient: also
                  // where rows lie otherwise, are soft-capped, or have coefficients of their own
  columns         // a group for each column
};

struct LossPlan {
  LossPath path;
  int threads;          // of a thread block
  std::int64_t blocks;  // thread blocks of the grid
  int shared_bytes;     // dynamic
};

LossPlan make_loss_plan(const LossCall& call, const Device& device);

// Bytes of memory on the device that a call needs besides the arrays: the losses of its rows, to be
// added up, and behind them what their sum is divided by.
std::int64_t loss_workspace_bytes(const LossCall& call);

}  // namespace fastsoftmax::cuda
