// Adaptive softmax: against its formula over complete scores, by a product whose elements do not
// depend on how it is cut, so that results can be compared to the bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fastsoftmax/adaptive_softmax.hpp"
#include "float_environment.h"
#include "layers.h"

using namespace tests;

namespace {

template <class T>
std::vector<T> elements(const Array& a) {
  std::vector<T> values(a.bytes.size() / sizeof(T));
  std::memcpy(values.data(), a.bytes.data(), a.bytes.size());
  return values;
}
// Arrays of a layer of three clusters, with views of them.
template <class T>
struct Layer {
  static constexpr fs::DType dtype = sizeof(T) == 8 ? fs::DType::f64 : fs::DType::f32;
  static constexpr std::int64_t depth = 9, shortlist = 40, classes = 3640;
  static constexpr std::int64_t sizes[] = {60, 1500, 2040};
  static constexpr std::int64_t inputs[] = {5, 3, 1};
  std::int64_t rows;
  Array x, head, bias;
  std::vector<Array> projections, tails;
  std::vector<fs::ConstView> projection_views, tail_views;

  explicit Layer(std::int64_t n) : rows(n) {
    std::mt19937 random(3);
    const auto drawn = [&](const Shape& shape) {
      Array a = dense(dtype, shape);
      std::vector<T> values(a.bytes.size() / sizeof(T));
      std::normal_distribution<double> normal;
      for (T& v : values) v = static_cast<T>(normal(random));
      std::memcpy(a.bytes.data(), values.data(), a.bytes.size());
      return a;
    };
    x = drawn({n, depth});
    head = drawn({shortlist + 3, depth});
    bias = drawn({shortlist + 3});
    for (int i = 0; i < 3; ++i) {
      projections.push_back(drawn({inputs[i], depth}));
      tails.push_back(drawn({sizes[i], inputs[i]}));
    }
    for (const Array& a : projections) projection_views.push_back(a.view());
    for (const Array& a : tails) tail_views.push_back(a.view());
  }

  fs::AdaptiveLayer view(int* calls = nullptr) const {
    return {x.view(), head.view(), bias.view(), projection_views, tail_views, {multiply, calls}};
  }

  static std::int64_t first(int cluster) {
    return shortlist + std::accumulate(sizes, sizes + cluster, std::int64_t{0});
  }
};

std::vector<double> log_softmax(const std::vector<double>& z) {
  const double max = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double v : z) sum += std::exp(v - max);
  std::vector<double> logs;
  for (const double v : z) logs.push_back(v - max - std::log(sum));
  return logs;
}

// The formula, in double.
template <class T>
std::vector<double> log_prob_of_row(const Layer<T>& layer, std::int64_t row) {
  const auto scores = [](const std::vector<double>& x, const Array& w) {
    const auto values = elements<T>(w);
    std::vector<double> z(values.size() / x.size(), 0.0);
    for (std::size_t i = 0; i < values.size(); ++i)
      z[i / x.size()] += x[i % x.size()] * static_cast<double>(values[i]);
    return z;
  };
  const auto all = elements<T>(layer.x);
  const std::vector<double> x(all.begin() + row * layer.depth,
                              all.begin() + (row + 1) * layer.depth);
  std::vector<double> z = scores(x, layer.head);
  const auto bias = elements<T>(layer.bias);
  for (std::size_t c = 0; c < z.size(); ++c) z[c] += static_cast<double>(bias[c]);
  std::vector<double> logs = log_softmax(z);
  const std::vector<double> of_clusters(logs.begin() + layer.shortlist, logs.end());
  logs.resize(static_cast<std::size_t>(layer.shortlist));
  for (std::size_t i = 0; i < 3; ++i) {
    const auto inside = log_softmax(scores(scores(x, layer.projections[i]), layer.tails[i]));
    for (const double log : inside) logs.push_back(log + of_clusters[i]);
  }
  return logs;
}

template <class T>
struct Gradients {
  Array loss, x, head, bias;
  std::vector<Array> projections, tails;
  std::vector<fs::View> projection_views, tail_views;

  explicit Gradients(const Layer<T>& layer)
      : loss(dense(layer.dtype, {})),
        x(layer.x),
        head(layer.head),
        bias(layer.bias),
        projections(layer.projections),
        tails(layer.tails) {}
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  fs::AdaptiveOutputs all() {
    projection_views.clear();
    tail_views.clear();
    for (Array& a : projections) projection_views.push_back(a.out());
    for (Array& a : tails) tail_views.push_back(a.out());
    return {loss.out(), x.out(), head.out(), bias.out(), projection_views, tail_views};
  }
  std::vector<Bytes> bytes() const {
    std::vector<Bytes> all = {loss.bytes, x.bytes, head.bytes, bias.bytes};
    for (const Array& a : projections) all.push_back(a.bytes);
    for (const Array& a : tails) all.push_back(a.bytes);
    return all;
  }
};

std::vector<std::int64_t> some_targets(std::int64_t rows, std::int64_t classes) {
  std::vector<std::int64_t> targets;
  for (std::int64_t r = 0; r < rows; ++r) targets.push_back(r % 5 == 2 ? -100 : r * 577 % classes);
  return targets;
}

template <class T>
Array all_log_probs(const Layer<T>& layer) {
  Array logs = dense(layer.dtype, {layer.rows, layer.classes});
  fs::adaptive_log_prob(layer.view(), {}, logs.out());
  return logs;
}

}  // namespace

TEST_CASE_TEMPLATE("log-probabilities are those of the formula", T, float, double) {
  const Layer<T> layer(20);
  const auto logs = elements<T>(all_log_probs(layer));
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 4e-6;
  for (std::int64_t r = 0; r < layer.rows; ++r) {
    const auto expected = log_prob_of_row(layer, r);
    for (std::size_t c = 0; c < expected.size(); ++c) {
      const double actual =
          static_cast<double>(logs[static_cast<std::size_t>(r) * expected.size() + c]);
      CHECK(std::fabs(actual - expected[c]) <= tolerance * (1 + std::fabs(expected[c])));
    }
  }
}

TEST_CASE_TEMPLATE("loss, chosen classes and top-k have the bits of all log-probabilities", T,
                   float, double) {
  const Layer<T> layer(600);
  const auto logs = elements<T>(all_log_probs(layer));
  const auto at = [&](std::int64_t row, std::int64_t c) {
    return logs[static_cast<std::size_t>(row * layer.classes + c)];
  };

  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < layer.rows * 3; ++i) ids.push_back(i * 1201 % layer.classes);
  Array chosen = dense(layer.dtype, {layer.rows, 3});
  const Array wanted = integers(ids, {layer.rows, 3});
  fs::adaptive_log_prob(layer.view(), wanted.view(), chosen.out());
  const auto values = elements<T>(chosen);
  for (std::size_t i = 0; i < ids.size(); ++i)
    CHECK(values[i] == at(static_cast<std::int64_t>(i) / 3, ids[i]));

  const auto targets = some_targets(layer.rows, layer.classes);
  Array losses = dense(layer.dtype, {layer.rows});
  fs::AdaptiveOutputs out;
  out.loss = losses.out();
  fs::AdaptiveOptions options;
  options.reduction = fs::Reduction::none;
  fs::adaptive_loss(layer.view(), integers(targets).view(), out, options);
  const auto loss = elements<T>(losses);
  for (std::int64_t r = 0; r < layer.rows; ++r) {
    const std::int64_t target = targets[static_cast<std::size_t>(r)];
    const T expected = target < 0 ? T(0) : -at(r, target);
    CHECK(static_cast<double>(loss[static_cast<std::size_t>(r)]) ==
          doctest::Approx(static_cast<double>(expected)).epsilon(sizeof(T) == 8 ? 1e-15 : 1e-7));
  }

  for (const std::int64_t k : {std::int64_t{1}, std::int64_t{45}, layer.classes}) {
    Array top = dense(layer.dtype, {layer.rows, k});
    Array classes = dense(fs::DType::i64, {layer.rows, k});
    fs::adaptive_topk(layer.view(), k, top.out(), classes.out());
    const auto found = elements<T>(top);
    const auto indices = elements<std::int64_t>(classes);
    std::vector<T> sorted;
    for (std::int64_t r = 0; r < layer.rows; r += 7) {
      sorted.assign(logs.begin() + r * layer.classes, logs.begin() + (r + 1) * layer.classes);
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      for (std::int64_t i = 0; i < k; ++i) {
        const auto j = static_cast<std::size_t>(r * k + i);
        CHECK(found[j] == sorted[static_cast<std::size_t>(i)]);
        CHECK(found[j] == at(r, indices[j]));
      }
    }
  }
}

TEST_CASE("gradients are those of finite differences") {
  Layer<double> layer(7);
  const Array targets = integers({0, 39, 40, 99, 100, 3639, -100});
  Gradients<double> g(layer);
  fs::adaptive_loss(layer.view(), targets.view(), g.all());
  const auto check = [&](Array& array, const Array& gradient, std::size_t step) {
    const auto expected = elements<double>(gradient);
    for (std::size_t i = 0; i < expected.size(); i += step) {
      double kept = 0;
      std::memcpy(&kept, array.bytes.data() + i * 8, 8);
      double losses[2];
      for (const int sign : {0, 1}) {
        const double moved = kept + (sign == 0 ? 1e-6 : -1e-6);
        std::memcpy(array.bytes.data() + i * 8, &moved, 8);
        Array loss = dense(fs::DType::f64, {});
        fs::AdaptiveOutputs out;
        out.loss = loss.out();
        fs::adaptive_loss(layer.view(), targets.view(), out);
        losses[sign] = elements<double>(loss)[0];
      }
      std::memcpy(array.bytes.data() + i * 8, &kept, 8);
      CHECK(std::fabs((losses[0] - losses[1]) / 2e-6 - expected[i]) < 1e-8);
    }
  };
  check(layer.x, g.x, 1);
  check(layer.head, g.head, 13);
  check(layer.bias, g.bias, 1);
  for (std::size_t i = 0; i < 3; ++i) {
    check(layer.projections[i], g.projections[i], 1);
    check(layer.tails[i], g.tails[i], 97);
  }
}

TEST_CASE("results depend neither on threads nor on the host's floating-point environment") {
  const auto run = [&](const Layer<float>& layer, int threads) {
    const Array targets = integers(some_targets(layer.rows, layer.classes));
    Gradients<float> g(layer);
    fs::AdaptiveOptions options;
    options.max_threads = threads;
    fs::adaptive_loss(layer.view(), targets.view(), g.all(), options);
    Array logs = dense(layer.dtype, {layer.rows, layer.classes});
    fs::adaptive_log_prob(layer.view(), {}, logs.out(), threads);
    Array top = dense(layer.dtype, {layer.rows, 10});
    Array classes = dense(fs::DType::i64, {layer.rows, 10});
    fs::adaptive_topk(layer.view(), 10, top.out(), classes.out(), threads);
    Array drawn = dense(fs::DType::i64, {layer.rows});
    fs::adaptive_sample(layer.view(), drawn.out(), {{5, {}}, {}, {}}, threads);
    std::vector<Bytes> all = g.bytes();
    all.insert(all.end(), {logs.bytes, top.bytes, classes.bytes, drawn.bytes});
    return all;
  };
  const Layer<float> large(700);
  const std::vector<Bytes> one = run(large, 1);
  for (const int threads : {2, 5}) CHECK(run(large, threads) == one);
  const Layer<float> small(20);
  check_in_each_environment([&] { return run(small, 1); });
}

TEST_CASE("clusters without rows get zeros, and none of the products") {
  const Layer<float> layer(4);
  Gradients<float> g(layer);
  int calls = 0;
  fs::adaptive_loss(layer.view(&calls), integers({0, 1, 2, -100}).view(), g.all());
  CHECK(calls == 3);
  for (const auto& arrays : {g.projections, g.tails}) {
    for (const Array& a : arrays)
      CHECK(std::ranges::all_of(elements<float>(a), [](float v) { return v == 0.0f; }));
  }
  Array top = dense(layer.dtype, {4, 1});
  Array classes = dense(fs::DType::i64, {4, 1});
  Layer<float> sure(4);
  for (std::int64_t c = 0; c < 43; ++c) {
    const float value = c == 7 ? 1e4f : 0.0f;
    std::memcpy(sure.bias.bytes.data() + c * 4, &value, 4);
  }
  calls = 0;
  fs::adaptive_topk(sure.view(&calls), 1, top.out(), classes.out());
  CHECK(calls == 1);
  CHECK(elements<std::int64_t>(classes) == std::vector<std::int64_t>(4, 7));
}

TEST_CASE("top-k of rows without a softmax") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  Layer<float> layer(3);
  const auto set = [](Array& a, std::int64_t i, float v) {
    std::memcpy(a.bytes.data() + i * 4, &v, 4);
  };
  set(layer.x, 0, nan);
  Array top = dense(layer.dtype, {3, 50});
  Array classes = dense(fs::DType::i64, {3, 50});
  fs::adaptive_topk(layer.view(), 50, top.out(), classes.out());
  for (std::size_t i = 0; i < 50; ++i) {
    CHECK(std::isnan(elements<float>(top)[i]));
    CHECK(elements<std::int64_t>(classes)[i] == static_cast<std::int64_t>(i));
  }
  CHECK_FALSE(std::isnan(elements<float>(top)[50]));

  // A cluster that cannot be: its classes come last, in order. One with a NaN comes first.
  Layer<float> other(3);
  set(other.bias, 40, -infinity);
  set(other.tails[1], 4, nan);
  top = dense(other.dtype, {3, other.classes});
  classes = dense(fs::DType::i64, {3, other.classes});
  fs::adaptive_topk(other.view(), other.classes, top.out(), classes.out());
  const auto found = elements<std::int64_t>(classes);
  for (std::int64_t i = 0; i < 60; ++i) {
    CHECK(found[static_cast<std::size_t>(i)] == other.first(1) + i);
    CHECK(found[static_cast<std::size_t>(other.classes - 60 + i)] == 40 + i);
  }
}

TEST_CASE("cutoffs cost no more than any others") {
  std::mt19937 random(11);
  for (int round = 0; round < 20; ++round) {
    const std::int64_t classes = 5 + round;
    std::vector<double> counts;
    for (std::int64_t c = 0; c < classes; ++c)
      counts.push_back(static_cast<double>(random() % 1000) * (c % 3 == 0 ? 40 : 1));
    std::sort(counts.begin(), counts.end(), std::greater<>());
    counts[0] += 1;
    Array given = dense(fs::DType::f64, {classes});
    std::memcpy(given.bytes.data(), counts.data(), counts.size() * 8);
    const fs::AdaptiveCost cost{64, 500, static_cast<double>(random() % 400),
                                static_cast<double>(random() % 9), 3};
    const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
    const auto cost_of = [&](const std::vector<std::int64_t>& ends) {
      const auto product = [&](double rows, double k, double depth) {
        return cost.call + std::max(cost.least, (rows + cost.weights) * k) * (depth + cost.score);
      };
      double sum = product(cost.rows, static_cast<double>(ends[0] + 2), 32);
      for (std::size_t i = 0; i < 2; ++i) {
        const std::int64_t end = i == 0 ? ends[1] : classes;
        const double mass = std::accumulate(counts.begin() + ends[i], counts.begin() + end, 0.0);
        const double rows = cost.rows * mass / all;
        const double depth = i == 0 ? 8 : 2;
        sum += product(rows, static_cast<double>(end - ends[i]), depth) + rows * depth * 32;
      }
      return sum;
    };
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t a = 1; a < classes; ++a) {
      for (std::int64_t b = a + 1; b < classes; ++b) least = std::min(least, cost_of({a, b}));
    }
    CHECK(cost_of(fs::adaptive_cutoffs(given.view(), 32, 2, 4.0, cost)) ==
          doctest::Approx(least).epsilon(1e-12));
  }
}

TEST_CASE("errors say which array does not fit, before anything is written") {
  const Layer<float> layer(3);
  Array out = dense(layer.dtype, {3, layer.classes});
  const Bytes untouched = out.bytes;
  const auto message = [&](const fs::AdaptiveLayer& of) -> std::string {
    try {
      fs::adaptive_log_prob(of, {}, out.out());
    } catch (const fs::InvalidArgument& error) {
      return error.what();
    }
    return "";
  };
  fs::AdaptiveLayer wrong = layer.view();
  const std::vector<fs::ConstView> two(layer.tail_views.begin(), layer.tail_views.begin() + 2);
  wrong.tails = two;
  CHECK(message(wrong) == "there are 3 projections for 2 tails");
  wrong = layer.view();
  wrong.tails = layer.projection_views;
  CHECK(message(wrong) ==
        "tails[0] has shape (5, 9), expected 5 columns as projections[0] has rows");
  wrong = layer.view();
  wrong.head = layer.tails[0].view();
  CHECK(message(wrong) == "head has shape (60, 5), expected 9 columns as x");
  wrong = layer.view();
  wrong.head_bias = layer.x.view();
  CHECK(message(wrong) == "head_bias has shape (3, 9), expected (43,)");
  wrong = layer.view();
  wrong.matmul = {};
  CHECK(message(wrong) == "matmul is not set");
  const Array ids = integers({0, 1, layer.classes});
  Array few = dense(layer.dtype, {3});
  CHECK_THROWS_AS(fs::adaptive_log_prob(layer.view(), ids.view(), few.out()), fs::InvalidIndex);
  Gradients<float> g(layer);
  const Bytes before = g.head.bytes;
  CHECK_THROWS_AS(fs::adaptive_loss(layer.view(), ids.view(), g.all()), fs::InvalidIndex);
  g.x = dense(layer.dtype, {3, 1});
  CHECK_THROWS_AS(fs::adaptive_loss(layer.view(), integers({0, 1, 2}).view(), g.all()),
                  fs::InvalidArgument);
  CHECK(g.head.bytes == before);
  CHECK(out.bytes == untouched);
}
