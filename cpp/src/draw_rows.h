// What sampling with and without replacement have in common: rows in the kernels' terms, random
// numbers, and the order of rows that have no softmax.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "dispatch.h"
#include "execute.h"
#include "gather.h"
#include "row_tiles.h"
#include "rows_job.h"
#include "sampling_call.h"
#include "scratch.h"
#include "threads.h"
#include "topk_keys.h"

namespace fastsoftmax {

class DrawRows {
 protected:
  // Rows are taken through the kernel so many at a time.
  static constexpr std::int64_t kBatchRows = 64;

  DrawRows(const DrawCall& draw, int max_threads)
      : draw_(draw),
        call_(draw.rows.call),
        item_(call_.row_dtype == DType::f64 ? 8 : 4),
        tile_rows_(tile_rows(call_)),
        direct_(call_.layout == Layout::rows || tile_rows_ > 0),
        kernels_(kernels_for(kernels_in_use().sample, call_.row_dtype, direct_)),
        plan_(plan_for(call_, Algorithm::automatic, max_threads)),
        blocks_((call_.row_length + plan_.block - 1) / plan_.block),
        batch_(tile_rows_ > 0 ? tile_rows_ : kBatchRows) {}

  // body(row, rows) for the rows of a task, a batch at a time.
  template <class Body>
  void for_each_batch(std::int64_t task, Body body) const {
    const std::int64_t last = std::min(call_.rows, (task + 1) * plan_.rows_per_task);
    const std::int64_t run = rows_per_run(call_);
    for (std::int64_t row = task * plan_.rows_per_task; row < last;) {
      const std::int64_t rows = std::min({last - row, run - row % run, batch_});
      body(row, rows);
      row += rows;
    }
  }
  std::int64_t tasks() const {
    return (call_.rows + plan_.rows_per_task - 1) / plan_.rows_per_task;
  }

  kernels::RowsJob rows(std::int64_t row, std::int64_t count, const double* temperatures,
                        char* tile) const {
    kernels::RowsJob job = rows_job(call_, row, count);
    if (tile_rows_ > 0) copy_tile(call_, job, tile);
    job.temperatures = temperatures;
    job.temperature_stride = sizeof(double);
    return job;
  }

  const DrawCall& draw_;
  const Call& call_;
  std::int64_t item_;  // bytes of an arithmetic element
  std::int64_t tile_rows_;
  bool direct_;
  const kernels::SampleKernels& kernels_;
  Plan plan_;
  std::int64_t blocks_;
  std::int64_t batch_;
};

// Hands out pieces of memory one behind the other; from null it counts.
class Carver {
 public:
  explicit Carver(char* begin) : begin_(begin), at_(begin) {}

  template <class T>
  T* take(std::int64_t count, std::size_t bytes_each = sizeof(T)) {
    char* const here = at_;
    at_ += Scratch::aligned(static_cast<std::size_t>(count) * bytes_each);
    return reinterpret_cast<T*>(here);
  }
  std::size_t bytes() const { return static_cast<std::size_t>(at_ - begin_); }

 private:
  char* begin_;
  char* at_;
};

}  // namespace fastsoftmax
