// The leaves that a batch asks for, in depth-first order, so that those below a node are next to
// each other, and the ways that lead to them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fastsoftmax/tree.hpp"

namespace fastsoftmax {

class TreeBatch {
 public:
  using Id = Tree::Id;

  // ids[i] belongs to row i / per_row of x; what is `ignored` is left out. Throws InvalidIndex
  // where another id is no leaf, and InvalidArgument where there are more than 2^31 - 1.
  TreeBatch(const Tree& tree, std::span<const std::int64_t> ids, std::int64_t per_row,
            std::optional<std::int64_t> ignored = std::nullopt);

  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  // Of entry e: its row of x, its leaf, and where in ids it was.
  const std::int32_t* rows() const { return rows_.data(); }
  Id leaf(std::int64_t e) const { return leaves_[at(e)]; }
  std::int64_t place(std::int64_t e) const { return places_[at(e)]; }
  std::int64_t depth(std::int64_t e) const { return depth_of(tree_.parent(leaf(e))); }

  // Entries [first, last) are those below an inner node.
  struct Touched {
    Id node;
    std::int32_t first, last;
  };
  // Nodes on the way to some entry, in no order.
  std::vector<Touched> touched() const;

  // The way to entry e: its depth(e) inner nodes, the root first, and the codes taken there.
  void way(std::int64_t e, Id* nodes, Id* codes) const;

  const Tree& tree() const { return tree_; }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  // Of what hangs on a node.
  std::int64_t depth_of(Id parent) const {
    return parent == Tree::kNone ? 0 : std::int64_t{tree_.node_depth(parent)} + 1;
  }

  const Tree& tree_;
  std::vector<std::int32_t> rows_;
  std::vector<Id> leaves_;
  std::vector<std::int32_t> places_;
};

// Runs of entries so that the ways of each are at most `most` nodes long together, or of one.
std::vector<std::int64_t> runs_of(const TreeBatch& batch, std::int64_t first, std::int64_t last,
                                  std::int64_t most);

}  // namespace fastsoftmax
