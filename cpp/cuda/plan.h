// How a call is carried out on a device: a pure function of the work and of the device. It cannot
// change a result.
#pragma once

#include <cstdint>

#include "cuda/interface.h"

namespace fastsoftmax::cuda {

enum class Path : int {
  short_rows,     // a group for each row, which is one block or less
  register_rows,  // a thread block for each row, and a group for each of its blocks
  cluster_rows,  // a cluster of thread blocks for each row, as a rule in registers or shared memory
  shared_rows,   // a thread block for each row, which it keeps in shared memory
  reread_rows,   // a thread block for each row, which it reads twice
  parts,         // several thread blocks for each row, in three launches for a few rows at a time
  columns        // a group for each column
};

struct Plan {
  Path path;
  bool direct;                  // rows are contiguous, and nothing is left out
  int threads;                  // of a thread block
  std::int64_t blocks;          // thread blocks of the grid; parts: for the sums of a batch of rows
  int shared_bytes;             // dynamic
  int cluster;                  // thread blocks of a cluster
  bool in_registers;            // rows between their sums and the output
  int slots;                    // of a group, each for a block in shared memory
  bool bulk;                    // slots are filled by bulk asynchronous copies, ahead of time
  int steps;                    // short_rows: elements of a lane at most, 1, 4 or 16
  std::int64_t part_blocks;     // parts: blocks of a row that a thread block takes
  std::int64_t rows_in_flight;  // parts: of a batch, so that its second read finds them in L2
};

Plan make_plan(const RowsCall& call, const Device& device);

// Bytes of memory on the device that the plan needs besides the arrays: parts keep sums and
// outcomes there.
std::int64_t workspace_bytes(const RowsCall& call, const Plan& plan);

// "register_rows" and so on.
const char* name(Path path) noexcept;

}  // namespace fastsoftmax::cuda
