// Trees that the library makes: Huffman codes against a heap, and every accessor against a walk.
#include "fastsoftmax/tree.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>

#include "trees.h"

using namespace tests;
using fastsoftmax::InvalidArgument;
using fastsoftmax::InvalidIndex;

namespace {

// The least sum of count times depth: the sum of all inner nodes that a heap makes.
double least_cost(const Numbers& counts) {
  std::priority_queue<std::int64_t, Numbers, std::greater<>> heap(counts.begin(), counts.end());
  double cost = 0.0;
  while (heap.size() > 1) {
    std::int64_t sum = heap.top();
    heap.pop();
    sum += heap.top();
    heap.pop();
    heap.push(sum);
    cost += static_cast<double>(sum);
  }
  return cost;
}

double cost_of(const Tree& tree, const Numbers& counts) {
  double cost = 0.0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    cost += static_cast<double>(counts[i]) *
            static_cast<double>(tree.depth(static_cast<std::int64_t>(i)));
  return cost;
}

double entropy(const Numbers& counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  double bits = 0.0;
  for (const std::int64_t count : counts) {
    const double p = static_cast<double>(count) / total;
    if (count > 0) bits -= p * std::log2(p);
  }
  return bits;
}

// Nodes in preorder, and leaves in the order of (depth, id).
bool is_canonical(const Tree& tree) {
  for (Tree::Id j = 0; j < tree.num_nodes(); ++j)
    if (tree.preorder()[at(j)] != j) return false;
  for (Tree::Id position = 1; position < tree.num_leaves(); ++position) {
    const Tree::Id before = tree.leaf_at(position - 1);
    const Tree::Id leaf = tree.leaf_at(position);
    if (std::pair(tree.depth(before), before) >= std::pair(tree.depth(leaf), leaf)) return false;
  }
  return true;
}

// Few different ones, zeros, or numbers of all magnitudes.
Numbers random_counts(Random& random, std::int64_t size) {
  Numbers counts(at(size));
  const std::int64_t kind = random.below(4);
  for (std::int64_t& count : counts) {
    if (kind == 0) count = random.below(3);
    if (kind == 1) count = random.chance(0.7) ? 0 : random.below(1000);
    if (kind == 2) count = static_cast<std::int64_t>(random.bits() >> (11 + random.below(50)));
    if (kind == 3) count = 1 + random.below(1 << 20);
  }
  return counts;
}

}  // namespace

TEST_CASE("every number of leaves: Huffman codes and balanced trees") {
  Random random(1);
  for (std::int64_t leaves = 1; leaves <= 300; ++leaves) {
    CAPTURE(leaves);
    Numbers counts = random_counts(random, leaves);
    const Tree tree = Tree::huffman(counts);
    REQUIRE(tree.num_leaves() == leaves);
    REQUIRE(tree.num_nodes() == leaves - 1);
    REQUIRE(tree.num_weights() == leaves - 1);
    REQUIRE(tree.is_binary());
    REQUIRE(is_consistent(tree));
    REQUIRE(is_canonical(tree));
    const double cost = least_cost(counts);
    REQUIRE(cost_of(tree, counts) == doctest::Approx(cost).epsilon(1e-12));
    const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
    if (total > 0.0 && leaves > 1) REQUIRE(cost / total <= entropy(counts) + 1.0);

    std::ranges::sort(counts, std::greater<>());
    const Tree sorted = Tree::huffman(counts);
    const Tree balanced = Tree::balanced(leaves);
    REQUIRE(is_consistent(balanced));
    REQUIRE(is_canonical(balanced));
    REQUIRE(balanced.depth(0) + 1 >= balanced.max_depth());
    for (Tree::Id leaf = 0; leaf < leaves; ++leaf) {
      REQUIRE(sorted.leaf_position(leaf) == leaf);
      REQUIRE(balanced.leaf_position(leaf) == leaf);
    }
    REQUIRE(Tree::huffman(Numbers(at(leaves), random.below(2))) == balanced);
  }
}

TEST_CASE("as deep as a tree can be") {
  Numbers fibonacci = {1, 1};
  while (fibonacci.size() < 88)
    fibonacci.push_back(fibonacci.back() + fibonacci[fibonacci.size() - 2]);
  const Tree code = Tree::huffman(fibonacci);
  CHECK(code.max_depth() == 87);
  CHECK(is_consistent(code));
  CHECK(from_paths(paths_of(code)) == code);

  constexpr std::int64_t leaves = 1'000'000;  // leaf i hangs on node i, the last one on node i - 1
  Numbers parents;
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf)
    parents.push_back(leaves + std::min(leaf, leaves - 2));
  for (std::int64_t node = 0; node < leaves - 1; ++node) parents.push_back(leaves + node - 1);
  parents[at(leaves)] = -1;
  const Tree chain = Tree::from_parents(parents);
  CHECK(chain.is_binary());
  CHECK(chain.max_depth() == leaves - 1);
  CHECK(chain.depth(0) == 1);
  CHECK(chain.node_depth(id_of(leaves - 2)) == leaves - 2);
  CHECK(chain.leaf_position(id_of(leaves - 1)) == leaves - 1);
  CHECK(links_of(chain).parents == parents);
}

TEST_CASE("ties give the smallest greatest depth, and the first of equals the smaller depth") {
  CHECK(Tree::huffman(Numbers{1, 1, 2, 2}).max_depth() == 2);
  CHECK(Tree::huffman(Numbers(1000, 0)).max_depth() == 10);
  const Tree tree = Tree::huffman(Numbers{7, 7, 7});
  CHECK(tree.depth(0) == 1);
  CHECK(tree.depth(1) == 2);
}

TEST_CASE("counts that are refused") {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(Tree::huffman(Numbers{most - 1, 0, 1}).max_depth() == 2);
  CHECK(refusal([] { Tree::huffman(Numbers{most, 1}); }) == "the sum of counts must be below 2^63");
  CHECK(refusal([] { Tree::huffman(Numbers{3, -5}); }) ==
        "counts must not be negative, but count 1 is -5");
  CHECK(refusal([] { Tree::huffman({}); }) == "a tree needs at least one leaf");
  CHECK(refusal([] { Tree::balanced(0); }) == "a tree needs at least one leaf");
  CHECK(refusal([] { Tree::balanced(std::int64_t{1} << 40); }).has_value());
}

TEST_CASE("clusters") {
  const Tree tree = Tree::from_clusters(Numbers{1, 0, 2, 1});
  CHECK(is_consistent(tree));
  CHECK_FALSE(tree.is_binary());
  CHECK(tree.num_nodes() == 4);
  CHECK(tree.num_weights() == 8);
  CHECK(tree.root() == 3);
  CHECK(links_of(tree).parents == Numbers{5, 4, 6, 5, 7, 7, 7, -1});
  CHECK(tree.max_depth() == 2);
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(refusal([] { Tree::from_clusters(Numbers{0, most}); }) ==
        "cluster 1 has no leaf, but cluster 9223372036854775807 has");
  CHECK(refusal([] { Tree::from_clusters(Numbers{0, -1}); }).has_value());
  CHECK(refusal([] { Tree::from_clusters({}); }) == "a tree needs at least one leaf");
}

TEST_CASE("leaves that do not exist, and spans of another length") {
  const Tree tree = Tree::balanced(4);
  CHECK_THROWS_AS(static_cast<void>(tree.depth(4)), InvalidIndex);
  CHECK_THROWS_AS(static_cast<void>(tree.depth(-1)), InvalidIndex);
  Numbers two(2);
  Numbers three(3);
  CHECK_THROWS_AS(tree.path(4, two, two), InvalidIndex);
  CHECK_THROWS_AS(tree.path(0, two, three), InvalidArgument);
}
