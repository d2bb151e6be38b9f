// Rows of scores in memory through the kernels of losses.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "linear_matrix.h"
#include "loss_rows.h"
#include "rows_job.h"

namespace fastsoftmax {

// The kernels of output layers in the arithmetic type.
template <class T>
const kernels::LayerKernels& layer_kernels() {
  const kernels::LayerTable& table = kernels_in_use().layers();
  if constexpr (sizeof(T) == sizeof(double))
    return table.f64;
  else
    return table.f32;
}

template <class T>
struct ScoreRows {
  // At most so many at a time.
  static constexpr std::int64_t kMost = 32;

  T* scores;
  std::int64_t stride;  // elements from row to row
  std::int64_t rows;
  std::int64_t count;           // in a row
  const std::int64_t* targets;  // elements of rows, or kNoTarget

  // What is to be known of each row.
  void find(const kernels::LossKernels& kernels, kernels::RowLoss* losses) const {
    kernels::LossTotals totals[kMost];
    kernels.add(job(), totals);
    kernels.finish(totals, rows, losses);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (losses[r].kind != kernels::RowLoss::irregular) continue;
      const ScoreRows row{scores + r * stride, stride, 1, count, targets + r};
      losses[r] = kernels.irregular(row.job(), 0);
      // The maximum was subtracted first, and the difference rounded to T; elsewhere it is not.
      if (targets[r] != kNoTarget)
        losses[r].target = static_cast<double>(row.scores[targets[r]]) - losses[r].max;
    }
  }
  // The derivatives of losses, in place of the scores.
  void differentiate(const kernels::LossKernels& kernels,
                     const kernels::LossGradient* gradients) const {
    kernels.gradient(job(), gradients);
  }

 private:
  kernels::LossJob job() const {
    kernels::LossJob job{};
    job.rows.x = scores;
    job.rows.x_stride = stride * static_cast<std::int64_t>(sizeof(T));
    job.rows.y = scores;
    job.rows.y_stride = job.rows.x_stride;
    job.rows.rows = rows;
    job.rows.length = count;
    job.targets = targets;
    return job;
  }
};

template <class T>
const kernels::LossKernels& score_kernels() {
  return kernels_for(kernels_in_use().loss, dtype_of_arithmetic<T>, true);
}

}  // namespace fastsoftmax
