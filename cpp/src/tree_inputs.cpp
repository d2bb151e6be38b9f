// Trees that somebody else has made: every mistake is found and named.
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

constexpr std::int64_t kMostIds = std::numeric_limits<Id>::max();

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

void check_ids(std::int64_t ids) {
  if (ids < 1) throw InvalidArgument("a tree needs at least one leaf");
  if (ids > kMostIds)
    throw InvalidArgument("a tree has at most 2^31 - 1 ids, not " + std::to_string(ids));
}

// How many children each id has. Throws unless parents are ids.
Ids count_children(Numbers parents) {
  Ids children(parents.size(), 0);
  for (std::size_t id = 0; id < parents.size(); ++id) {
    if (parents[id] < -1 || parents[id] >= std::ssize(parents))
      throw InvalidArgument("the parent of id " + std::to_string(id) + " is " +
                            std::to_string(parents[id]) + ", which is none of the " +
                            std::to_string(parents.size()) + " ids");
    if (parents[id] >= 0) ++children[index(parents[id])];
  }
  return children;
}

// Takes away ids without children for as long as there are some: what stays is on cycles.
void check_cycles(Numbers parents, Ids children) {
  for (std::size_t start = 0; start < parents.size(); ++start) {
    std::size_t id = start;
    while (children[id] == 0) {
      children[id] = Tree::kNone;  // gone
      if (parents[id] < 0) break;
      id = index(parents[id]);
      --children[id];
    }
  }
  const auto left = std::ranges::find_if(children, [](Id count) { return count > 0; });
  if (left != children.end())
    throw InvalidArgument("id " + std::to_string(left - children.begin()) +
                          " is on a cycle: parents lead from it back to it");
}

void check_root(Numbers parents) {
  const auto root = std::ranges::find(parents, -1);
  const auto other = std::find(root + 1, parents.end(), -1);
  if (other != parents.end())
    throw InvalidArgument("ids " + std::to_string(root - parents.begin()) + " and " +
                          std::to_string(other - parents.begin()) +
                          " both have no parent, but a tree has one root");
}

// Leaves, which must come first.
std::int64_t count_leaves(const Ids& children) {
  const auto leaves = std::ranges::count(children, 0);
  const auto inner = std::ranges::find_if(children, [](Id count) { return count > 0; });
  if (inner - children.begin() < leaves) {
    const auto leaf = std::find(inner, children.end(), 0);
    throw InvalidArgument("leaves must be the first ids, but id " +
                          std::to_string(leaf - children.begin()) + " is a leaf and id " +
                          std::to_string(inner - children.begin()) + " is not");
  }
  return leaves;
}

bool check_binary(const Ids& children, std::int64_t leaves, std::optional<bool> binary) {
  if (binary == false) return false;
  const auto wrong =
      std::find_if(children.begin() + leaves, children.end(), [](Id count) { return count != 2; });
  if (wrong != children.end() && binary == true)
    throw InvalidArgument("inner nodes of a binary tree have two children, but id " +
                          std::to_string(wrong - children.begin()) + " has " +
                          std::to_string(*wrong));
  return wrong == children.end();
}

// Codes in the order of ids.
Ids codes_in_order(Numbers parents) {
  Ids next(parents.size(), 0);
  Ids codes(parents.size(), Tree::kNone);
  for (std::size_t id = 0; id < parents.size(); ++id)
    if (parents[id] >= 0) codes[id] = next[index(parents[id])]++;
  return codes;
}

// The given ones, which must be 0 to m - 1, each once, among the m children of an id.
Ids checked_codes(Numbers parents, Numbers given, const Ids& children) {
  if (given.size() != parents.size())
    throw InvalidArgument(std::to_string(parents.size()) + " parents, but " +
                          std::to_string(given.size()) + " codes");
  Ids first(parents.size() + 1, 0);  // of the children of an id, where all stand side by side
  for (std::size_t id = 0; id < parents.size(); ++id) first[id + 1] = first[id] + children[id];
  Ids holder(parents.size() - 1, Tree::kNone);
  Ids codes(parents.size(), Tree::kNone);
  for (std::size_t id = 0; id < parents.size(); ++id) {
    if (parents[id] < 0) continue;
    const std::size_t parent = index(parents[id]);
    if (given[id] < 0 || given[id] >= children[parent])
      throw InvalidArgument("the code of id " + std::to_string(id) + " is " +
                            std::to_string(given[id]) + ", but its parent, id " +
                            std::to_string(parent) + ", has " + std::to_string(children[parent]) +
                            (children[parent] == 1 ? " child" : " children"));
    codes[id] = static_cast<Id>(given[id]);
    Id& other = holder[index(first[parent] + codes[id])];
    if (other != Tree::kNone)
      throw InvalidArgument("ids " + std::to_string(other) + " and " + std::to_string(id) +
                            " both have code " + std::to_string(codes[id]) + " below id " +
                            std::to_string(parent));
    other = static_cast<Id>(id);
  }
  return codes;
}

}  // namespace

Tree Tree::from_parents(Numbers parents, std::optional<bool> binary, std::optional<Numbers> codes) {
  check_ids(std::ssize(parents));
  const Ids children = count_children(parents);
  check_cycles(parents, children);
  check_root(parents);
  const std::int64_t leaves = count_leaves(children);
  const bool is_binary = check_binary(children, leaves, binary);
  Ids code = codes ? checked_codes(parents, *codes, children) : codes_in_order(parents);
  Ids nodes(parents.size(), kNone);
  for (std::size_t id = 0; id < parents.size(); ++id)
    if (parents[id] >= 0) nodes[id] = static_cast<Id>(parents[id] - leaves);
  return {leaves, is_binary, std::move(nodes), std::move(code)};
}

Tree Tree::from_clusters(Numbers labels) {
  check_ids(std::ssize(labels));
  const std::int64_t leaves = std::ssize(labels);
  std::vector<bool> used(labels.size(), false);
  std::int64_t last = 0;
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    const std::int64_t label = labels[index(leaf)];
    if (label < 0)
      throw InvalidArgument("the label of leaf " + std::to_string(leaf) + " is " +
                            std::to_string(label) + ", but clusters are numbered from 0");
    if (label < leaves) used[index(label)] = true;
    last = std::max(last, label);
  }
  const auto empty = std::ranges::find(used, false) - used.begin();
  if (empty <= last)
    throw InvalidArgument("cluster " + std::to_string(empty) + " has no leaf, but cluster " +
                          std::to_string(last) + " has");
  const std::int64_t clusters = last + 1;
  check_ids(leaves + clusters + 1);
  Ids parent(index(leaves + clusters), static_cast<Id>(clusters));
  std::ranges::transform(labels, parent.begin(), [](std::int64_t c) { return static_cast<Id>(c); });
  parent.push_back(kNone);
  Ids next(index(clusters) + 1, 0);
  Ids code(parent.size(), kNone);
  for (std::size_t id = 0; id + 1 < parent.size(); ++id) code[id] = next[index(parent[id])]++;
  return {leaves, false, std::move(parent), std::move(code)};
}

}  // namespace fastsoftmax
