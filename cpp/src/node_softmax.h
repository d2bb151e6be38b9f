// The softmax of a node over its children, for some rows: scores, and what losses need of them.
#pragma once

#include <cstdint>

#include "score_rows.h"
#include "tree_layer.h"

namespace fastsoftmax {

template <class T>
class NodeSoftmax {
 public:
  using Id = Tree::Id;
  // Rows are taken so many at a time.
  static constexpr std::int64_t kRows = ScoreRows<T>::kMost;

  explicit NodeSoftmax(const TreeSources<T>& sources)
      : sources_(sources), kernels_(score_kernels<T>()) {}

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
    ScoreRows<T>{scores, count, rows, count, targets}.find(kernels_, losses);
  }
  // The derivatives of losses, in place of the scores.
  void differentiate(T* scores, std::int64_t rows, std::int64_t count, const std::int64_t* targets,
                     const kernels::LossGradient* gradients) const {
    ScoreRows<T>{scores, count, rows, count, targets}.differentiate(kernels_, gradients);
  }

  // log p of a child with this score.
  static double log_p(const kernels::RowLoss& row, T score) {
    return (static_cast<double>(score) - row.max) - row.log_sum;
  }

 private:
  const TreeSources<T>& sources_;
  const kernels::LossKernels& kernels_;
};

}  // namespace fastsoftmax
