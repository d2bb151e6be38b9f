// Binary trees by the depths of their leaves: Huffman's and balanced ones.
#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "fastsoftmax/tree.hpp"

namespace fastsoftmax {
namespace {

constexpr std::int64_t kMostLeaves = std::int64_t{1} << 30;  // 2^31 - 1 ids

void check_leaves(std::int64_t leaves) {
  if (leaves < 1) throw InvalidArgument("a tree needs at least one leaf");
  if (leaves > kMostLeaves)
    throw InvalidArgument("a binary tree has at most 2^30 leaves, not " + std::to_string(leaves));
}

void check_counts(std::span<const std::int64_t> counts) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0)
      throw InvalidArgument("counts must not be negative, but count " + std::to_string(i) + " is " +
                            std::to_string(counts[i]));
    if (counts[i] > std::numeric_limits<std::int64_t>::max() - sum)
      throw InvalidArgument("the sum of counts must be below 2^63");
    sum += counts[i];
  }
}

struct Leaf {
  std::int64_t count;
  Tree::Id id;
};

// Huffman's algorithm on leaves in ascending order replaces each count by the depth: two queues,
// of leaves and of inner nodes, both in ascending order, share the array (Moffat and Katajainen,
// In-Place Calculation of Minimum-Redundancy Codes, 1995). Of equals a leaf is taken before an
// inner node, which keeps the greatest depth smallest (Schwartz, 1964). Depths do not ascend.
void replace_counts_by_depths(std::span<Leaf> leaves) {
  const std::size_t n = leaves.size();
  const auto value = [&](std::size_t i) -> std::int64_t& { return leaves[i].count; };
  if (n == 1) {
    value(0) = 0;
    return;
  }
  // Inner node `made` is the sum of the two smallest; what it is made of, if a node, becomes the
  // number of its parent.
  std::size_t leaf = 0;
  std::size_t node = 0;
  for (std::size_t made = 0; made + 1 < n; ++made) {
    std::int64_t sum = 0;
    for (int child = 0; child < 2; ++child) {
      if (leaf < n && (node == made || value(leaf) <= value(node))) {
        sum += value(leaf++);
      } else {
        sum += value(node);
        value(node++) = static_cast<std::int64_t>(made);
      }
    }
    value(made) = sum;
  }
  // From parents to depths of inner nodes, the root last.
  value(n - 2) = 0;
  for (std::size_t i = n - 2; i-- > 0;) value(i) = value(static_cast<std::size_t>(value(i))) + 1;
  // Level by level from the root, what is not an inner node is a leaf. `next` is behind the leaf
  // to be written, and never before an inner node that has still to be read.
  std::size_t next = n;
  std::size_t nodes = n - 1;  // still to be read
  std::size_t places = 1;
  for (std::int64_t depth = 0; places > 0; ++depth) {
    std::size_t inner = 0;
    for (; nodes > 0 && value(nodes - 1) == depth; --nodes) ++inner;
    for (std::size_t i = inner; i < places; ++i) value(--next) = depth;
    places = 2 * inner;
  }
}

std::vector<Tree::Id> huffman_depths(std::span<const std::int64_t> counts) {
  std::vector<Leaf> leaves(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) leaves[i] = {counts[i], static_cast<Tree::Id>(i)};
  std::ranges::sort(leaves, [](const Leaf& a, const Leaf& b) {
    return a.count != b.count ? a.count < b.count : a.id > b.id;
  });
  replace_counts_by_depths(leaves);
  std::vector<Tree::Id> depths(counts.size());
  for (const Leaf& leaf : leaves)
    depths[static_cast<std::size_t>(leaf.id)] = static_cast<Tree::Id>(leaf.count);
  return depths;
}

// Ids in the order of (depth, id).
std::vector<Tree::Id> by_depth(const std::vector<Tree::Id>& depths) {
  std::vector<Tree::Id> first(static_cast<std::size_t>(std::ranges::max(depths)) + 2, 0);
  for (const Tree::Id depth : depths) ++first[static_cast<std::size_t>(depth) + 1];
  for (std::size_t depth = 1; depth < first.size(); ++depth) first[depth] += first[depth - 1];
  std::vector<Tree::Id> order(depths.size());
  for (std::size_t i = 0; i < depths.size(); ++i) {
    Tree::Id& position = first[static_cast<std::size_t>(depths[i])];
    order[static_cast<std::size_t>(position++)] = static_cast<Tree::Id>(i);
  }
  return order;
}

struct Links {
  std::vector<Tree::Id> parent, code;
};

// The canonical code of these depths: leaves in the order of (depth, id) take places from the left;
// inner nodes are made on the way down.
Links canonical(const std::vector<Tree::Id>& depths) {
  const std::size_t leaves = depths.size();
  Links links{std::vector(2 * leaves - 1, Tree::kNone), std::vector(2 * leaves - 1, Tree::kNone)};
  if (leaves == 1) return links;
  std::size_t made = 1;  // the root
  std::size_t node = 0;  // the free place is its child of code `code`
  Tree::Id code = 0;
  Tree::Id depth = 1;  // of that child
  const auto place = [&](std::size_t id) {
    links.parent[id] = static_cast<Tree::Id>(node);
    links.code[id] = code;
  };
  for (const Tree::Id leaf : by_depth(depths)) {
    for (; depth < depths[static_cast<std::size_t>(leaf)]; ++depth) {
      place(leaves + made);
      node = made++;
      code = 0;
    }
    place(static_cast<std::size_t>(leaf));
    for (; code == 1 && node != 0; --depth) {
      code = links.code[leaves + node];
      node = static_cast<std::size_t>(links.parent[leaves + node]);
    }
    code = 1;
  }
  return links;
}

}  // namespace

Tree Tree::huffman(std::span<const std::int64_t> counts) {
  check_leaves(static_cast<std::int64_t>(counts.size()));
  check_counts(counts);
  Links links = canonical(huffman_depths(counts));
  return {static_cast<std::int64_t>(counts.size()), true, std::move(links.parent),
          std::move(links.code)};
}

Tree Tree::balanced(std::int64_t leaves) {
  check_leaves(leaves);
  const auto count = static_cast<std::uint64_t>(leaves);
  const auto depth = static_cast<int>(std::bit_width(count)) - 1;
  std::vector<Id> depths(count, depth + 1);
  std::fill_n(depths.begin(), (std::int64_t{2} << depth) - leaves, depth);
  Links links = canonical(depths);
  return {leaves, true, std::move(links.parent), std::move(links.code)};
}

}  // namespace fastsoftmax
