// Trees: what all of them are made of.
#include "fastsoftmax/tree.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace fastsoftmax {

Tree::Tree(std::int64_t leaves, bool binary, Ids parent, Ids code)
    : binary_(binary),
      parent_(std::move(parent)),
      code_(std::move(code)),
      leaf_position_(index(leaves)),
      leaf_at_(index(leaves)) {
  list_children();
  walk();
}

void Tree::list_children() {
  const std::size_t nodes = parent_.size() - leaf_at_.size();
  first_child_.assign(nodes + 1, 0);
  for (const Id node : parent_)
    if (node != kNone) ++first_child_[index(node) + 1];
  for (std::size_t node = 0; node < nodes; ++node) first_child_[node + 1] += first_child_[node];
  children_.resize(parent_.size() - 1);
  for (std::size_t id = 0; id < parent_.size(); ++id)
    if (parent_[id] != kNone)
      children_[index(first_child_[index(parent_[id])] + code_[id])] = static_cast<Id>(id);
}

// Depth-first. The way back up is in parent_ and code_, so that nothing is kept for it.
void Tree::walk() {
  const auto leaves = static_cast<Id>(num_leaves());
  const std::size_t nodes = first_child_.size() - 1;
  first_leaf_.resize(nodes);
  end_leaf_.resize(nodes);
  node_depth_.resize(nodes);
  preorder_.reserve(nodes);
  auto id = static_cast<Id>(std::ranges::find(parent_, kNone) - parent_.begin());
  Id position = 0;
  for (;;) {
    Id node = parent_[index(id)];
    const Id depth = node == kNone ? 0 : node_depth_[index(node)] + 1;
    if (id >= leaves) {
      node = id - leaves;
      preorder_.push_back(node);
      node_depth_[index(node)] = depth;
      first_leaf_[index(node)] = position;
      id = children_[index(first_child_[index(node)])];
      continue;
    }
    max_depth_ = std::max(max_depth_, depth);
    leaf_at_[index(position)] = id;
    leaf_position_[index(id)] = position++;
    Id next = code_[index(id)] + 1;
    while (node != kNone && index(next) == children(node).size()) {
      end_leaf_[index(node)] = position;
      next = code_[index(leaves + node)] + 1;
      node = parent_[index(leaves + node)];
    }
    if (node == kNone) break;
    id = children(node)[index(next)];
  }
}

std::int64_t Tree::depth(std::int64_t leaf) const {
  if (leaf < 0 || leaf >= num_leaves())
    throw InvalidIndex("leaf " + std::to_string(leaf) + " is out of bounds for a tree of " +
                       std::to_string(num_leaves()) + " leaves");
  const Id node = parent_[index(leaf)];
  return node == kNone ? 0 : node_depth_[index(node)] + 1;
}

void Tree::path(std::int64_t leaf, std::span<std::int64_t> nodes,
                std::span<std::int64_t> codes) const {
  auto step = index(depth(leaf));
  if (nodes.size() != step || codes.size() != step)
    throw InvalidArgument("the path of leaf " + std::to_string(leaf) + " has " +
                          std::to_string(step) + " entries, not " + std::to_string(nodes.size()) +
                          " nodes and " + std::to_string(codes.size()) + " codes");
  for (std::int64_t id = leaf; step-- > 0; id = num_leaves() + parent_[index(id)]) {
    nodes[step] = parent_[index(id)];
    codes[step] = code_[index(id)];
  }
}

}  // namespace fastsoftmax
