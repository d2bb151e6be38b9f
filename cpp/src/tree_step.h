// Steps down a tree for single rows: the log-probabilities of a node's children, or one of them at
// random.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "fastsoftmax/softmax.hpp"
#include "kernels/philox.h"
#include "node_softmax.h"

namespace fastsoftmax {

template <class T>
class TreeStep {
 public:
  using Id = Tree::Id;

  static constexpr std::int64_t kVisits = 8;  // at a time

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

  // Calls take(i, log p of each child given the node) for visits i of at most kVisits nodes. Throws
  // std::bad_alloc, as draw does.
  template <class Take>
  void visit(const std::int32_t* rows, const Id* nodes, std::int64_t visits, Take take) {
    if (tree_.is_binary()) {
      T* const scores = score(rows, nodes, visits);
      double* const log_p = log_p_.reserve(2 * kVisits);
      for (std::int64_t i = visits; i-- > 0;) {
        scores[2 * i + 1] = -scores[i];
        scores[2 * i] = scores[i];
      }
      sources_.kernels().log_sigmoid(scores, 2 * visits, scores, nullptr);
      for (std::int64_t i = 0; i < 2 * visits; ++i) log_p[i] = static_cast<double>(scores[i]);
      for (std::int64_t i = 0; i < visits; ++i) take(i, log_p + 2 * i);
      return;
    }
    for (std::int64_t i = 0; i < visits; ++i) {
      T* const scores = score(rows + i, nodes[i]);
      const auto count = static_cast<std::int64_t>(tree_.children(nodes[i]).size());
      double* const log_p = log_p_.reserve(count);
      const std::int64_t target = kNoTarget;
      kernels::RowLoss found;
      softmax_.find(scores, 1, count, &target, &found);
      for (std::int64_t c = 0; c < count; ++c) log_p[c] = softmax_.log_p(found, scores[c]);
      take(i, log_p);
    }
  }

  // The code of a child with its probability.
  std::int64_t draw(std::int32_t row, Id node, const kernels::RandomStream& random) {
    const double uniform = baseline::uniforms(random, 0).first;
    if (tree_.is_binary()) {
      T* const scores = score(&row, &node, 1);
      scores[1] = -scores[0];
      T slopes[2];
      sources_.kernels().log_sigmoid(scores, 2, scores, slopes);
      return uniform < static_cast<double>(slopes[1]) ? 0 : 1;
    }
    T* const scores = score(&row, node);
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

  // Memory grows with the nodes that are met: to look for the largest one first would take longer
  // than a few rows do.
  // Of one node's children.
  T* score(const std::int32_t* row, Id node) {
    T* const scores = scores_.reserve(static_cast<std::int64_t>(tree_.children(node).size()));
    T* const buffer = vectors_.reserve(sources_.buffered_children(node) * sources_.depth());
    softmax_.score(sources_.x(row), 1, node, sources_.children(node, buffer), scores);
    return scores;
  }
  // Of nodes of a binary tree, each for its own row.
  T* score(const std::int32_t* rows, const Id* nodes, std::int64_t visits) {
    T* const scores = scores_.reserve(2 * kVisits);
    T* const buffer = vectors_.reserve(sources_.is_direct() ? 0 : kVisits * sources_.depth());
    static constexpr auto each = [] {
      std::array<std::int64_t, kVisits + 1> offsets{};
      for (std::size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<std::int64_t>(i);
      return offsets;
    }();
    kernels::ProductsJob job{};
    job.a = sources_.x(rows);
    job.b = sources_.nodes(nodes, visits, buffer);
    job.rows = visits;
    job.offsets = each.data();
    job.length = sources_.depth();
    job.out = scores;
    sources_.kernels().products(job);
    if (const T* const bias = sources_.node_bias(); bias != nullptr) {
      for (std::int64_t i = 0; i < visits; ++i) scores[i] += bias[nodes[i]];
    }
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
