// Layers of trees: their shapes, arrays that own their memory, and what calls make of them.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "fastsoftmax/hierarchical_softmax.hpp"
#include "layers.h"
#include "trees.h"

namespace tests {

struct NamedTree {
  const char* name;
  Tree tree;
};

// Each inner node has a leaf, of code 1, and the next node; `nodes` of them, binary.
inline Tree chain(std::int64_t nodes) {
  Links links;
  const auto add = [&](std::int64_t node, std::int64_t code) {
    links.parents.push_back(node < 0 ? -1 : nodes + 1 + node);
    links.codes.push_back(code);
  };
  for (std::int64_t node = 0; node < nodes; ++node) add(node, 1);
  add(nodes - 1, 0);
  for (std::int64_t node = 0; node < nodes; ++node) add(node - 1, node == 0 ? -1 : 0);
  return Tree::from_parents(links.parents, true, links.codes);
}

inline Tree random_tree(std::uint64_t seed, std::int64_t nodes, std::int64_t least,
                        std::int64_t most) {
  Random random(seed);
  const Links links = random_links(random, nodes, least, most);
  return Tree::from_parents(links.parents, std::nullopt, links.codes);
}

inline std::vector<NamedTree> binary_trees() {
  Numbers counts(300);
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[i] = 1000000 / static_cast<std::int64_t>(i + 1);
  return {{"one leaf", Tree::balanced(1)},
          {"two leaves", Tree::balanced(2)},
          {"balanced", Tree::balanced(45)},
          {"huffman", Tree::huffman(counts)},
          {"chain", chain(90)},
          {"random", random_tree(5, 400, 2, 2)}};
}

inline std::vector<NamedTree> other_trees() {
  Numbers labels(130);
  for (std::size_t i = 0; i < labels.size(); ++i)
    labels[i] = static_cast<std::int64_t>(i < 7 ? i : i * i % 7);
  const Numbers lone = {1, -1};
  const Numbers single = {-1};
  return {{"clusters", Tree::from_clusters(labels)},
          {"one to five children", random_tree(6, 80, 1, 5)},
          {"one child, or many", random_tree(7, 12, 1, 40)},
          {"balanced, not binary", Tree::from_parents(links_of(Tree::balanced(9)).parents, false)},
          {"a node and its leaf", Tree::from_parents(lone)},
          {"a leaf, not binary", Tree::from_parents(single, false)}};
}

struct LayerArrays {
  const Tree* tree;
  Array x, nodes;
  std::optional<Array> node_bias, leaves, leaf_bias;

  fs::TreeLayer layer() const {
    const auto view = [](const std::optional<Array>& array) {
      return array ? std::optional(array->view()) : std::nullopt;
    };
    return {tree, x.view(), nodes.view(), view(node_bias), view(leaves), view(leaf_bias)};
  }
  fs::DType dtype() const { return fs::tree_dtype(layer()); }
};

inline LayerArrays random_layer(const Tree& tree, fs::DType dtype, std::int64_t rows,
                                std::int64_t columns, bool bias, std::uint64_t seed = 1) {
  Random random(seed);
  LayerArrays a{&tree,
                random_array(random, dtype, {rows, columns}, 1.0),
                random_array(random, dtype, {tree.num_nodes(), columns}, 0.7),
                {},
                {},
                {}};
  if (bias) a.node_bias = random_array(random, dtype, {tree.num_nodes()}, 1.0);
  if (tree.is_binary()) return a;
  a.leaves = random_array(random, dtype, {tree.num_leaves(), columns}, 0.7);
  if (bias) a.leaf_bias = random_array(random, dtype, {tree.num_leaves()}, 1.0);
  return a;
}

inline Numbers random_leaves(const Tree& tree, std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  Numbers leaves(at(count));
  for (std::int64_t& leaf : leaves) leaf = random.below(tree.num_leaves());
  return leaves;
}

struct LossResult {
  Bytes loss, grad_x, grad_weights, grad_bias;
  Numbers ids;

  bool operator==(const LossResult&) const = default;
};

inline fs::TreeLossOptions with_reduction(fs::Reduction reduction, int threads = 1) {
  fs::TreeLossOptions options;
  options.reduction = reduction;
  options.max_threads = threads;
  return options;
}

inline LossResult loss_of(const LayerArrays& a, const Numbers& targets,
                          const fs::TreeLossOptions& options) {
  const std::int64_t rows = a.x.shape[0];
  const Array wanted = integers(targets, {rows});
  const bool each = options.reduction == fs::Reduction::none;
  Array loss = dense(a.dtype(), each ? Shape{rows} : Shape{});
  Array grad_x = dense(a.dtype(), a.x.shape);
  fs::SparseRows weights;
  fs::SparseRows bias;
  fs::hierarchical_loss(a.layer(), wanted.view(), {loss.out(), grad_x.out(), &weights, &bias},
                        options);
  CHECK(std::ranges::equal(weights.ids(), bias.ids()));
  return {loss.bytes, grad_x.bytes, bytes_of(weights), bytes_of(bias),
          Numbers(weights.ids().begin(), weights.ids().end())};
}

inline Bytes log_probs(const LayerArrays& a, int threads = 1) {
  Array out = dense(a.dtype(), {a.x.shape[0], a.tree->num_leaves()});
  fs::hierarchical_log_prob(a.layer(), out.out(), threads);
  return out.bytes;
}

inline Bytes log_probs_of(const LayerArrays& a, const Numbers& ids, int threads = 1) {
  const std::int64_t rows = a.x.shape[0];
  const Array wanted =
      integers(ids, {rows, rows == 0 ? 0 : static_cast<std::int64_t>(ids.size()) / rows});
  Array out = dense(a.dtype(), wanted.shape);
  fs::hierarchical_log_prob(a.layer(), wanted.view(), out.out(), threads);
  return out.bytes;
}

struct Found {
  Bytes values, indices, visited;

  bool operator==(const Found&) const = default;
};

inline Found topk_of(const LayerArrays& a, std::int64_t k, const fs::TreeSearchOptions& options) {
  Array values = dense(a.dtype(), {a.x.shape[0], k});
  Array indices = dense(fs::DType::i64, values.shape);
  Array visited = dense(fs::DType::i64, {a.x.shape[0]});
  const fs::View visits = visited.out();
  fs::hierarchical_topk(a.layer(), k, values.out(), indices.out(), &visits, options);
  return {values.bytes, indices.bytes, visited.bytes};
}

inline Bytes sample_of(const LayerArrays& a, std::uint64_t seed, std::uint32_t position,
                       int threads = 1) {
  Array out = dense(fs::DType::i64, {a.x.shape[0]});
  fs::hierarchical_sample(a.layer(), seed, position, out.out(), threads);
  return out.bytes;
}

}  // namespace tests
