// The softmax of a node over its children, for some rows: scores, and what losses need of them.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "loss_rows.h"
#include "rows_job.h"
#include "tree_layer.h"

namespace fastsoftmax {

template <class T>
class NodeSoftmax {
 public:
  using Id = Tree::Id;
  // Rows are taken so many at a time.
  static constexpr std::int64_t kRows = 32;

  explicit NodeSoftmax(const TreeSources<T>& sources)
      : sources_(sources),
        kernels_(kernels_for(kernels_in_use().loss, dtype_of_arithmetic<T>, true)) {}

  // Scores of the node's children, one row behind the other.
  void score(const kernels::ChosenRows& x, std::int64_t rows, Id node,
             const kernels::ChosenRows& children, T* scores) const {
    const auto ids = sources_.tree().children(node);
    const auto count = static_cast<std::int64_t>(ids.size());
    kernels::ProductsJob job{};
    job.a = x;
    job.b = children;
    job.rows = rows;
    job.terms = count;
    job.length = sources_.depth();
    job.out = scores;
    job.out_stride = count;
    sources_.kernels().products(job);
    if (!sources_.has_bias()) return;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < count; ++c)
        scores[r * count + c] += sources_.bias(ids[static_cast<std::size_t>(c)]);
    }
  }
  // At most kRows rows of `count` scores; targets are children's codes, or kNoTarget.
  void find(T* scores, std::int64_t rows, std::int64_t count, const std::int64_t* targets,
            kernels::RowLoss* losses) const {
    const kernels::LossJob job = job_of(scores, rows, count, targets);
    kernels::LossTotals totals[kRows];
    kernels_.add(job, totals);
    kernels_.finish(totals, rows, losses);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (losses[r].kind != kernels::RowLoss::irregular) continue;
      losses[r] = kernels_.irregular(job_of(scores + r * count, 1, count, targets + r), 0);
      // Where the maximum was subtracted first, the difference was rounded to T; log_p's is not.
      if (targets[r] != kNoTarget)
        losses[r].target = static_cast<double>(scores[r * count + targets[r]]) - losses[r].max;
    }
  }
  // The derivatives of losses, in place of the scores.
  void differentiate(T* scores, std::int64_t rows, std::int64_t count, const std::int64_t* targets,
                     const kernels::LossGradient* gradients) const {
    kernels_.gradient(job_of(scores, rows, count, targets), gradients);
  }

  // log p of a child with this score.
  static double log_p(const kernels::RowLoss& row, T score) {
    return (static_cast<double>(score) - row.max) - row.log_sum;
  }

 private:
  static kernels::LossJob job_of(T* scores, std::int64_t rows, std::int64_t count,
                                 const std::int64_t* targets) {
    kernels::LossJob job{};
    job.rows.x = scores;
    job.rows.x_stride = count * static_cast<std::int64_t>(sizeof(T));
    job.rows.y = scores;
    job.rows.y_stride = job.rows.x_stride;
    job.rows.rows = rows;
    job.rows.length = count;
    job.targets = targets;
    return job;
  }

  const TreeSources<T>& sources_;
  const kernels::LossKernels& kernels_;
};

}  // namespace fastsoftmax
