// Partial FC: samples with the same bits everywhere, losses and gradients against their formulas in
// both schedules, scores beyond the domain of the exponential, threads, and what is refused.
// Distributions, autograd and shards are tested from Python.
#include "fastsoftmax/partial_fc.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "float_environment.h"
#include "layers.h"

namespace fs = fastsoftmax;

namespace {

template <class T>
constexpr fs::DType dtype_of = sizeof(T) == 8 ? fs::DType::f64 : fs::DType::f32;

// Rows of a dense matrix of type T.
template <class T>
struct Rows {
  std::vector<T> values;
  std::array<std::int64_t, 2> shape;
  std::array<std::int64_t, 2> strides;

  Rows(std::int64_t rows, std::int64_t columns)
      : values(static_cast<std::size_t>(rows * columns), T(7)),
        shape{rows, columns},
        strides{columns * std::int64_t{sizeof(T)}, sizeof(T)} {}

  T& at(std::int64_t r, std::int64_t c) {
    return values[static_cast<std::size_t>(r * shape[1] + c)];
  }
  double get(std::int64_t r, std::int64_t c) const {
    return static_cast<double>(values[static_cast<std::size_t>(r * shape[1] + c)]);
  }
  double length(std::int64_t r) const {
    double squares = 0.0;
    for (std::int64_t k = 0; k < shape[1]; ++k) squares += get(r, k) * get(r, k);
    return std::sqrt(squares);
  }
  fs::ConstView view() const { return {values.data(), dtype_of<T>, shape, strides}; }
  fs::View out() { return {values.data(), dtype_of<T>, shape, strides}; }
  fs::View out_row() {
    return {values.data(), dtype_of<T>, std::span(shape).last(1), std::span(strides).last(1)};
  }
};

struct Ids {
  std::vector<std::int64_t> values;
  std::array<std::int64_t, 1> shape;
  std::array<std::int64_t, 1> strides{8};

  explicit Ids(std::vector<std::int64_t> ids) : values(std::move(ids)), shape{std::ssize(values)} {}
  fs::ConstView view() const { return {values.data(), fs::DType::i64, shape, strides}; }
};

template <class T>
struct Problem {
  Rows<T> x;
  Rows<T> w;
  Ids targets;

  Problem(std::int64_t rows, std::int64_t classes, std::int64_t depth)
      : x(rows, depth), w(classes, depth), targets({}) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    for (T& v : x.values) v = static_cast<T>(normal(random));
    for (T& v : w.values) v = static_cast<T>(normal(random));
    std::vector<std::int64_t> ids;
    for (std::int64_t r = 0; r < rows; ++r) ids.push_back(r % 5 == 3 ? -100 : r * 37 % classes);
    // One target beyond theta + m = pi.
    for (std::int64_t k = 0; k < depth; ++k) w.at(ids[1], k) = -x.at(1, k);
    w.at(ids[1], 0) += T(0.25);
    targets = Ids(ids);
  }
  fs::LinearLayer layer() const { return {x.view(), w.view(), {}, {tests::multiply, nullptr}}; }
};

template <class T>
struct Results {
  Rows<T> loss;
  Rows<double> max;
  Rows<T> grad_x;
  fs::SparseRows grad_weights;

  explicit Results(const Problem<T>& p)
      : loss(1, p.x.shape[0]), max(1, p.x.shape[0]), grad_x(p.x.shape[0], p.x.shape[1]) {}
  fs::PartialFCOutputs all() {
    fs::PartialFCOutputs out;
    out.loss = loss.out_row();
    out.max = max.out_row();
    out.grad_x = grad_x.out();
    out.grad_weights = &grad_weights;
    return out;
  }
};

// phi and its derivative, by the angle.
std::array<double, 2> phi(const fs::PartialFCOptions& o, double cosine) {
  const double m = o.margin_size;
  if (o.margin == fs::Margin::none) return {cosine, 1.0};
  if (o.margin == fs::Margin::cosface) return {cosine - m, 1.0};
  const double theta = std::acos(cosine);
  if (theta + m >= std::numbers::pi) return {cosine - m * std::sin(m), 1.0};
  return {std::cos(theta + m), std::sin(theta + m) / std::sin(theta)};
}

// Of each row, and gradients of the sum of losses.
template <class T>
void check_formula(const Problem<T>& p, const fs::PartialFC& sample,
                   const fs::PartialFCOptions& options, double tolerance, Results<T>& found) {
  const std::int64_t depth = p.x.shape[1];
  const auto* const of_weights = static_cast<const T*>(found.grad_weights.values());
  std::vector<double> grad_w(sample.ids.size() * static_cast<std::size_t>(depth), 0.0);
  for (std::int64_t r = 0; r < p.x.shape[0]; ++r) {
    const std::int64_t target = sample.remapped_targets[static_cast<std::size_t>(r)];
    std::vector<double> grad_x(static_cast<std::size_t>(depth), 0.0);
    if (target < 0) {
      CHECK(found.loss.get(0, r) == 0.0);
    } else {
      std::vector<double> cosines;
      std::vector<double> z;
      for (std::size_t c = 0; c < sample.ids.size(); ++c) {
        double product = 0.0;
        for (std::int64_t k = 0; k < depth; ++k)
          product += p.x.get(r, k) * p.w.get(sample.ids[c], k);
        cosines.push_back(product / p.x.length(r) / p.w.length(sample.ids[c]));
        z.push_back(options.scale * cosines.back() -
                    (options.log_correction ? sample.log_correction[c] : 0.0));
      }
      const auto t = static_cast<std::size_t>(target);
      const auto margin = phi(options, cosines[t]);
      z[t] = options.scale * margin[0];
      const double max = *std::ranges::max_element(z);
      double sum = 0.0;
      for (const double score : z) sum += std::exp(score - max);
      const double expected = max + std::log(sum) - z[t];
      CHECK(found.loss.get(0, r) == doctest::Approx(expected).epsilon(tolerance * options.scale));
      for (std::size_t c = 0; c < z.size(); ++c) {
        double slope = options.scale * std::exp(z[c] - max) / sum;
        if (c == t) slope = (slope - options.scale) * margin[1];
        for (std::int64_t k = 0; k < depth; ++k) {
          const double x = p.x.get(r, k) / p.x.length(r);
          const double w = p.w.get(sample.ids[c], k) / p.w.length(sample.ids[c]);
          const auto at = static_cast<std::size_t>(k);
          grad_x[at] += slope * (w - cosines[c] * x) / p.x.length(r);
          grad_w[c * static_cast<std::size_t>(depth) + at] +=
              slope * (x - cosines[c] * w) / p.w.length(sample.ids[c]);
        }
      }
    }
    for (std::int64_t k = 0; k < depth; ++k)
      CHECK(std::fabs(found.grad_x.get(r, k) - grad_x[static_cast<std::size_t>(k)]) <=
            30.0 * tolerance * options.scale);
  }
  CHECK(std::ranges::equal(found.grad_weights.ids(), sample.ids));
  for (std::size_t i = 0; i < grad_w.size(); ++i)
    CHECK(std::fabs(static_cast<double>(of_weights[i]) - grad_w[i]) <=
          30.0 * tolerance * options.scale);
}

fs::PartialFC sample_of(const Ids& targets, std::int64_t classes, double rate) {
  fs::PartialFCSampleOptions options;
  options.seed = 11;
  return fs::partial_fc_sample(targets.view(), classes, rate, options);
}

// FNV-1a.
std::uint64_t checksum(const std::vector<std::int64_t>& ids) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const std::int64_t id : ids) {
    auto bits = static_cast<std::uint64_t>(id);
    for (int byte = 0; byte < 8; ++byte, bits >>= 8) sum = (sum ^ (bits & 0xff)) * 0x100000001b3;
  }
  return sum;
}

template <class T>
void check_schedules(double tolerance) {
  const Problem<T> p(30, 2000, 5);
  const fs::PartialFC sample = sample_of(p.targets, 2000, 0.7);
  const Ids ids(sample.ids);
  const std::array<std::int64_t, 1> shape = {std::ssize(sample.ids)};
  const std::array<std::int64_t, 1> strides = {8};
  for (const fs::Margin margin : {fs::Margin::none, fs::Margin::arcface, fs::Margin::cosface}) {
    for (const std::int64_t bytes : {std::int64_t{48} << 20, std::int64_t{0}}) {
      for (const bool unbiased : {false, true}) {
        fs::PartialFCOptions options;
        options.margin = margin;
        options.margin_size = 0.4;
        options.scale = 8.0;
        options.reduction = fs::Reduction::none;
        options.tile_bytes = bytes;
        if (unbiased)
          options.log_correction = {sample.log_correction.data(), fs::DType::f64, shape, strides};
        Results<T> found(p);
        fs::partial_fc_loss(p.layer(), p.targets.view(), ids.view(), found.all(), options);
        check_formula(p, sample, options, tolerance, found);
      }
    }
  }
}

}  // namespace

TEST_CASE("samples have the same bits everywhere") {
  const Ids targets({90, 3, -100, 90, 77});
  const auto sum = [&](std::int64_t classes, double rate) {
    return checksum(sample_of(targets, classes, rate).ids);
  };
  CHECK(sum(100, 0.1) == 10202385987590201672u);
  CHECK(sum(100, 0.9) == 3651645706501845867u);
  CHECK(sum(100000, 0.3) == 6171150020225706146u);
  CHECK(sum(4294967295, 1e-6) == 12860399924913866238u);
  CHECK(sum(100, 0.01) == checksum({3, 77, 90}));
  std::vector<std::int64_t> all(128);
  std::iota(all.begin(), all.end(), 0);
  CHECK(sum(128, 1.0) == checksum(all));
}

TEST_CASE("losses and gradients are those of the formula, in both schedules") {
  check_schedules<double>(1e-13);
  check_schedules<float>(2e-6);
}

TEST_CASE("scores beyond the domain of the exponential") {
  const Problem<double> p(20, 700, 6);
  const fs::PartialFC sample = sample_of(p.targets, 700, 1.0);
  const Ids ids(sample.ids);
  for (const std::int64_t bytes : {std::int64_t{48} << 20, std::int64_t{0}}) {
    fs::PartialFCOptions options;
    options.margin = fs::Margin::arcface;
    options.margin_size = 0.5;
    options.scale = 1e7;
    options.reduction = fs::Reduction::none;
    options.tile_bytes = bytes;
    Results<double> found(p);
    fs::partial_fc_loss(p.layer(), p.targets.view(), ids.view(), found.all(), options);
    CHECK(found.max.get(0, 0) > 2e6);
    check_formula(p, sample, options, 1e-13, found);
  }
}

TEST_CASE("results do not depend on threads") {
  const Problem<float> p(600, 3000, 40);
  const Ids ids(sample_of(p.targets, 3000, 0.5).ids);
  std::vector<Results<float>> found;
  for (const int threads : {1, 2, 5}) {
    fs::PartialFCOptions options;
    options.margin = fs::Margin::arcface;
    options.margin_size = 0.5;
    options.reduction = fs::Reduction::none;
    options.max_threads = threads;
    Results<float>& results = found.emplace_back(p);
    fs::partial_fc_loss(p.layer(), p.targets.view(), ids.view(), results.all(), options);
    CHECK(results.loss.values == found.front().loss.values);
    CHECK(results.grad_x.values == found.front().grad_x.values);
    const auto* const one = static_cast<const float*>(found.front().grad_weights.values());
    const auto* const now = static_cast<const float*>(results.grad_weights.values());
    CHECK(std::equal(now, now + std::ssize(ids.values) * 40, one));
  }
}

TEST_CASE("results do not depend on the caller's rounding mode") {
  const Problem<double> p(20, 300, 6);
  tests::check_in_each_environment([&] {
    const fs::PartialFC sample = sample_of(p.targets, 300, 0.335);  // 100.5 classes
    const Ids ids(sample.ids);
    const std::array<std::int64_t, 1> shape = {std::ssize(sample.ids)};
    const std::array<std::int64_t, 1> strides = {8};
    fs::PartialFCOptions options;
    options.margin = fs::Margin::arcface;
    options.margin_size = 0.5;
    options.reduction = fs::Reduction::none;
    options.log_correction = {sample.log_correction.data(), fs::DType::f64, shape, strides};
    Results<double> found(p);
    fs::partial_fc_loss(p.layer(), p.targets.view(), ids.view(), found.all(), options);
    return std::tuple(sample.ids, sample.log_correction, found.loss.values, found.grad_x.values,
                      tests::bytes_of(found.grad_weights));
  });
}

TEST_CASE("what is refused, before anything is written") {
  const Problem<double> p(4, 20, 3);
  const Ids ids(sample_of(p.targets, 20, 1.0).ids);
  Results<double> found(p);
  const auto refuses = [&](const fs::LinearLayer& layer, const Ids& sample,
                           const fs::PartialFCOutputs& out, const fs::PartialFCOptions& options) {
    CHECK_THROWS_AS(fs::partial_fc_loss(layer, p.targets.view(), sample.view(), out, options),
                    fs::InvalidArgument);
  };
  fs::PartialFCOptions options;
  fs::LinearLayer layer = p.layer();
  refuses(layer, ids, found.all(), options);  // the loss of a mean is a number
  options.reduction = fs::Reduction::none;
  refuses(layer, Ids({0, 5}), found.all(), options);
  refuses(layer, Ids({0, 20}), found.all(), options);
  layer.bias = found.max.view();
  refuses(layer, ids, found.all(), options);
  layer = p.layer();
  layer.matmul = {};
  refuses(layer, ids, found.all(), options);
  layer = p.layer();
  layer.x = found.grad_x.view();
  refuses(layer, ids, found.all(), options);
  layer = p.layer();
  options.max_threads = -1;
  refuses(layer, ids, found.all(), options);
  options.max_threads = 0;
  options.tile_bytes = -1;
  refuses(layer, ids, found.all(), options);
  CHECK(std::ranges::all_of(found.loss.values, [](double v) { return v == 7.0; }));
  CHECK(std::ranges::all_of(found.grad_x.values, [](double v) { return v == 7.0; }));
  CHECK(found.grad_weights.ids().empty());
}
