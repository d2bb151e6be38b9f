// How losses and statistics of rows are come by on a device: a pure function of the work and of the
// device. It cannot change a result.
#pragma once

#include <cstdint>

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

enum class CrewPath : int {
  short_rows,     // a group for each row, which is one block or less
  register_rows,  // a thread block for each row, and a group for each of its blocks
  shared_rows,    // a thread block for each row, which it keeps in shared memory
  reread_rows,    // a thread block for each row, which it reads twice if there is a gradient: also
                  // any rows (Layout::gathered)
  columns         // a group for each column
};

struct CrewPlan {
  CrewPath path;
  int threads;          // of a thread block
  std::int64_t blocks;  // thread blocks of the grid
  int shared_bytes;     // dynamic
};

// Without y rows are read once.
CrewPlan make_crew_plan(const RowsCall& call, const Device& device);

}  // namespace fastsoftmax::cuda
