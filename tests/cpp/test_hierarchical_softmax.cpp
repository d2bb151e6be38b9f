// Layers of trees: results of binary trees to the bit, from the kernels' parts in the order that
// docs/numerics.md gives; what has to have the same bits; what is refused.
#include "fastsoftmax/hierarchical_softmax.hpp"

#include <numeric>

#include "fastsoftmax/class_softmax.hpp"
#include "layer_kernels.h"
#include "tree_layers.h"

using namespace tests;

namespace {

constexpr std::array kArithmetic = {fs::DType::f32, fs::DType::f64};

std::vector<NamedTree> all_trees() {
  auto trees = binary_trees();
  for (auto& other : other_trees()) trees.push_back(std::move(other));
  return trees;
}

template <class T>
std::vector<T> values_of(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Rows of a dense array.
template <class T>
const T* row_of(const Array& array, std::int64_t row) {
  return reinterpret_cast<const T*>(array.bytes.data()) + row * array.shape[1];
}

// A binary tree's layer by its definition, one example after the other.
template <class T>
class ByDefinition {
 public:
  ByDefinition(const LayerArrays& a, Numbers targets) : a_(a), targets_(std::move(targets)) {
    const auto leaves = static_cast<std::size_t>(a.tree->num_leaves());
    paths_ = paths_of(*a.tree);
    std::vector<std::size_t> order(targets_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) {
      return targets_[i] < 0 ? -1 : a.tree->leaf_position(id_of(targets_[i]));
    });
    terms_.resize(leaves);
    for (const std::size_t i : order) {
      if (targets_[i] < 0) continue;
      const std::size_t leaf = at(targets_[i]);
      for (std::size_t d = 0; d < paths_.nodes[leaf].size(); ++d)
        terms_[at(paths_.nodes[leaf][d])].push_back({i, derivative(i, leaf, d)});
    }
  }

  T log_prob(std::int64_t row, std::int64_t leaf) const {
    double sum = 0.0;
    for (std::size_t d = 0; d < paths_.nodes[at(leaf)].size(); ++d)
      sum += static_cast<double>(step(at(row), at(leaf), d).first);
    return canonical(static_cast<T>(sum));
  }
  void expect(const LossResult& result) const {
    const auto columns = a_.x.shape[1];
    const auto width = static_cast<std::size_t>(columns);
    std::vector<T> loss, grad_x, grad_weights, grad_bias;
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      const bool ignored = targets_[i] < 0;
      loss.push_back(ignored ? T(0) : T(0) - log_prob(static_cast<std::int64_t>(i), targets_[i]));
      const Numbers none;
      const Numbers& nodes = ignored ? none : paths_.nodes[at(targets_[i])];
      for (std::size_t k = 0; k < width; ++k)
        grad_x.push_back(weighted<T>(
            nodes.size(), [&](std::size_t d) { return derivative(i, at(targets_[i]), d); },
            [&](std::size_t d) { return row_of<T>(a_.nodes, nodes[d]); }, k, false, T(0)));
    }
    Numbers ids;
    for (std::size_t node = 0; node < terms_.size(); ++node) {
      const auto& terms = terms_[node];
      if (terms.empty()) continue;
      ids.push_back(static_cast<std::int64_t>(node));
      double of_bias = 0.0;
      for (const auto& [i, c] : terms) of_bias += static_cast<double>(c);
      grad_bias.push_back(static_cast<T>(of_bias));
      for (std::size_t k = 0; k < width; ++k)
        grad_weights.push_back(weighted<T>(
            terms.size(), [&](std::size_t j) { return terms[j].second; },
            [&](std::size_t j) {
              return row_of<T>(a_.x, static_cast<std::int64_t>(terms[j].first));
            },
            k, false, T(0)));
    }
    CHECK(ids == result.ids);
    CHECK(loss == values_of<T>(result.loss));
    CHECK(grad_x == values_of<T>(result.grad_x));
    CHECK(grad_weights == values_of<T>(result.grad_weights));
    CHECK(grad_bias == values_of<T>(result.grad_bias));
  }

 private:
  // log sigma of the score's sign towards the leaf, and its derivative.
  std::pair<T, T> step(std::size_t row, std::size_t leaf, std::size_t d) const {
    const std::int64_t node = paths_.nodes[leaf][d];
    T z = product(row_of<T>(a_.x, static_cast<std::int64_t>(row)), row_of<T>(a_.nodes, node),
                  static_cast<std::size_t>(a_.x.shape[1]));
    if (a_.node_bias) z += reinterpret_cast<const T*>(a_.node_bias->bytes.data())[node];
    const T s = paths_.codes[leaf][d] == 0 ? z : -z;
    std::pair<T, T> of;
    layer_kernels<T>().log_sigmoid(&s, 1, &of.first, &of.second);
    return of;
  }
  T derivative(std::size_t row, std::size_t leaf, std::size_t d) const {
    const T slope = step(row, leaf, d).second;
    return paths_.codes[leaf][d] == 0 ? -slope : slope;
  }

  const LayerArrays& a_;
  Numbers targets_;
  Paths paths_;
  std::vector<std::vector<std::pair<std::size_t, T>>> terms_;  // of nodes: rows, derivatives
};

template <class T>
void check_by_definition(const LayerArrays& a) {
  const std::int64_t rows = a.x.shape[0];
  Numbers targets = random_leaves(*a.tree, rows, 3);
  for (std::int64_t i = 1; i < rows; i += 5) targets[at(i)] = -100;
  const ByDefinition<T> expected(a, targets);
  expected.expect(loss_of(a, targets, with_reduction(fs::Reduction::none)));
  std::vector<T> all;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t leaf = 0; leaf < a.tree->num_leaves(); ++leaf)
      all.push_back(expected.log_prob(r, leaf));
  CHECK(all == values_of<T>(log_probs(a)));
}

Numbers every_leaf(const LayerArrays& a) {
  Numbers ids;
  for (std::int64_t r = 0; r < a.x.shape[0]; ++r)
    for (std::int64_t leaf = 0; leaf < a.tree->num_leaves(); ++leaf) ids.push_back(leaf);
  return ids;
}

// The k first of all leaves in descending order.
template <class T>
void check_topk(const LayerArrays& a, std::int64_t k, double min_log_prob, bool beam) {
  const auto all = values_of<T>(log_probs(a));
  const std::int64_t leaves = a.tree->num_leaves();
  std::vector<T> values;
  Numbers indices;
  for (std::int64_t r = 0; r < a.x.shape[0]; ++r) {
    const T* const row = all.data() + r * leaves;
    Numbers order(at(leaves));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::ranges::stable_sort(order, std::ranges::greater(), [&](std::int64_t i) { return row[i]; });
    for (std::int64_t i = 0; i < k; ++i) {
      const bool out = static_cast<double>(row[order[at(i)]]) < min_log_prob;
      values.push_back(out ? -std::numeric_limits<T>::infinity() : row[order[at(i)]]);
      indices.push_back(out ? -1 : order[at(i)]);
    }
  }
  fs::TreeSearchOptions options;
  options.min_log_prob = min_log_prob;
  options.beam = beam ? leaves : 0;
  const Found found = topk_of(a, k, options);
  const auto got = values_of<T>(found.values);
  CHECK(same(got.data(), values.data(), values.size()));
  CHECK(values_of<std::int64_t>(found.indices) == indices);
}

void set_element(Array& array, std::size_t element, double value) {
  put(array.dtype, array.bytes.data() + element * item_bytes(array.dtype), value);
}

// Equal vectors make ties; NaN and infinities come where they may.
void spoil(LayerArrays& a, int kind) {
  for (Array* array : {&a.nodes, a.leaves ? &*a.leaves : nullptr}) {
    if (array == nullptr) continue;
    if (kind == 0) std::fill(array->bytes.begin(), array->bytes.end(), 0);
    const std::size_t elements = array->bytes.size() / item_bytes(array->dtype);
    const auto columns = static_cast<std::size_t>(array->shape[1]);
    for (std::size_t i = 0; kind == 1 && i < elements; ++i)
      set_element(*array, i, i / columns % 3 == 0 ? 0.5 : 0.25);
    for (std::size_t i = 0; kind == 2 && i < elements; ++i)
      set_element(*array, i, 1e5 * std::sin(static_cast<double>(i)));
    const double others[] = {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity, 3e38};
    for (std::size_t i = 0; kind == 3 && i < elements; i += 37)
      set_element(*array, i, others[i / 37 % 4]);
  }
}

// The same numbers in another layout, byte order and alignment.
Array laid_out(const Array& array, Layout layout, bool swapped, std::size_t margin) {
  const bool vector = array.shape.size() == 1;
  const std::int64_t rows = array.shape[0];
  Array other = matrix(array.dtype, rows, vector ? 1 : array.shape[1], layout);
  if (vector) {
    other.shape = {rows};
    other.strides = {other.strides[0]};
  }
  other.bytes.insert(other.bytes.begin(), margin, 0xa5);
  other.offset += margin;
  other.byteswapped = swapped;
  from_dense(other, to_dense(array));
  return other;
}

LayerArrays laid_out(const LayerArrays& a, Layout layout, bool swapped, std::size_t margin) {
  const auto moved = [&](const std::optional<Array>& array) {
    return array ? std::optional(laid_out(*array, layout, swapped, margin)) : std::nullopt;
  };
  return {a.tree,          *moved(a.x),       *moved(a.nodes), moved(a.node_bias),
          moved(a.leaves), moved(a.leaf_bias)};
}

}  // namespace

TEST_CASE("binary trees: losses, gradients and all leaves by their definition, to the bit") {
  for (const NamedTree& t : binary_trees()) {
    CAPTURE(t.name);
    for (const std::int64_t columns : {0, 1, 17, 40}) {
      for (const bool bias : {false, true}) {
        check_by_definition<float>(random_layer(t.tree, fs::DType::f32, 70, columns, bias));
        check_by_definition<double>(random_layer(t.tree, fs::DType::f64, 33, columns, bias));
      }
    }
  }
}

TEST_CASE("a leaf has the same bits whether it is asked for alone or with all") {
  for (const NamedTree& t : all_trees()) {
    CAPTURE(t.name);
    for (const fs::DType dtype : kArithmetic) {
      for (int kind = -1; kind < 4; ++kind) {
        CAPTURE(kind);
        LayerArrays a = random_layer(t.tree, dtype, 35, 9, kind != 0);
        spoil(a, kind);
        const Bytes all = log_probs(a);
        CHECK(difference(dtype, all, log_probs_of(a, every_leaf(a))) == "");
        const Numbers targets = random_leaves(t.tree, 35, 2);
        Bytes chosen;
        for (std::int64_t r = 0; r < 35; ++r) {
          const std::size_t element = at(r * t.tree.num_leaves() + targets[at(r)]);
          const auto first = all.begin() + static_cast<std::ptrdiff_t>(element * item_bytes(dtype));
          chosen.insert(chosen.end(), first, first + fs::itemsize(dtype));
        }
        CHECK(difference(dtype, chosen, log_probs_of(a, targets)) == "");
        Bytes losses = loss_of(a, targets, with_reduction(fs::Reduction::none)).loss;
        const std::size_t item = item_bytes(dtype);
        for (std::size_t i = 0; i < losses.size(); i += item) {  // -log p, a zero without its sign
          const long double v = get(dtype, &losses[i]);
          if (v != 0 && !std::isnan(v)) losses[i + item - 1] ^= 0x80;
        }
        CHECK(difference(dtype, chosen, losses) == "");
      }
    }
  }
}

TEST_CASE("top-k is the beginning of a sort of all leaves") {
  for (const NamedTree& t : all_trees()) {
    CAPTURE(t.name);
    const std::int64_t leaves = t.tree.num_leaves();
    for (int kind = -1; kind < 3; ++kind) {
      CAPTURE(kind);
      LayerArrays single = random_layer(t.tree, fs::DType::f32, 9, 6, kind == 1);
      LayerArrays twice = random_layer(t.tree, fs::DType::f64, 9, 6, kind == 1);
      spoil(single, kind);
      spoil(twice, kind);
      for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, leaves / 3, leaves}) {
        for (const bool beam : {false, true}) {
          for (const double least : {-kInfinity, -4.0, 0.5}) {
            check_topk<float>(single, k, least, beam);
            check_topk<double>(twice, k, least, beam);
          }
        }
      }
    }
  }
}

TEST_CASE("leaves that are apart only in double are in the order of their ids") {
  // Two leaves on each side; scores so close that results round to the same number.
  const Tree tree = Tree::balanced(4);
  for (const float gap : {1e-4F, -1e-4F, 3e-4F}) {
    LayerArrays a = random_layer(tree, fs::DType::f32, 1, 1, false);
    set_element(a.x, 0, 1.0);
    set_element(a.nodes, 0, -12.0);
    set_element(a.nodes, 1, 0.0);
    set_element(a.nodes, 2, static_cast<double>(gap) * 1e-4);
    for (std::int64_t k = 1; k <= 4; ++k) check_topk<float>(a, k, -kInfinity, false);
  }
}

TEST_CASE("the same bits from any number of threads") {
  for (const NamedTree& t : all_trees()) {
    CAPTURE(t.name);
    for (const fs::DType dtype : kArithmetic) {
      const LayerArrays a = random_layer(t.tree, dtype, 300, 64, true);
      Numbers targets = random_leaves(t.tree, 300, 5);
      targets[7] = -100;
      const LossResult loss = loss_of(a, targets, with_reduction(fs::Reduction::mean, 1));
      const Bytes all = log_probs(a);
      const Found found = topk_of(a, std::min<std::int64_t>(3, t.tree.num_leaves()), {});
      const Bytes drawn = sample_of(a, 11, 2);
      for (const int threads : {2, 3, 8}) {
        CHECK(loss_of(a, targets, with_reduction(fs::Reduction::mean, threads)) == loss);
        CHECK(log_probs(a, threads) == all);
        CHECK(log_probs_of(a, every_leaf(a), threads) == all);
        fs::TreeSearchOptions options;
        options.max_threads = threads;
        CHECK(topk_of(a, std::min<std::int64_t>(3, t.tree.num_leaves()), options) == found);
        CHECK(sample_of(a, 11, 2, threads) == drawn);
      }
    }
  }
}

TEST_CASE("rows have the same results in any batch") {
  for (const NamedTree& t : all_trees()) {
    CAPTURE(t.name);
    const LayerArrays a = random_layer(t.tree, fs::DType::f32, 77, 20, true);
    const Numbers targets = random_leaves(t.tree, 77, 6);
    const LossResult together = loss_of(a, targets, with_reduction(fs::Reduction::none));
    const Bytes all = log_probs(a);
    const std::size_t leaves = 4 * at(t.tree.num_leaves());
    for (const std::int64_t row : {0, 15, 16, 31, 76}) {
      LayerArrays alone = a;
      const std::size_t first = at(row);
      alone.x = dense(fs::DType::f32, {1, 20},
                      Bytes(&a.x.bytes[first * 80], &a.x.bytes[first * 80] + 80));
      const LossResult one = loss_of(alone, {targets[first]}, with_reduction(fs::Reduction::none));
      CHECK(std::equal(one.loss.begin(), one.loss.end(), &together.loss[4 * first]));
      CHECK(std::equal(one.grad_x.begin(), one.grad_x.end(), &together.grad_x[80 * first]));
      const Bytes row_alone = log_probs(alone);
      CHECK(std::equal(row_alone.begin(), row_alone.end(), &all[leaves * first]));
    }
  }
}

TEST_CASE("any layout, byte order and alignment") {
  for (const NamedTree& t : all_trees()) {
    CAPTURE(t.name);
    for (const fs::DType dtype : kFloatTypes) {
      const LayerArrays a = random_layer(t.tree, dtype, 40, 11, true);
      const Numbers targets = random_leaves(t.tree, 40, 8);
      const LossResult loss = loss_of(a, targets, with_reduction(fs::Reduction::none));
      const Bytes all = log_probs(a);
      const Found found = topk_of(a, t.tree.num_leaves(), {});
      const Bytes drawn = sample_of(a, 3, 1);
      for (const Layout layout : kLayouts) {
        for (const bool swapped : {false, true}) {
          const LayerArrays other = laid_out(a, layout, swapped, swapped ? 0 : 1);
          CHECK(loss_of(other, targets, with_reduction(fs::Reduction::none, 2)) == loss);
          CHECK(log_probs(other) == all);
          CHECK(log_probs_of(other, every_leaf(other)) == all);
          CHECK(topk_of(other, t.tree.num_leaves(), {}) == found);
          CHECK(sample_of(other, 3, 1) == drawn);
        }
      }
    }
  }
}
