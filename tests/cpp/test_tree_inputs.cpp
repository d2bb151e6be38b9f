// Trees that others have made: what is accepted of parents and paths against the definition, by
// fuzzing.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>

#include "trees.h"

using namespace tests;

namespace {

// By the definition: places, which are codes from the root on, belong to one node or leaf each, and
// together leave nothing open.
bool are_paths_of_a_tree(const Paths& paths) {
  std::map<Numbers, std::int64_t> inner;
  std::map<std::int64_t, Numbers> place_of;
  std::map<Numbers, std::int64_t> leaves;
  double covered = 0.0;
  for (std::size_t leaf = 0; leaf < paths.nodes.size(); ++leaf) {
    Numbers place;
    if (paths.nodes[leaf].size() != paths.codes[leaf].size()) return false;
    for (std::size_t i = 0; i < paths.nodes[leaf].size(); ++i) {
      const std::int64_t node = paths.nodes[leaf][i];
      if (inner.try_emplace(place, node).first->second != node) return false;
      if (place_of.try_emplace(node, place).first->second != place) return false;
      if (paths.codes[leaf][i] != 0 && paths.codes[leaf][i] != 1) return false;
      place.push_back(paths.codes[leaf][i]);
    }
    covered += std::exp2(-static_cast<double>(place.size()));
    if (!leaves.try_emplace(place, leaf).second) return false;
  }
  for (const auto& [place, leaf] : leaves)
    if (inner.contains(place)) return false;
  return covered == 1.0 &&
         (place_of.empty() ||
          (place_of.begin()->first == 0 && place_of.rbegin()->first == std::ssize(place_of) - 1));
}

bool reaches_root(const Numbers& parents, std::int64_t id) {
  for (std::size_t step = 0; step < parents.size() && id != -1; ++step) id = parents[at(id)];
  return id == -1;
}

bool are_parents_of_a_tree(const Numbers& parents) {
  const std::int64_t ids = std::ssize(parents);
  for (const std::int64_t parent : parents)
    if (parent < -1 || parent >= ids) return false;
  const auto is_leaf = [&](std::int64_t id) { return std::ranges::count(parents, id) == 0; };
  for (std::int64_t id = 0; id < ids; ++id)
    if (!reaches_root(parents, id) || (id > 0 && is_leaf(id) && !is_leaf(id - 1))) return false;
  return std::ranges::count(parents, -1) == 1;
}

}  // namespace

TEST_CASE("trees of any shape, by parents and codes and by paths") {
  Random random(2);
  for (int round = 0; round < 500; ++round) {
    const bool binary = round % 2 == 0;
    const Links links =
        random_links(random, 1 + random.below(60), binary ? 2 : 1, binary ? 2 : 1 + round % 9);
    const Tree tree = Tree::from_parents(links.parents, std::nullopt, links.codes);
    const Links again = links_of(tree);
    REQUIRE(again.parents == links.parents);
    REQUIRE(again.codes == links.codes);
    REQUIRE(is_consistent(tree));
    REQUIRE(is_consistent(Tree::from_parents(links.parents)));
    const Tree softmax = Tree::from_parents(links.parents, false, links.codes);
    REQUIRE(softmax.num_weights() == std::ssize(links.parents));
    REQUIRE((softmax == tree) == !tree.is_binary());
    if (binary) REQUIRE(from_paths(paths_of(tree)) == tree);
  }
}

TEST_CASE("fuzz: parents are accepted where they make a tree") {
  Random random(3);
  int accepted = 0;
  int cycles = 0;
  for (int round = 0; round < 20000; ++round) {
    Numbers parents;
    if (round % 2 == 0) {
      parents = random_links(random, 1 + random.below(8), 1, 3).parents;
      for (std::int64_t change = random.below(3); change > 0; --change)
        parents[at(random.below(std::ssize(parents)))] = random.below(std::ssize(parents) + 3) - 2;
    } else {
      parents.resize(at(1 + random.below(6)));
      for (std::int64_t& parent : parents) parent = random.below(std::ssize(parents) + 1) - 1;
    }
    std::optional<Tree> tree;
    const auto refused = refusal([&] { tree = Tree::from_parents(parents); });
    REQUIRE(tree.has_value() == are_parents_of_a_tree(parents));
    if (tree) REQUIRE(is_consistent(*tree));
    accepted += tree ? 1 : 0;
    if (tree || refused->find("cycle") == std::string::npos) continue;
    ++cycles;  // the id that is named comes back to itself
    const std::int64_t named = std::stoll(refused->substr(3));
    std::int64_t id = parents[at(named)];
    for (std::size_t step = 0; step < parents.size() && id != named; ++step) id = parents[at(id)];
    REQUIRE(id == named);
  }
  CHECK(accepted > 2000);
  CHECK(cycles > 500);
}

TEST_CASE("fuzz: paths are accepted where they make a tree") {
  Random random(4);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const Links links = random_links(random, random.below(6) + 1, 2, 2);
    Paths paths = paths_of(Tree::from_parents(links.parents, true, links.codes));
    for (std::int64_t change = random.below(3); change > 0; --change) {
      const std::size_t leaf = at(random.below(std::ssize(paths.nodes)));
      Numbers& nodes = paths.nodes[leaf];
      Numbers& codes = paths.codes[leaf];
      const std::int64_t kind = random.below(6);
      if (kind == 0 && paths.nodes.size() > 1) {
        paths.nodes.erase(paths.nodes.begin() + static_cast<std::ptrdiff_t>(leaf));
        paths.codes.erase(paths.codes.begin() + static_cast<std::ptrdiff_t>(leaf));
      } else if (kind == 1) {
        std::swap(paths.nodes[leaf], paths.nodes[0]);
        std::swap(paths.codes[leaf], paths.codes[0]);
      } else if (kind == 2) {
        nodes.push_back(random.below(7));
        codes.push_back(random.below(2));
      } else if (!nodes.empty() && kind == 3) {
        nodes[at(random.below(std::ssize(nodes)))] = random.below(8) - 1;
      } else if (!nodes.empty() && kind == 4) {
        codes[at(random.below(std::ssize(codes)))] = random.below(4) - 1;
      } else if (!nodes.empty()) {
        nodes.pop_back();
        codes.pop_back();
      }
    }
    std::optional<Tree> tree;
    const auto refused = refusal([&] { tree = from_paths(paths); });
    REQUIRE(refused.has_value() == !are_paths_of_a_tree(paths));
    if (tree) REQUIRE(is_consistent(*tree));
    accepted += tree ? 1 : 0;
  }
  CHECK(accepted > 2000);
}
