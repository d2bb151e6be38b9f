// Trees in the terms of tests: walks, random shapes, paths.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "corpus.h"
#include "fastsoftmax/tree.hpp"

namespace tests {

using fastsoftmax::Tree;

using Numbers = std::vector<std::int64_t>;

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

inline Tree::Id id_of(std::int64_t i) { return static_cast<Tree::Id>(i); }

struct Links {
  Numbers parents, codes;
};

inline Links links_of(const Tree& tree) {
  Links links;
  for (std::int64_t id = 0; id < tree.num_leaves() + tree.num_nodes(); ++id) {
    const std::int64_t node = tree.parent(id_of(id));
    links.parents.push_back(node < 0 ? -1 : tree.num_leaves() + node);
    links.codes.push_back(tree.code(id_of(id)));
  }
  return links;
}

// Whether all accessors say what follows from parent() and code().
inline bool is_consistent(const Tree& tree) {
  const std::int64_t leaves = tree.num_leaves();
  const Links links = links_of(tree);
  std::map<std::int64_t, std::map<std::int64_t, std::int64_t>> children;  // id, code, id
  for (std::size_t id = 0; id < links.parents.size(); ++id)
    children[links.parents[id]][links.codes[id]] = static_cast<std::int64_t>(id);
  bool good = children[-1].size() == 1;
  std::vector<std::int64_t> open = {children[-1].begin()->second};
  good = good && (open[0] < leaves ? tree.root() == Tree::kNone : tree.root() == open[0] - leaves);
  std::int64_t position = 0;
  std::size_t node_number = 0;
  std::int64_t max_depth = 0;
  std::map<std::int64_t, std::int64_t> depths = {{-1, -1}};
  while (!open.empty()) {
    const std::int64_t id = open.back();
    open.pop_back();
    const std::int64_t depth = depths[id] = depths[links.parents[at(id)]] + 1;
    if (id < leaves) {
      good = good && tree.leaf_at(id_of(position)) == id &&
             tree.leaf_position(id_of(id)) == position && tree.depth(id) == depth;
      max_depth = std::max(max_depth, depth);
      ++position;
      for (std::int64_t up = links.parents[at(id)]; up >= 0; up = links.parents[at(up)]) {
        const Tree::Id node = id_of(up - leaves);
        good = good && tree.first_leaf(node) < position && position <= tree.end_leaf(node);
      }
      continue;
    }
    const Tree::Id node = id_of(id - leaves);
    good = good && tree.preorder()[node_number++] == node && tree.node_depth(node) == depth &&
           tree.first_leaf(node) == position && tree.children(node).size() == children[id].size();
    std::int64_t code = 0;
    for (const auto& [given, child] : children[id]) {
      good = good && given == code && tree.children(node)[at(code)] == child;
      ++code;
    }
    for (auto child = children[id].rbegin(); child != children[id].rend(); ++child)
      open.push_back(child->second);
  }
  // No range may hold more leaves than those that were found in it.
  std::int64_t in_ranges = 0;
  std::int64_t above_leaves = 0;
  for (std::int64_t node = 0; node < tree.num_nodes(); ++node)
    in_ranges += tree.end_leaf(id_of(node)) - tree.first_leaf(id_of(node));
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) above_leaves += depths[leaf];
  return good && position == leaves && node_number == tree.preorder().size() &&
         tree.max_depth() == max_depth && in_ranges == above_leaves;
}

// Of any shape; nodes have at least `least` and at most `most` children, in random order.
inline Links random_links(Random& random, std::int64_t nodes, std::int64_t least,
                          std::int64_t most) {
  std::vector<std::pair<std::int64_t, std::int64_t>> free;  // inner node, code
  const auto grow = [&](std::int64_t node) {
    const std::int64_t children = least + random.below(most - least + 1);
    for (std::int64_t code = 0; code < children; ++code) free.emplace_back(node, code);
  };
  const auto take = [&] {
    const auto place = free.begin() + random.below(std::ssize(free));
    const auto taken = *place;
    free.erase(place);
    return taken;
  };
  Numbers numbers(at(nodes));
  std::iota(numbers.begin(), numbers.end(), 0);
  for (std::size_t i = numbers.size(); i > 1; --i)
    std::swap(numbers[i - 1], numbers[at(random.below(static_cast<std::int64_t>(i)))]);
  Numbers parents(at(nodes), -1);
  Numbers codes(at(nodes), -1);
  grow(numbers[0]);
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    std::tie(parents[at(numbers[i])], codes[at(numbers[i])]) = take();
    grow(numbers[i]);
  }
  Links links;
  const std::int64_t leaves = std::ssize(free);
  while (!free.empty()) {
    const auto [node, code] = take();
    links.parents.push_back(leaves + node);
    links.codes.push_back(code);
  }
  for (std::size_t i = 0; i < parents.size(); ++i) {
    links.parents.push_back(parents[i] < 0 ? -1 : leaves + parents[i]);
    links.codes.push_back(codes[i]);
  }
  return links;
}

struct Paths {
  std::vector<Numbers> nodes, codes;
};

inline Paths paths_of(const Tree& tree) {
  Paths paths;
  for (std::int64_t leaf = 0; leaf < tree.num_leaves(); ++leaf) {
    Numbers nodes(at(tree.depth(leaf)));
    Numbers codes(nodes.size());
    tree.path(leaf, nodes, codes);
    paths.nodes.push_back(nodes);
    paths.codes.push_back(codes);
  }
  return paths;
}

inline Tree from_paths(const Paths& paths) {
  Numbers nodes, codes;
  Numbers offsets = {0};
  for (std::size_t leaf = 0; leaf < paths.nodes.size(); ++leaf) {
    nodes.insert(nodes.end(), paths.nodes[leaf].begin(), paths.nodes[leaf].end());
    codes.insert(codes.end(), paths.codes[leaf].begin(), paths.codes[leaf].end());
    offsets.push_back(std::ssize(nodes));
  }
  return Tree::from_paths(nodes, codes, offsets);
}

// What is wrong, or nothing.
template <class Make>
std::optional<std::string> refusal(Make make) {
  try {
    make();
  } catch (const fastsoftmax::InvalidArgument& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace tests
