// Where the rows of a call are, in the kernels' terms.
#pragma once

#include <cstdint>
#include <span>

#include "call.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {

// Bytes from the origin of each operand.
struct Offsets {
  std::int64_t x = 0;
  std::int64_t y = 0;
  std::int64_t where = 0;
  std::int64_t temperature = 0;
};

// Of position `index` along all of `dims` in C order.
Offsets offsets_of(std::span<const Dim> dims, std::int64_t index);

// Rows that one job may hold: those along the last outer axis.
std::int64_t rows_per_run(const Call& call);

// The operands of `rows` rows from `row` on, all in one run, contiguous or behind fetch_row and
// store_row; the rest of the job is for the caller to fill in.
kernels::RowsJob rows_job(const Call& call, std::int64_t row, std::int64_t rows);

const kernels::RowKernels& row_kernels(const kernels::KernelTable& table, const Call& call);

}  // namespace fastsoftmax
