// Linear layers without their scores: against the functions on complete scores, by a product that
// is written out here, and by BLAS where there is one.
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fastsoftmax/cross_entropy.hpp"
#include "fastsoftmax/linear.hpp"
#include "fastsoftmax/linear_cross_entropy.hpp"
#include "fastsoftmax/topk.hpp"
#include "float_environment.h"
#include "layers.h"
#ifdef FASTSOFTMAX_TEST_BLAS
#include "fastsoftmax/blas.hpp"
#endif

using namespace tests;

namespace {

Array doubles(const Shape& shape, const std::vector<double>& values) {
  Array a = dense(fs::DType::f64, shape);
  std::memcpy(a.bytes.data(), values.data(), values.size() * sizeof(double));
  return a;
}
Array floats(fs::DType dtype, const Shape& shape, const std::vector<double>& values) {
  if (dtype == fs::DType::f64) return doubles(shape, values);
  Array a = dense(fs::DType::f32, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto v = static_cast<float>(values[i]);
    std::memcpy(a.bytes.data() + i * sizeof v, &v, sizeof v);
  }
  return a;
}
double value(const Array& a, std::int64_t i) {
  const unsigned char* const p = a.bytes.data() + static_cast<std::size_t>(i) * item_bytes(a.dtype);
  double d = 0;
  float f = 0;
  if (a.dtype == fs::DType::f64) {
    std::memcpy(&d, p, sizeof d);
    return d;
  }
  std::memcpy(&f, p, sizeof f);
  return f;
}
struct Problem {
  std::int64_t rows, classes, depth;
  fs::DType dtype;
  Array x, w, bias, scores;

  Problem(fs::DType type, std::int64_t n, std::int64_t v, std::int64_t d)
      : rows(n), classes(v), depth(d), dtype(type) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const auto values = [&](std::int64_t count) {
      std::vector<double> numbers;
      for (std::int64_t i = 0; i < count; ++i) numbers.push_back(normal(random));
      return numbers;
    };
    x = floats(type, {n, d}, values(n * d));
    w = floats(type, {v, d}, values(v * d));
    bias = floats(type, {v}, values(v));
    compute_scores();
  }

  // As the library forms them: the product rounded, then the bias added.
  void compute_scores() {
    std::vector<double> z;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < classes; ++c) {
        double sum = 0;
        for (std::int64_t i = 0; i < depth; ++i)
          sum += value(x, r * depth + i) * value(w, c * depth + i);
        if (dtype == fs::DType::f64)
          z.push_back(sum + value(bias, c));
        else
          z.push_back(static_cast<float>(sum) + static_cast<float>(value(bias, c)));
      }
    }
    scores = floats(dtype, {rows, classes}, z);
  }

  fs::LinearLayer layer(fs::Matmul matmul = {multiply, nullptr}) const {
    return {x.view(), w.view(), bias.view(), matmul};
  }
};

struct Gradients {
  Array loss, max, logsum, target_logit, x, w, bias;

  explicit Gradients(const Problem& p)
      : loss(dense(p.dtype, {})),
        max(dense(fs::DType::f64, {p.rows})),
        logsum(max),
        target_logit(max),
        x(dense(p.dtype, {p.rows, p.depth})),
        w(dense(p.dtype, {p.classes, p.depth})),
        bias(dense(p.dtype, {p.classes})) {}

  fs::LinearCrossEntropyOutputs all() {
    return {loss.out(), max.out(), logsum.out(), target_logit.out(), x.out(), w.out(), bias.out()};
  }
};

std::vector<std::int64_t> some_targets(const Problem& p) {
  std::vector<std::int64_t> targets;
  for (std::int64_t r = 0; r < p.rows; ++r)
    targets.push_back(r % 3 == 1 ? -100 : r * 37 % p.classes);
  return targets;
}

}  // namespace

TEST_CASE("logsumexp and top-k have the bits of complete scores") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    for (const auto& [rows, classes] : {std::pair{1, 1}, {3, 7}, {35, 2500}, {520, 65}}) {
      const Problem p(dtype, rows, classes, 6);
      Array sums = dense(dtype, {rows});
      fs::linear_logsumexp(p.layer(), sums.out());
      Array expected = dense(dtype, {rows, 1});
      const int axes[] = {1};
      fs::logsumexp(p.scores.view(), expected.out(), axes);
      CHECK(sums.bytes == expected.bytes);

      const std::int64_t k = std::min(classes, 9);
      Array values = dense(dtype, {rows, k});
      Array indices = dense(fs::DType::i64, {rows, k});
      fs::linear_topk(p.layer(), k, values.out(), indices.out(), sums.out());
      Array of_scores = dense(dtype, {rows, k});
      Array at = dense(fs::DType::i64, {rows, k});
      fs::softmax_topk(p.scores.view(), k, 1, of_scores.out(), at.out());
      CHECK(indices.bytes == at.bytes);
      CHECK(sums.bytes == expected.bytes);
      for (std::int64_t i = 0; i < rows * k; ++i)
        CHECK(value(values, i) == doctest::Approx(value(of_scores, i)).epsilon(1e-6));
    }
  }
}

TEST_CASE("both schedules give the loss and gradients of complete scores") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    const Problem p(dtype, 60, 2500, 5);
    const Array targets = integers(some_targets(p));
    const double tolerance = dtype == fs::DType::f64 ? 1e-13 : 2e-6;
    Array loss = dense(dtype, {});
    Array grad = dense(dtype, {p.rows, p.classes});
    fs::CrossEntropyOutputs out;
    out.loss = loss.out();
    out.grad = grad.out();
    fs::cross_entropy(p.scores.view(), targets.view(), 1, out);
    for (const std::int64_t bytes : {std::int64_t{48} << 20, std::int64_t{0}}) {
      Gradients g(p);
      fs::LinearCrossEntropyOptions options;
      options.tile_bytes = bytes;
      fs::linear_cross_entropy(p.layer(), targets.view(), g.all(), options);
      CHECK(g.loss.bytes == loss.bytes);
      for (std::int64_t c = 0; c < p.classes; c += 97) {
        for (std::int64_t d = 0; d < p.depth; ++d) {
          double sum = 0;
          for (std::int64_t r = 0; r < p.rows; ++r)
            sum += value(grad, r * p.classes + c) * value(p.x, r * p.depth + d);
          CHECK(std::fabs(value(g.w, c * p.depth + d) - sum) <= tolerance);
        }
      }
      for (std::int64_t r = 0; r < p.rows; ++r) {
        double sum = 0;
        for (std::int64_t c = 0; c < p.classes; ++c)
          sum += value(grad, r * p.classes + c) * value(p.w, c * p.depth);
        CHECK(std::fabs(value(g.x, r * p.depth) - sum) <= tolerance);
        if (r % 3 == 1) CHECK(value(g.x, r * p.depth) == 0.0);
      }
    }
  }
}

TEST_CASE("results do not depend on threads") {
  const Problem p(fs::DType::f32, 600, 2500, 4);
  const Array targets = integers(some_targets(p));
  std::optional<Gradients> one;
  for (const int threads : {1, 2, 5}) {
    Gradients g(p);
    fs::LinearCrossEntropyOptions options;
    options.loss.max_threads = threads;
    fs::linear_cross_entropy(p.layer(), targets.view(), g.all(), options);
    if (!one) one.emplace(g);
    CHECK(g.loss.bytes == one->loss.bytes);
    CHECK(g.x.bytes == one->x.bytes);
    CHECK(g.w.bytes == one->w.bytes);
    CHECK(g.bias.bytes == one->bias.bytes);
  }
}

TEST_CASE("the host's floating-point environment does not matter") {
  const Problem p(fs::DType::f32, 30, 1500, 4);
  const Array targets = integers(some_targets(p));
  check_in_each_environment([&] {
    Gradients g(p);
    fs::LinearCrossEntropyOptions options;
    options.loss.label_smoothing = 0.1;
    options.loss.z_loss = 1e-3;
    fs::linear_cross_entropy(p.layer(), targets.view(), g.all(), options);
    Array sums = dense(p.dtype, {p.rows});
    fs::linear_logsumexp(p.layer(), sums.out(), {.temperature = 0.7});
    return std::vector{g.loss.bytes, g.logsum.bytes, g.x.bytes,
                       g.w.bytes,    g.bias.bytes,   sums.bytes};
  });
}

TEST_CASE("shards merge into the whole") {
  const Problem p(fs::DType::f64, 20, 2100, 4);
  const Array targets = integers(some_targets(p));
  Gradients whole(p);
  fs::linear_cross_entropy(p.layer(), targets.view(), whole.all());
  std::vector<Gradients> parts;
  const std::int64_t starts[] = {0, 1, 1400, 2100};
  for (std::size_t s = 0; s < 3; ++s) {
    const Shape shape = {starts[s + 1] - starts[s], p.depth};
    fs::LinearLayer layer = p.layer();
    layer.w = {p.w.bytes.data() + starts[s] * p.depth * 8, fs::DType::f64, shape, p.w.strides};
    const Shape of_bias = {shape[0]};
    layer.bias =
        fs::ConstView{p.bias.bytes.data() + starts[s] * 8, fs::DType::f64, of_bias, p.bias.strides};
    fs::LinearCrossEntropyOptions options;
    options.vocab_start = starts[s];
    options.vocab_size = p.classes;
    parts.emplace_back(p);
    fs::LinearCrossEntropyOutputs out;
    out.max = parts.back().max.out();
    out.logsum = parts.back().logsum.out();
    out.target_logit = parts.back().target_logit.out();
    fs::linear_cross_entropy(layer, targets.view(), out, options);
    out.loss = parts.back().loss.out();
    CHECK_THROWS_AS(fs::linear_cross_entropy(layer, targets.view(), out, options),
                    fs::InvalidArgument);
  }
  std::vector<fs::LinearShard> shards;
  for (const Gradients& part : parts)
    shards.push_back({part.max.view(), part.logsum.view(), part.target_logit.view()});
  Gradients merged(p);
  fs::merge_shards(shards, {}, merged.all());
  CHECK(merged.max.bytes == whole.max.bytes);
  CHECK(merged.target_logit.bytes == whole.target_logit.bytes);
  CHECK(value(merged.loss, 0) == doctest::Approx(value(whole.loss, 0)).epsilon(1e-15));
  for (std::int64_t r = 0; r < p.rows; ++r)
    CHECK(value(merged.logsum, r) == doctest::Approx(value(whole.logsum, r)).epsilon(1e-14));
}

TEST_CASE("errors come before anything is written, those of the product as they are") {
  const Problem p(fs::DType::f32, 3, 5, 2);
  Gradients g(p);
  const Bytes untouched = g.w.bytes;
  const auto message = [&](const std::vector<std::int64_t>& targets) -> std::string {
    try {
      fs::linear_cross_entropy(p.layer(), integers(targets).view(), g.all());
    } catch (const fs::InvalidIndex& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message({0, 5, 0}) == "target 5 of row 1 is out of bounds for classes 0 to 4");
  CHECK(message({0, 0, -1}) == "target -1 of row 2 is out of bounds for classes 0 to 4");
  CHECK(g.w.bytes == untouched);
  Array few = dense(fs::DType::f32, {2});
  CHECK_THROWS_AS(fs::linear_logsumexp(p.layer(), few.out()), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::linear_logsumexp(p.layer({}), g.loss.out()), fs::InvalidArgument);
  const fs::Matmul fails{[](void*, const fs::Matrix&, const fs::Matrix&, const fs::Matrix&) {
                           throw std::logic_error("no product");
                         },
                         nullptr};
  CHECK_THROWS_AS(fs::linear_cross_entropy(p.layer(fails), integers({0, 1, 2}).view(), g.all()),
                  std::logic_error);
}

#ifdef FASTSOFTMAX_TEST_BLAS
TEST_CASE("BLAS multiplies") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    const Problem p(dtype, 40, 3000, 33);
    const Array targets = integers(some_targets(p));
    Gradients expected(p);
    Gradients actual(p);
    fs::linear_cross_entropy(p.layer(), targets.view(), expected.all());
    fs::linear_cross_entropy(p.layer(fs::blas_matmul()), targets.view(), actual.all());
    const double tolerance = dtype == fs::DType::f64 ? 1e-13 : 1e-5;
    CHECK(value(actual.loss, 0) == doctest::Approx(value(expected.loss, 0)).epsilon(tolerance));
    for (std::int64_t i = 0; i < p.rows * p.depth; ++i)
      CHECK(std::fabs(value(actual.x, i) - value(expected.x, i)) <= tolerance);
    for (std::int64_t i = 0; i < p.classes * p.depth; ++i)
      CHECK(std::fabs(value(actual.w, i) - value(expected.w, i)) <= tolerance);
  }
}
#endif
