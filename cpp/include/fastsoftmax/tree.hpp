// Trees over classes, for output layers whose cost grows with the depth of a class: classes are
// leaves, and each inner node chooses between its children.
//
// Ids: leaves are 0 to num_leaves - 1, inner node j is id num_leaves + j. A tree has at most
// 2^31 - 1 ids. A tree of one leaf may have no inner node; its leaf has probability 1.
//
// Vectors: in a binary tree every inner node has two children and one vector w, row j of the node
// weights; with z = <x, w> the child of code 0 has probability sigmoid(z), that of code 1
// sigmoid(-z), as in word2vec. In other trees a node's children share a softmax, and every id but
// the root's has a vector, in the row of that number.
//
// Time and memory are linear in the number of ids (26 bytes for each in a binary tree), whatever
// the depth: nothing recurses.
//
// Sources: Huffman (1952); Morin and Bengio, Hierarchical Probabilistic Neural Network Language
// Model (2005); Mikolov et al. (2013); Goodman, Classes for Fast Maximum Entropy Training (2001).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fastsoftmax/types.hpp"

namespace fastsoftmax {

// Immutable. What makes one throws InvalidArgument, which names an id, leaf or node that is wrong,
// where its input makes no tree or one of more than 2^31 - 1 ids, and std::bad_alloc.
class Tree {
 public:
  using Id = std::int32_t;
  static constexpr Id kNone = -1;

  // The canonical Huffman code of counts, one for each leaf; binary. The sum of count times depth
  // is as small as it can be, and of the codes that reach it this has the smallest greatest depth;
  // the mean depth is at most one bit above the entropy. Leaves are in the order of (depth, id): of
  // equal counts the first has the smallest depth, and where counts descend, position is id. Inner
  // nodes are numbered in preorder, the root is node 0. Counts are not negative, their sum is below
  // 2^63.
  static Tree huffman(std::span<const std::int64_t> counts);
  // Binary, leaves in order, depths floor(log2 leaves) and one more; numbered as that of huffman.
  static Tree balanced(std::int64_t leaves);

  // parents[id] is the id of the parent, -1 for the one root. Ids that are nobody's parent are the
  // leaves, and come first. codes[id] is 0 to m - 1 among m children, and not looked at for the
  // root; where absent, children are in the order of ids. `binary`: whether the tree is one; where
  // absent, it is if every inner node has two children.
  static Tree from_parents(std::span<const std::int64_t> parents,
                           std::optional<bool> binary = std::nullopt,
                           std::optional<std::span<const std::int64_t>> codes = std::nullopt);
  // The way from the root to leaf i: entries offsets[i] to offsets[i + 1] - 1 are the inner nodes
  // that are passed, the root first, and the codes, 0 or 1, that are taken there. Binary; nodes
  // keep their numbers, which are 0 to leaves - 2.
  static Tree from_paths(std::span<const std::int64_t> nodes, std::span<const std::int64_t> codes,
                         std::span<const std::int64_t> offsets);
  // Two levels: labels[leaf] is the leaf's cluster, 0 to C - 1, none of them empty. Not binary;
  // cluster c is inner node c, the root is node C.
  static Tree from_clusters(std::span<const std::int64_t> labels);

  std::int64_t num_leaves() const noexcept { return ssize(leaf_at_); }
  std::int64_t num_nodes() const noexcept { return ssize(preorder_); }  // inner nodes
  // Rows of the node weights.
  std::int64_t num_weights() const noexcept { return binary_ ? num_nodes() : ssize(parent_); }
  bool is_binary() const noexcept { return binary_; }
  // An inner node; kNone where a leaf is the root.
  Id root() const noexcept { return preorder_.empty() ? kNone : preorder_[0]; }
  std::int64_t max_depth() const noexcept { return max_depth_; }

  // Edges between the root and a leaf. Throws InvalidIndex.
  std::int64_t depth(std::int64_t leaf) const;
  // Writes the depth(leaf) inner nodes on the way from the root to a leaf, and the codes taken
  // there. Throws InvalidIndex, InvalidArgument where a span has another length.
  void path(std::int64_t leaf, std::span<std::int64_t> nodes, std::span<std::int64_t> codes) const;

  // For algorithms; nothing is checked. `id` is a leaf, or num_leaves() + inner node; `node` and
  // what parent() returns are inner nodes, children() are ids.
  Id parent(Id id) const noexcept { return parent_[index(id)]; }  // kNone for the root
  Id code(Id id) const noexcept { return code_[index(id)]; }      // kNone for the root
  std::span<const Id> children(Id node) const noexcept {
    const auto begin = index(first_child_[index(node)]);
    return {children_.data() + begin, index(first_child_[index(node) + 1]) - begin};
  }
  Id node_depth(Id node) const noexcept { return node_depth_[index(node)]; }
  // Leaves in depth-first order, children in the order of their codes: those below a node have
  // positions first_leaf to end_leaf - 1.
  Id leaf_position(Id leaf) const noexcept { return leaf_position_[index(leaf)]; }
  Id leaf_at(Id position) const noexcept { return leaf_at_[index(position)]; }
  Id first_leaf(Id node) const noexcept { return first_leaf_[index(node)]; }
  Id end_leaf(Id node) const noexcept { return end_leaf_[index(node)]; }
  // Inner nodes in depth-first order: parents before children, children in the order of codes.
  std::span<const Id> preorder() const noexcept { return preorder_; }

  // The same ids, parents, codes and kind.
  friend bool operator==(const Tree& a, const Tree& b) noexcept {
    return a.binary_ == b.binary_ && a.parent_ == b.parent_ && a.code_ == b.code_;
  }

 private:
  using Ids = std::vector<Id>;

  // Parent and code of each id, which have been checked.
  Tree(std::int64_t leaves, bool binary, Ids parent, Ids code);

  void list_children();
  void walk();

  static std::size_t index(std::int64_t i) noexcept { return static_cast<std::size_t>(i); }
  static std::int64_t ssize(const Ids& ids) noexcept {
    return static_cast<std::int64_t>(ids.size());
  }

  bool binary_;
  Id max_depth_ = 0;
  Ids parent_, code_;            // of ids
  Ids first_child_, children_;   // of inner nodes, and one more; ids
  Ids leaf_position_, leaf_at_;  // of leaves; of positions
  Ids first_leaf_, end_leaf_;    // of inner nodes
  Ids node_depth_, preorder_;    // of inner nodes
};

}  // namespace fastsoftmax
