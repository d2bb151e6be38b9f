// Where the rows of a call are, in the kernels' terms.
#pragma once

#include <algorithm>
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

// body(row, rows) for the rows of a task, at most `batch` at a time, each batch in one run.
template <class Body>
void for_each_batch(const Call& call, std::int64_t rows_per_task, std::int64_t task,
                    std::int64_t batch, Body body) {
  const std::int64_t last = std::min(call.rows, (task + 1) * rows_per_task);
  const std::int64_t run = rows_per_run(call);
  for (std::int64_t row = task * rows_per_task; row < last;) {
    const std::int64_t rows = std::min({last - row, run - row % run, batch});
    body(row, rows);
    row += rows;
  }
}

// The operands of `rows` rows from `row` on, all in one run, contiguous or behind fetch_row and
// store_row; the rest of the job is for the caller to fill in.
kernels::RowsJob rows_job(const Call& call, std::int64_t row, std::int64_t rows);

template <class Kernels>
const Kernels& kernels_for(const kernels::ForRows<Kernels>& of, DType row_dtype, bool direct) {
  const bool f64 = row_dtype == DType::f64;
  if (!direct) return f64 ? of.gathered_f64 : of.gathered_f32;
  if (row_dtype == DType::f16) return of.f16;
  if (row_dtype == DType::bf16) return of.bf16;
  return f64 ? of.f64 : of.f32;
}

const kernels::RowKernels& row_kernels(const kernels::KernelTable& table, const Call& call);

}  // namespace fastsoftmax
