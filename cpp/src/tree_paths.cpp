// Binary trees from the paths of their leaves.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "fastsoftmax/tree.hpp"

namespace fastsoftmax {
namespace {

using Id = Tree::Id;
using Ids = std::vector<Id>;
using Numbers = std::span<const std::int64_t>;

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
std::string text(std::int64_t number) { return std::to_string(number); }

void check_offsets(Numbers nodes, Numbers codes, Numbers offsets) {
  if (nodes.size() != codes.size())
    throw InvalidArgument("paths have " + text(std::ssize(nodes)) + " nodes, but " +
                          text(std::ssize(codes)) + " codes");
  if (offsets.size() < 2) throw InvalidArgument("a tree needs at least one leaf");
  if (!std::ranges::is_sorted(offsets) || offsets.front() != 0 ||
      offsets.back() != std::ssize(nodes))
    throw InvalidArgument("offsets must ascend from 0 to the number of nodes, " +
                          text(std::ssize(nodes)));
}

void check_entry(std::int64_t leaf, std::int64_t node, std::int64_t code, std::int64_t leaves,
                 std::int64_t nodes) {
  if (node < 0 || node >= nodes)
    throw InvalidArgument("the path of leaf " + text(leaf) + " passes node " + text(node) +
                          ", which is out of range for a binary tree of " + text(leaves) +
                          (leaves == 1 ? " leaf" : " leaves"));
  if (code != 0 && code != 1)
    throw InvalidArgument("the path of leaf " + text(leaf) + " takes code " + text(code) +
                          " at node " + text(node) + "; codes are 0 and 1");
}

// The tree as far as paths have shown it.
class PathReader {
 public:
  PathReader(std::int64_t leaves, std::int64_t nodes)
      : leaves_(leaves),
        parent_(index(leaves + nodes), Tree::kNone),
        code_(index(leaves + nodes), Tree::kNone),
        child_(index(2 * nodes), Tree::kNone) {}

  void add(std::int64_t leaf, Numbers nodes, Numbers codes) {
    if (nodes.empty()) {
      if (leaves_ > 1) throw InvalidArgument("leaf " + text(leaf) + " has no path");
      return;
    }
    if (root_ == Tree::kNone) root_ = nodes[0];
    if (nodes[0] != root_)
      throw InvalidArgument("the path of leaf " + text(leaf) + " begins at node " + text(nodes[0]) +
                            ", but that of leaf 0 at node " + text(root_));
    for (std::size_t i = 0; i < nodes.size(); ++i)
      step(leaf, nodes[i], codes[i], i + 1 < nodes.size() ? leaves_ + nodes[i + 1] : leaf);
  }

  // Throws unless every node has been passed, on the way to both children.
  void check_complete() const {
    for (std::size_t i = 0; i < child_.size(); ++i) {
      if (child_[i] != Tree::kNone) continue;
      const auto node = static_cast<std::int64_t>(i / 2);
      if (child_[i ^ 1] == Tree::kNone)
        throw InvalidArgument("no path passes node " + text(node) + ", but one passes node " +
                              text(std::ssize(child_) / 2 - 1));
      throw InvalidArgument("no path takes code " + text(static_cast<std::int64_t>(i % 2)) +
                            " at node " + text(node));
    }
  }

  Ids& parent() { return parent_; }
  Ids& code() { return code_; }

 private:
  void step(std::int64_t leaf, std::int64_t node, std::int64_t code, std::int64_t to) {
    Id& child = child_[index(2 * node + code)];
    if (child == to) return;
    if (child != Tree::kNone) refuse_child(leaf, node, code, child, to);
    if (to == leaves_ + root_ || parent_[index(to)] != Tree::kNone)
      throw InvalidArgument("node " + text(to - leaves_) + " is reached in two ways: " +
                            (to == leaves_ + root_ ? "as the root"
                                                   : "by code " + text(code_[index(to)]) +
                                                         " at node " + text(parent_[index(to)])) +
                            ", and by code " + text(code) + " at node " + text(node) +
                            " on the path of leaf " + text(leaf));
    child = static_cast<Id>(to);
    parent_[index(to)] = static_cast<Id>(node);
    code_[index(to)] = static_cast<Id>(code);
  }

  [[noreturn]] void refuse_child(std::int64_t leaf, std::int64_t node, std::int64_t code, Id child,
                                 std::int64_t to) const {
    if (child >= leaves_ && to >= leaves_)
      throw InvalidArgument("code " + text(code) + " at node " + text(node) + " leads to node " +
                            text(child - leaves_) + ", but on the path of leaf " + text(leaf) +
                            " to node " + text(to - leaves_));
    if (child < leaves_ && to < leaves_)
      throw InvalidArgument("leaves " + text(child) + " and " + text(to) + " have the same path");
    std::int64_t below = child;  // a leaf that is reached from there
    while (below >= leaves_) {
      const std::size_t first = index(2 * (below - leaves_));
      below = std::max(child_[first], child_[first + 1]);
    }
    const bool ends_here = to < leaves_;
    throw InvalidArgument("the path of leaf " + text(ends_here ? leaf : below) +
                          " is the beginning of that of leaf " + text(ends_here ? below : leaf));
  }

  std::int64_t leaves_;
  std::int64_t root_ = Tree::kNone;
  Ids parent_, code_;  // of ids
  Ids child_;          // by node and code
};

}  // namespace

Tree Tree::from_paths(Numbers nodes, Numbers codes, Numbers offsets) {
  check_offsets(nodes, codes, offsets);
  const std::int64_t leaves = std::ssize(offsets) - 1;
  // Paths that pass more than leaves - 1 nodes leave out a code, which is to be named; numbers that
  // exceed the length of all paths are wrong in any case.
  const std::int64_t most = std::max(leaves - 1, std::ssize(nodes));
  std::int64_t last = -1;
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    for (auto i = index(offsets[index(leaf)]); i < index(offsets[index(leaf) + 1]); ++i) {
      check_entry(leaf, nodes[i], codes[i], leaves, most);
      last = std::max(last, nodes[i]);
    }
  }
  if (leaves + last >= std::numeric_limits<Id>::max())
    throw InvalidArgument("a tree has at most 2^31 - 1 ids");
  PathReader reader(leaves, last + 1);
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    const auto first = index(offsets[index(leaf)]);
    const auto length = index(offsets[index(leaf) + 1]) - first;
    reader.add(leaf, nodes.subspan(first, length), codes.subspan(first, length));
  }
  reader.check_complete();
  return {leaves, true, std::move(reader.parent()), std::move(reader.code())};
}

}  // namespace fastsoftmax
