// Losses of the leaves that a batch asks for, and their gradients. Entries are in the order of
// leaves (tree_batch.h), taken in runs that threads share, each run's way down by one call of a
// kernel. The gradient of a vector is the sum over its node's entries, in their order.
#pragma once

#include <cstdint>
#include <vector>

#include "tree_batch.h"
#include "tree_layer.h"

namespace fastsoftmax {

template <class T>
struct TreeLoss {
  const TreeSources<T>& sources;
  const TreeBatch& batch;
  double* losses;  // for each place of the batch
  // Of the following, nothing without gradients.
  const std::vector<double>* upstream = nullptr;  // for each place, or a single one for all
  T* grad_x = nullptr;                            // zeros, row after row; null: not wanted
  SparseRows* grad_weights = nullptr;
  SparseRows* grad_bias = nullptr;

  bool with_gradient() const { return upstream != nullptr; }
  bool with_weights() const { return grad_weights != nullptr || grad_bias != nullptr; }
  T upstream_of(std::int64_t place) const {
    return static_cast<T>((*upstream)[upstream->size() == 1 ? 0 : static_cast<std::size_t>(place)]);
  }
};

// How long the ways of a chunk of entries are together, at most, unless it is a single one: what is
// kept for the gradients of vectors.
inline constexpr std::int64_t kChunkNodes = 1 << 20;
// Of a run, the share of one thread.
inline constexpr std::int64_t kRunNodes = 512;

template <class T>
void binary_tree_loss(const TreeLoss<T>& loss);
template <class T>
void tree_softmax_loss(const TreeLoss<T>& loss);

extern template void binary_tree_loss(const TreeLoss<float>&);
extern template void binary_tree_loss(const TreeLoss<double>&);
extern template void tree_softmax_loss(const TreeLoss<float>&);
extern template void tree_softmax_loss(const TreeLoss<double>&);

}  // namespace fastsoftmax
