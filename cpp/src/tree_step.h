// One step down a tree for a single row: the log-probabilities of a node's children, or one of them
// at random.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fastsoftmax/softmax.hpp"
#include "kernels/philox.h"
#include "node_softmax.h"

namespace fastsoftmax {

template <class T>
class TreeStep {
 public:
  using Id = Tree::Id;

  explicit TreeStep(const TreeSources<T>& sources)
      : sources_(sources), tree_(sources.tree()), softmax_(sources) {}

  // Asks for what a visit will read.
  void expect(Id node) const {
    if (!tree_.is_binary() || !sources_.is_direct()) return;
    const auto row = sources_.nodes(&node, 1, nullptr);
    const char* const p = static_cast<const char*>(row.data) + node * row.stride;
    const std::int64_t bytes = sources_.depth() * static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t b = 0; b < std::min<std::int64_t>(bytes, kMostAhead); b += 64)
      __builtin_prefetch(p + b);
  }

  // log p of each child, the node given. Throws std::bad_alloc, as draw does.
  const double* visit(std::int32_t row, Id node) {
    T* const scores = score(row, node);
    const auto count = static_cast<std::int64_t>(tree_.children(node).size());
    double* const log_p = log_p_.reserve(count);
    if (tree_.is_binary()) {
      scores[1] = -scores[0];
      sources_.kernels().log_sigmoid(scores, 2, scores, nullptr);
      log_p[0] = static_cast<double>(scores[0]);
      log_p[1] = static_cast<double>(scores[1]);
      return log_p;
    }
    const std::int64_t target = kNoTarget;
    kernels::RowLoss found;
    softmax_.find(scores, 1, count, &target, &found);
    for (std::int64_t c = 0; c < count; ++c) log_p[c] = softmax_.log_p(found, scores[c]);
    return log_p;
  }

  // The code of a child with its probability.
  std::int64_t draw(std::int32_t row, Id node, const kernels::RandomStream& random) {
    const double uniform = baseline::uniforms(random, 0).first;
    T* const scores = score(row, node);
    if (tree_.is_binary()) {
      scores[1] = -scores[0];
      T slopes[2];
      sources_.kernels().log_sigmoid(scores, 2, scores, slopes);
      return uniform < static_cast<double>(slopes[1]) ? 0 : 1;
    }
    const std::int64_t count[] = {static_cast<std::int64_t>(tree_.children(node).size())};
    const std::int64_t stride[] = {static_cast<std::int64_t>(sizeof(T))};
    const int axes[] = {0};
    constexpr DType dtype = dtype_of_arithmetic<T>;
    Options one_thread;
    one_thread.max_threads = 1;
    softmax({scores, dtype, count, stride}, {scores, dtype, count, stride}, axes, one_thread);
    double sum = 0.0;
    std::int64_t last = 0;  // that can be drawn
    for (std::int64_t c = 0; c < count[0]; ++c) {
      if (!(scores[c] > T(0))) continue;
      last = c;
      sum += static_cast<double>(scores[c]);
      if (sum > uniform) break;
    }
    return last;
  }

 private:
  static constexpr std::int64_t kMostAhead = 512;  // bytes

  // Room for as many scores as there are children. Memory grows with the nodes that are met: to
  // look for the largest one first would take longer than a few rows do.
  T* score(std::int32_t row, Id node) {
    T* const scores = scores_.reserve(static_cast<std::int64_t>(tree_.children(node).size()));
    if (!tree_.is_binary()) {
      T* const buffer = vectors_.reserve(sources_.buffered_children(node) * sources_.depth());
      softmax_.score(sources_.x(&row), 1, node, sources_.children(node, buffer), scores);
      return scores;
    }
    T* const buffer = vectors_.reserve(sources_.is_direct() ? 0 : sources_.depth());
    kernels::ProductsJob job{};
    job.a = sources_.x(&row);
    job.b = sources_.nodes(&node, 1, buffer);
    job.rows = 1;
    job.terms = 1;
    job.length = sources_.depth();
    job.out = scores;
    sources_.kernels().products(job);
    if (sources_.node_bias() != nullptr) scores[0] += sources_.node_bias()[node];
    return scores;
  }

  const TreeSources<T>& sources_;
  const Tree& tree_;
  NodeSoftmax<T> softmax_;
  Buffer<T> scores_;
  Buffer<double> log_p_;
  Buffer<T> vectors_;
};

}  // namespace fastsoftmax
