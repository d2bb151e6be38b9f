#include "tree_batch.h"

#include <algorithm>
#include <limits>
#include <string>

namespace fastsoftmax {

TreeBatch::TreeBatch(const Tree& tree, std::span<const std::int64_t> ids, std::int64_t per_row,
                     std::optional<std::int64_t> ignored)
    : tree_(tree) {
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());
  if (ids.size() > most)
    throw InvalidArgument(std::to_string(ids.size()) + " leaves in one call; at most " +
                          std::to_string(most) + " are possible");
  std::vector<std::uint64_t> keys;  // position, then place
  keys.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ignored && ids[i] == *ignored) continue;
    if (ids[i] < 0 || ids[i] >= tree.num_leaves())
      throw InvalidIndex("id " + std::to_string(ids[i]) + " of row " +
                         std::to_string(static_cast<std::int64_t>(i) / per_row) +
                         " is out of bounds for " + std::to_string(tree.num_leaves()) + " leaves");
    const auto position = static_cast<std::uint32_t>(tree.leaf_position(static_cast<Id>(ids[i])));
    keys.push_back(std::uint64_t{position} << 32 | i);
  }
  std::sort(keys.begin(), keys.end());
  rows_.reserve(keys.size());
  leaves_.reserve(keys.size());
  places_.reserve(keys.size());
  for (const std::uint64_t key : keys) {
    const auto place = static_cast<std::int32_t>(key & 0xffffffffu);
    places_.push_back(place);
    rows_.push_back(static_cast<std::int32_t>(place / per_row));
    leaves_.push_back(tree.leaf_at(static_cast<Id>(key >> 32)));
  }
}

std::vector<TreeBatch::Touched> TreeBatch::touched() const {
  std::vector<Touched> nodes;
  Id before = -1;  // the position of the entry before
  for (std::int64_t e = 0; e < size(); ++e) {
    const Id position = tree_.leaf_position(leaf(e));
    if (position == before) continue;
    for (Id n = tree_.parent(leaf(e)); n != Tree::kNone && tree_.first_leaf(n) > before;
         n = tree_.parent(static_cast<Id>(tree_.num_leaves() + n)))
      nodes.push_back({n, static_cast<std::int32_t>(e), 0});
    before = position;
  }
  for (Touched& t : nodes) {
    const auto behind = std::partition_point(
        leaves_.begin() + t.first, leaves_.end(),
        [&](Id leaf) { return tree_.leaf_position(leaf) < tree_.end_leaf(t.node); });
    t.last = static_cast<std::int32_t>(behind - leaves_.begin());
  }
  return nodes;
}

void TreeBatch::way(std::int64_t e, Id* nodes, Id* codes) const {
  Id id = leaf(e);
  for (std::int64_t d = depth(e); d-- > 0;) {
    nodes[d] = tree_.parent(id);
    codes[d] = tree_.code(id);
    id = static_cast<Id>(tree_.num_leaves() + nodes[d]);
  }
}

std::vector<std::int64_t> runs_of(const TreeBatch& batch, std::int64_t first, std::int64_t last,
                                  std::int64_t most) {
  std::vector<std::int64_t> begins = {first};
  std::int64_t length = 0;
  for (std::int64_t e = first; e < last; ++e) {
    const std::int64_t depth = batch.depth(e);
    if (length + depth > most && e > begins.back()) {
      begins.push_back(e);
      length = 0;
    }
    length += depth;
  }
  begins.push_back(last);
  return begins;
}

}  // namespace fastsoftmax
