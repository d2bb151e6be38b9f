// Layers of trees: batches of every size, empty ones included, draws, and what is refused.
#include <cmath>
#include <functional>

#include "fastsoftmax/class_softmax.hpp"
#include "tree_layers.h"

using namespace tests;

namespace {

Array rows_of(const Array& array, std::int64_t first, std::int64_t last) {
  const auto row = static_cast<std::ptrdiff_t>(array.strides[0]);
  return dense(array.dtype, {last - first, array.shape[1]},
               Bytes(array.bytes.begin() + first * row, array.bytes.begin() + last * row));
}

// f64 rows by id.
std::map<std::int64_t, std::vector<double>> gradients(const LossResult& result,
                                                      std::int64_t columns) {
  std::map<std::int64_t, std::vector<double>> rows;
  for (std::size_t i = 0; i < result.ids.size(); ++i) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::size_t element = i * at(columns) + at(c);
      rows[result.ids[i]].push_back(load<double>(&result.grad_weights[8 * element]));
    }
    rows[result.ids[i]].push_back(load<double>(&result.grad_bias[8 * i]));
  }
  return rows;
}

// A batch that is taken in several chunks has the gradients of its halves, which are not.
void check_halves(const Tree& tree, const Numbers& targets) {
  constexpr std::int64_t columns = 3;
  const auto rows = static_cast<std::int64_t>(targets.size());
  const LayerArrays a = random_layer(tree, fs::DType::f64, rows, columns, true);
  const LossResult whole = loss_of(a, targets, with_reduction(fs::Reduction::sum));
  auto of_whole = gradients(whole, columns);
  double loss = load<double>(whole.loss.data());
  double largest = 0.0;
  for (const auto& [id, row] : of_whole)
    for (const double v : row) largest = std::max(largest, std::fabs(v));
  CHECK(largest > 0.1);
  Bytes grad_x;
  for (const auto& [first, last] :
       {std::pair<std::int64_t, std::int64_t>{0, rows / 2}, {rows / 2, rows}}) {
    LayerArrays half = a;
    half.x = rows_of(a.x, first, last);
    const LossResult of_half =
        loss_of(half, Numbers(targets.begin() + first, targets.begin() + last),
                with_reduction(fs::Reduction::sum));
    grad_x.insert(grad_x.end(), of_half.grad_x.begin(), of_half.grad_x.end());
    loss -= load<double>(of_half.loss.data());
    for (const auto& [id, row] : gradients(of_half, columns))
      for (std::size_t c = 0; c < row.size(); ++c) of_whole[id][c] -= row[c];
  }
  CHECK(grad_x == whole.grad_x);
  CHECK(std::fabs(loss) <= 1e-12 * load<double>(whole.loss.data()));
  Tally tally;
  for (const auto& [id, row] : of_whole) {
    for (const double v : row)
      tally.expect(std::fabs(v) <= 1e-12 * largest, [&, id = id] { return std::to_string(id); });
  }
  CHECK(tally.checked() == (columns + 1) * std::ssize(whole.ids));
}

// What a call is refused with.
std::string refusal_of(const std::function<void()>& call) {
  const auto text = refusal(call);
  return text ? *text : "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

struct Outputs {
  Array loss, grad_x, all, values, indices, visited, drawn;

  explicit Outputs(const LayerArrays& a)
      : loss(dense(a.dtype(), {a.x.shape[0]})),
        grad_x(dense(a.dtype(), a.x.shape)),
        all(dense(a.dtype(), {a.x.shape[0], a.tree->num_leaves()})),
        values(dense(a.dtype(), {a.x.shape[0], 2})),
        indices(dense(fs::DType::i64, {a.x.shape[0], 2})),
        visited(dense(fs::DType::i64, {a.x.shape[0]})),
        drawn(dense(fs::DType::i64, {a.x.shape[0]})) {}
};

}  // namespace

TEST_CASE("batches that are taken in chunks") {
  const Tree deep = chain(3000);
  check_halves(deep, Numbers(400, 3000));
  Numbers targets = random_leaves(deep, 900, 3);
  check_halves(deep, targets);
  // A softmax over 3000 leaves at one node, and over 40 at others.
  Numbers labels(4000, 0);
  for (std::size_t i = 3000; i < labels.size(); ++i)
    labels[i] = 1 + static_cast<std::int64_t>(i % 25);
  const Tree clusters = Tree::from_clusters(labels);
  targets = random_leaves(clusters, 700, 4);
  check_halves(clusters, targets);
}

TEST_CASE("chains as deep as leaves are many") {
  const Tree tree = chain(20000);
  const LayerArrays a = random_layer(tree, fs::DType::f64, 2, 5, false);
  const Bytes all = log_probs(a);
  for (std::size_t r = 0; r < 2; ++r) {
    double sum = 0.0;
    for (std::size_t leaf = 0; leaf < 20001; ++leaf)
      sum += std::exp(load<double>(&all[8 * (r * 20001 + leaf)]));
    CHECK(std::fabs(sum - 1.0) < 1e-12);
  }
  CHECK(log_probs_of(a, {20000, 0, 17, 19999}).size() == 4 * 8);
  const Bytes drawn = sample_of(a, 1, 0);
  CHECK(load<std::int64_t>(drawn.data()) <= 20000);
}

TEST_CASE("no rows, no columns, everything ignored") {
  for (auto trees : {binary_trees(), other_trees()}) {
    for (const NamedTree& t : trees) {
      CAPTURE(t.name);
      const LayerArrays empty = random_layer(t.tree, fs::DType::f32, 0, 5, true);
      fs::TreeLossOptions options;
      const LossResult nothing = loss_of(empty, {}, options);
      CHECK(std::isnan(load<float>(nothing.loss.data())));
      CHECK(nothing.ids.empty());
      CHECK(log_probs(empty).empty());
      CHECK(log_probs_of(empty, {}).empty());
      CHECK(topk_of(empty, 1, {}).values.empty());
      CHECK(sample_of(empty, 1, 1).empty());

      const LayerArrays a = random_layer(t.tree, fs::DType::f32, 3, 4, true);
      const LossResult ignored = loss_of(a, Numbers(3, -100), options);
      CHECK(std::isnan(load<float>(ignored.loss.data())));
      CHECK(ignored.grad_x == Bytes(3 * 4 * 4, 0));
      CHECK(ignored.ids.empty());
      options.reduction = fs::Reduction::sum;
      CHECK(loss_of(a, Numbers(3, -100), options).loss == Bytes(4, 0));
      options.ignore_index = 0;
      CHECK(loss_of(a, Numbers(3, 0), options).loss == Bytes(4, 0));

      // Without columns scores are biases, the same for all rows.
      const LayerArrays bare = random_layer(t.tree, fs::DType::f64, 2, 0, true);
      const Bytes all = log_probs(bare);
      CHECK(Bytes(all.begin(), all.begin() + std::ssize(all) / 2) ==
            Bytes(all.begin() + std::ssize(all) / 2, all.end()));
      CHECK(loss_of(bare, {0, 0}, {}).grad_weights.empty());
    }
  }
}

TEST_CASE("draws are those of the row's own random numbers") {
  const Tree tree = random_tree(9, 60, 1, 4);
  const LayerArrays a = random_layer(tree, fs::DType::f32, 500, 3, true);
  const Bytes drawn = sample_of(a, 5, 7);
  CHECK(sample_of(a, 5, 7) == drawn);
  CHECK(sample_of(a, 5, 8) != drawn);
  CHECK(sample_of(a, 6, 7) != drawn);
  CHECK(sample_of(a, (std::uint64_t{1} << 32) + 5, 7) != drawn);
  LayerArrays first = a;
  first.x = rows_of(a.x, 0, 100);
  CHECK(sample_of(first, 5, 7) == Bytes(drawn.begin(), drawn.begin() + 800));
}

TEST_CASE("arrays that do not fit are refused") {
  const Tree binary = Tree::balanced(4);
  const Tree other = Tree::from_clusters(Numbers{0, 0, 1, 1});
  const LayerArrays a = random_layer(binary, fs::DType::f32, 3, 5, true);
  const LayerArrays b = random_layer(other, fs::DType::f32, 3, 5, true);
  const auto refused = [](const fs::TreeLayer& layer) {
    Array out = dense(fs::DType::f32, {3, 4});
    return refusal_of([&] { fs::hierarchical_log_prob(layer, out.out()); });
  };
  const auto changed = [&](const LayerArrays& from, const std::function<void(LayerArrays&)>& how) {
    LayerArrays arrays = from;
    how(arrays);
    return refused(arrays.layer());
  };
  Random random(1);
  const auto floats = [&](const Shape& shape) {
    return random_array(random, fs::DType::f32, shape, 1.0);
  };
  fs::TreeLayer nothing = a.layer();
  nothing.tree = nullptr;
  CHECK(has(refused(nothing), "the layer has no tree"));
  CHECK(has(changed(a, [&](auto& c) { c.x = floats({5}); }), "x must have 2 dimensions"));
  CHECK(has(changed(a, [&](auto& c) { c.nodes = floats({2, 5}); }),
            "node weights have shape (2, 5), expected (3, 5)"));
  CHECK(has(changed(a, [&](auto& c) { c.nodes = floats({3, 4}); }), "expected (3, 5)"));
  CHECK(has(changed(a, [&](auto& c) { c.nodes = floats({3}); }), "expected (3, 5)"));
  CHECK(has(changed(a, [&](auto& c) { c.node_bias = floats({4}); }),
            "node bias has shape (4,), expected (3,)"));
  CHECK(
      has(changed(a, [&](auto& c) { c.leaves = floats({4, 5}); }), "binary tree have no weights"));
  CHECK(
      has(changed(a, [&](auto& c) { c.leaf_bias = floats({4}); }), "binary tree have no weights"));
  CHECK(has(changed(b, [&](auto& c) { c.leaves.reset(); }), "no weights of leaves"));
  CHECK(has(changed(b, [&](auto& c) { c.leaves = floats({3, 5}); }),
            "leaf weights have shape (3, 5), expected (4, 5)"));
  CHECK(has(changed(b, [&](auto& c) { c.leaf_bias.reset(); }), "but not of both"));
  CHECK(has(changed(b, [&](auto& c) { c.leaf_bias = floats({4, 1}); }), "leaf bias has shape"));
  CHECK(refused(a.layer()).empty());
  CHECK(refused(b.layer()).empty());
  // The root is the last node of a tree of clusters: its row may be there or not.
  CHECK(changed(b, [&](auto& c) {
          c.nodes = floats({2, 5});
          c.node_bias = floats({2});
        }).empty());
}

TEST_CASE("ids, options and outputs that are wrong are refused before anything is written") {
  const Tree tree = Tree::balanced(4);
  const LayerArrays a = random_layer(tree, fs::DType::f32, 3, 5, true);
  Outputs out(a);
  const Bytes untouched = out.loss.bytes;
  const auto losses = [&](const Numbers& targets, const fs::View& to, const fs::View& grad_x,
                          const fs::TreeLossOptions& options =
                              with_reduction(fs::Reduction::none)) {
    const Array wanted = integers(targets, {std::ssize(targets)});
    return refusal_of(
        [&] { fs::hierarchical_loss(a.layer(), wanted.view(), {to, grad_x}, options); });
  };
  const fs::View loss = out.loss.out();
  CHECK(has(losses({0, 4, 0}, loss, {}), "id 4 of row 1 is out of bounds for 4 leaves"));
  CHECK(has(losses({0, 0, -1}, loss, {}), "id -1 of row 2"));
  CHECK(has(losses({0, 0}, loss, {}), "targets have shape (2,) for 3 rows"));
  CHECK(has(losses({0, 0, 0}, out.visited.out(), {}), "loss has dtype int64, expected float32"));
  CHECK(has(losses({0, 0, 0}, out.values.out(), {}), "loss has shape (3, 2), expected (3,)"));
  CHECK(has(losses({0, 0, 0}, loss, out.all.out()), "grad_x has shape (3, 4), expected (3, 5)"));
  fs::View part = loss;
  part.data = out.grad_x.bytes.data() + 8;
  CHECK(has(losses({0, 0, 0}, part, out.grad_x.out()), "grad_x overlaps another array"));
  LayerArrays own = a;
  CHECK(has(refusal_of([&] {
              const Array wanted = integers({0, 1, 2}, {3});
              fs::hierarchical_loss(own.layer(), wanted.view(), {loss, own.x.out()},
                                    with_reduction(fs::Reduction::none));
            }),
            "grad_x overlaps another array"));
  const Array upstream = dense(fs::DType::f64, {2});
  fs::TreeLossOptions with_upstream = with_reduction(fs::Reduction::none);
  with_upstream.grad_out = upstream.view();
  CHECK(has(losses({0, 0, 0}, loss, out.grad_x.out(), with_upstream), "grad_out has shape (2,)"));
  CHECK(has(losses({0, 0, 0}, loss, {}, with_reduction(fs::Reduction::none, -1)),
            "max_threads must not be negative"));
  CHECK(out.loss.bytes == untouched);

  const auto search = [&](std::int64_t k, const fs::View& values, const fs::View& indices,
                          const fs::View& visited, const fs::TreeSearchOptions& options = {}) {
    return refusal_of(
        [&] { fs::hierarchical_topk(a.layer(), k, values, indices, &visited, options); });
  };
  const fs::View values = out.values.out();
  const fs::View indices = out.indices.out();
  const fs::View visited = out.visited.out();
  CHECK(search(2, values, indices, visited).empty());
  CHECK(
      has(search(5, values, indices, visited), "k must be between 0 and the number of leaves, 4"));
  CHECK(has(search(-1, values, indices, visited), "got -1"));
  CHECK(has(search(1, values, indices, visited), "values has shape (3, 2), expected (3, 1)"));
  CHECK(has(search(2, indices, indices, visited), "values has dtype int64"));
  CHECK(has(search(2, values, indices, visited, {.min_log_prob = std::nan("")}), "not be NaN"));
  CHECK(has(search(2, values, indices, visited, {.beam = -1}), "beam"));
  CHECK(has(search(2, values, indices, visited, {.max_threads = -1}), "max_threads"));
  fs::View overlapping = visited;
  overlapping.data = out.indices.bytes.data();
  CHECK(has(search(2, values, indices, overlapping), "visited overlaps another array"));

  const auto log_prob = [&](const Array& ids, const fs::View& to) {
    return refusal_of([&] { fs::hierarchical_log_prob(a.layer(), ids.view(), to); });
  };
  CHECK(log_prob(integers({0, 1, 2}, {3}), loss).empty());
  CHECK(has(log_prob(integers({0, 1}, {2}), loss), "ids have shape (2,) for 3 rows"));
  CHECK(has(log_prob(integers({0, 1, 2}, {3, 1, 1}), loss), "expected (N,) or (N, M)"));
  CHECK(has(log_prob(integers({0, 1, 2}, {3, 1}), loss), "out has shape (3,), expected (3, 1)"));
  CHECK(has(log_prob(integers({0, 1, -100}, {3}), loss), "id -100 of row 2"));
  CHECK(has(refusal_of([&] { fs::hierarchical_sample(a.layer(), 1, 1, values); }),
            "out has dtype float32, expected int64"));
}

TEST_CASE("classes by frequency share the square roots of probabilities") {
  Numbers counts(5000);
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[counts.size() - 1 - i] = 100000 / static_cast<std::int64_t>(i + 1);
  const auto labels = fs::frequency_classes(counts);
  const std::int64_t classes = std::ranges::max(labels) + 1;
  std::vector<double> shares(at(classes), 0.0);
  double total = 0.0;
  double occurrences = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = std::sqrt(static_cast<double>(counts[i]));
    shares[at(labels[i])] += share;
    total += share;
    occurrences += share * share;
    largest = std::max(largest, share);
    if (i == 0) continue;
    CHECK((counts[i] > counts[i - 1] ? labels[i] <= labels[i - 1] : labels[i] >= labels[i - 1]));
  }
  CHECK(std::fabs(static_cast<double>(classes) - total / std::sqrt(occurrences)) < 3.0);
  for (const double share : shares)
    CHECK(std::fabs(share - total / static_cast<double>(classes)) <= 2.5 * largest);
  CHECK(fs::frequency_classes(Numbers{0, 0, 5}, 3) == Numbers{1, 2, 0});
  CHECK(fs::frequency_classes(Numbers{7}) == Numbers{0});
  CHECK(has(refusal_of([] { fs::frequency_classes({}); }), "no counts"));
  CHECK(has(refusal_of([] { fs::frequency_classes(Numbers{1, -2}); }), "word 1 is negative: -2"));
  CHECK(
      has(refusal_of([] { fs::frequency_classes(Numbers{1, 2}, 3); }), "classes must be between"));
}
