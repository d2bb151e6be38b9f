// What sampling with and without replacement have in common: rows in the kernels' terms, random
// numbers, and the order of rows that have no softmax.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

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

  DrawRows(const DrawCall& draw_call, int max_threads)
      : draw(draw_call),
        call(draw_call.rows.call),
        item_bytes(call.row_dtype == DType::f64 ? 8 : 4),
        tiles(call.plain ? RowTiles({{call, false}}) : RowTiles()),
        direct(call.layout == Layout::rows || tiles),
        kernel(kernels_for(kernels_in_use().sample, call.row_dtype, direct)),
        plan(plan_for(call, Algorithm::automatic, max_threads)),
        blocks((call.row_length + plan.block - 1) / plan.block),
        batch(tiles ? tiles.rows() : kBatchRows) {
    tiles.fit_tasks(plan, call.rows);
  }

  std::int64_t tasks() const { return (call.rows + plan.rows_per_task - 1) / plan.rows_per_task; }

  kernels::RowsJob rows(std::int64_t row, std::int64_t count, const double* temperatures,
                        char* copy) const {
    kernels::RowsJob job = rows_job(call, row, count);
    if (tiles) tiles.load(call, job, copy);
    job.temperatures = temperatures;
    job.temperature_stride = sizeof(double);
    return job;
  }

  // Of arithmetic elements.
  void fill_nan(char* values, std::int64_t count) const {
    if (item_bytes == 8)
      std::fill_n(reinterpret_cast<double*>(values), count,
                  std::numeric_limits<double>::quiet_NaN());
    else
      std::fill_n(reinterpret_cast<float*>(values), count, std::numeric_limits<float>::quiet_NaN());
  }

  const DrawCall& draw;
  const Call& call;
  std::int64_t item_bytes;  // bytes of an arithmetic element
  RowTiles tiles;
  bool direct;
  const kernels::SampleKernels& kernel;
  Plan plan;
  std::int64_t blocks;
  std::int64_t batch;
};

}  // namespace fastsoftmax
