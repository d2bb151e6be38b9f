// Losses over a sample of classes: against their formulas in double, whatever the chunks, the
// threads and the host's floating-point environment; what is refused.
#include "fastsoftmax/sampled_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "float_environment.h"
#include "layers.h"

using namespace tests;

namespace {

using Ids = std::vector<std::int64_t>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::vector<double> numbers_in(const Array& a) {
  std::vector<double> numbers;
  const std::size_t item = item_bytes(a.dtype);
  for (std::size_t i = 0; i < a.bytes.size(); i += item)
    numbers.push_back(static_cast<double>(get(a.dtype, a.bytes.data() + i)));
  return numbers;
}
Array doubles(const std::vector<double>& values, const Shape& shape) {
  return dense(fs::DType::f64, shape, encode(fs::DType::f64, values));
}

enum class Loss : std::uint8_t { softmax, nce, negative_sampling };

struct Objective {
  Loss loss;
  fs::LogQ logq;  // of the sampled softmax; what the others do
};
constexpr Objective kObjectives[] = {{Loss::softmax, fs::LogQ::none},
                                     {Loss::softmax, fs::LogQ::negatives},
                                     {Loss::softmax, fs::LogQ::all},
                                     {Loss::nce, fs::LogQ::all},
                                     {Loss::negative_sampling, fs::LogQ::none}};

struct Problem {
  std::int64_t rows, classes, depth, each;
  Array x, w, bias;
  Ids targets, sample;

  // A few rows are ignored, some classes are in the sample twice, and some are targets.
  Problem(fs::DType dtype, std::int64_t n, std::int64_t v, std::int64_t d, std::int64_t num_true,
          std::int64_t sampled)
      : rows(n), classes(v), depth(d), each(num_true) {
    Random random(5);
    x = random_array(random, dtype, {n, d});
    w = random_array(random, dtype, {v, d});
    bias = random_array(random, dtype, {v});
    for (std::int64_t i = 0; i < n * num_true; ++i) targets.push_back(random.below(v));
    for (std::int64_t r = 3; r < n; r += 5) targets[at(r * num_true)] = -100;
    for (std::int64_t s = 0; s < sampled; ++s) sample.push_back(random.below(v));
  }

  static double log_count(std::int64_t id) { return -1.0 - 0.3 * static_cast<double>(id % 5); }
  bool ignored(std::int64_t r) const { return targets[at(r * each)] == -100; }
  fs::LinearLayer layer() const { return {x.view(), w.view(), bias.view(), {multiply, nullptr}}; }
  Shape targets_shape() const { return each == 1 ? Shape{rows} : Shape{rows, each}; }
};

struct Results {
  Array loss, grad_x;
  fs::SparseRows weights, bias;

  std::vector<Bytes> bytes() const {
    return {loss.bytes, grad_x.bytes, bytes_of(weights), bytes_of(bias)};
  }
};

// Arrays of a call, to be changed before it.
struct Call {
  fs::LinearLayer layer;
  Array ids, logs, targets, target_logs;
  Objective objective;
  fs::SampledLossOptions options;
  Results results;

  Call(const Problem& p, const Objective& o)
      : layer(p.layer()),
        ids(integers(p.sample)),
        targets(integers(p.targets, p.targets_shape())),
        objective(o) {
    const auto logs_of = [](const Ids& classes, const Shape& shape) {
      std::vector<double> values;
      for (const std::int64_t id : classes) values.push_back(Problem::log_count(id));
      return doubles(values, shape);
    };
    logs = logs_of(p.sample, ids.shape);
    target_logs = logs_of(p.targets, targets.shape);
    options.reduction = fs::Reduction::none;
    results = {dense(p.x.dtype, {p.rows}), dense(p.x.dtype, {p.rows, p.depth}), {}, {}};
  }

  Results& run() {
    const fs::SampledLossOutputs out = {results.loss.out(), results.grad_x.out(), &results.weights,
                                        layer.bias ? &results.bias : nullptr};
    fs::ClassSample sample = {ids.view(), logs.view(), {}};
    if (target_logs.dtype == fs::DType::f64) sample.target_log_expected_count = target_logs.view();
    switch (objective.loss) {
      case Loss::softmax:
        fs::sampled_softmax_loss(layer, targets.view(), sample, objective.logq, out, options);
        break;
      case Loss::nce:
        fs::nce_loss(layer, targets.view(), sample, out, options);
        break;
      case Loss::negative_sampling:
        fs::negative_sampling_loss(layer, targets.view(), sample, out, options);
        break;
    }
    return results;
  }
};

double log_sigmoid(double z) { return std::min(z, 0.0) - std::log1p(std::exp(-std::fabs(z))); }

// Of all rows, by the formulas.
struct Expected {
  std::vector<double> loss, x, w, bias;

  Expected(const Problem& p, const Objective& objective, bool remove_hits)
      : loss(at(p.rows)), x(at(p.rows * p.depth)), w(at(p.classes * p.depth)), bias(at(p.classes)) {
    const auto of_x = numbers_in(p.x);
    const auto of_w = numbers_in(p.w);
    const auto of_bias = numbers_in(p.bias);
    const double y = 1.0 / static_cast<double>(p.each);
    for (std::int64_t r = 0; r < p.rows; ++r) {
      if (p.ignored(r)) continue;
      Ids ids(p.targets.begin() + r * p.each, p.targets.begin() + (r + 1) * p.each);
      for (const std::int64_t id : p.sample) {
        const auto targets = ids.begin() + p.each;
        if (!remove_hits || std::find(ids.begin(), targets, id) == targets) ids.push_back(id);
      }
      std::vector<double> z;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const bool target = i < at(p.each);
        z.push_back(of_bias[at(ids[i])]);
        for (std::int64_t k = 0; k < p.depth; ++k)
          z[i] += of_x[at(r * p.depth + k)] * of_w[at(ids[i] * p.depth + k)];
        if (objective.logq == fs::LogQ::all || (objective.logq == fs::LogQ::negatives && !target))
          z[i] -= Problem::log_count(ids[i]);
      }
      double sum = 0.0;
      for (const double score : z) sum += std::exp(score);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const double label = i < at(p.each) ? y : 0.0;
        double derivative = 0.0;
        if (objective.loss == Loss::softmax) {
          loss[at(r)] += label * (std::log(sum) - z[i]);
          derivative = std::exp(z[i]) / sum - label;
        } else {
          loss[at(r)] -= label * log_sigmoid(z[i]) + (1.0 - label) * log_sigmoid(-z[i]);
          derivative = 1.0 / (1.0 + std::exp(-z[i])) - label;
        }
        bias[at(ids[i])] += derivative;
        for (std::int64_t k = 0; k < p.depth; ++k) {
          x[at(r * p.depth + k)] += derivative * of_w[at(ids[i] * p.depth + k)];
          w[at(ids[i] * p.depth + k)] += derivative * of_x[at(r * p.depth + k)];
        }
      }
    }
  }
};

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::fabs(a[i] - b[i]) / (1.0 + std::fabs(b[i])));
  return largest;
}

std::vector<double> all_rows_of(const fs::SparseRows& rows, std::int64_t classes) {
  Array all = dense(rows.dtype(), {classes, rows.columns()});
  rows.add_to(all.out());
  return numbers_in(all);
}

}  // namespace

TEST_CASE("losses over a sample are those of their formulas") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    const double tolerance = dtype == fs::DType::f64 ? 1e-13 : 1e-5;
    for (const std::int64_t each : {1, 3}) {
      const Problem p(dtype, 37, 50, 6, each, 40);
      for (const Objective& objective : kObjectives) {
        for (const bool remove_hits : {true, false}) {
          CAPTURE(name(dtype));
          CAPTURE(each);
          CAPTURE(static_cast<int>(objective.loss));
          CAPTURE(static_cast<int>(objective.logq));
          CAPTURE(remove_hits);
          const Expected expected(p, objective, remove_hits);
          for (const std::int64_t tile_bytes : {0, 2000, 1 << 20}) {
            Call call(p, objective);
            call.options.remove_hits = remove_hits;
            call.options.tile_bytes = tile_bytes;
            const Results& g = call.run();
            CHECK(difference(numbers_in(g.loss), expected.loss) <= tolerance);
            CHECK(difference(numbers_in(g.grad_x), expected.x) <= tolerance);
            CHECK(difference(all_rows_of(g.weights, p.classes), expected.w) <= 10 * tolerance);
            CHECK(difference(all_rows_of(g.bias, p.classes), expected.bias) <= 10 * tolerance);
          }
        }
      }
    }
  }
}

TEST_CASE("every class once, without correction, is the full softmax") {
  Problem p(fs::DType::f64, 20, 30, 4, 1, 0);
  for (std::int64_t id = 0; id < p.classes; ++id) p.sample.push_back(id);
  const Objective objective = {Loss::softmax, fs::LogQ::none};
  Call call(p, objective);
  const Results& g = call.run();
  const auto x = numbers_in(p.x);
  const auto w = numbers_in(p.w);
  const auto bias = numbers_in(p.bias);
  const auto loss = numbers_in(g.loss);
  for (std::int64_t r = 0; r < p.rows; ++r) {
    if (p.ignored(r)) continue;
    double sum = 0.0;
    double of_target = 0.0;
    for (std::int64_t c = 0; c < p.classes; ++c) {
      double z = bias[at(c)];
      for (std::int64_t k = 0; k < p.depth; ++k)
        z += x[at(r * p.depth + k)] * w[at(c * p.depth + k)];
      sum += std::exp(z);
      if (c == p.targets[at(r)]) of_target = z;
    }
    CHECK(loss[at(r)] == doctest::Approx(std::log(sum) - of_target).epsilon(1e-13));
  }
}

TEST_CASE("losses over a sample depend neither on threads nor on the host's environment") {
  for (const std::int64_t each : {1, 2}) {
    const Problem large(fs::DType::f32, 100, 5000, 40, each, 4000);
    const Problem small(fs::DType::f32, 30, 200, 5, each, 100);
    for (const Objective& objective : kObjectives) {
      CAPTURE(static_cast<int>(objective.loss));
      std::optional<std::vector<Bytes>> one;
      for (const int threads : {1, 2, 5}) {
        Call call(large, objective);
        call.options.max_threads = threads;
        const std::vector<Bytes> results = call.run().bytes();
        if (!one) one = results;
        CHECK(results == *one);
      }
      for (const fs::Reduction reduction : {fs::Reduction::none, fs::Reduction::mean}) {
        check_in_each_environment([&] {
          Call call(small, objective);
          call.options.reduction = reduction;
          if (reduction == fs::Reduction::mean) call.results.loss = dense(fs::DType::f32, {});
          return call.run().bytes();
        });
      }
    }
  }
}

TEST_CASE("what losses over a sample refuse, they leave as it was") {
  const Problem p(fs::DType::f32, 4, 10, 3, 1, 6);
  const auto refused = [&](auto change) -> std::string {
    Call call(p, {Loss::softmax, fs::LogQ::all});
    change(call);
    std::fill(call.results.grad_x.bytes.begin(), call.results.grad_x.bytes.end(), 0x55);
    const Bytes before = call.results.grad_x.bytes;
    std::string message;
    try {
      call.run();
    } catch (const fs::InvalidArgument& error) {
      message = error.what();
    }
    CHECK(call.results.grad_x.bytes == before);
    CHECK(call.results.weights.ids().empty());
    return message;
  };
  const auto says = [&](const char* what, auto change) {
    const std::string message = refused(change);
    CAPTURE(message);
    CHECK(message.find(what) != std::string::npos);
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Array few = dense(fs::DType::f32, {9});
  const Array wide = dense(fs::DType::f32, {10, 4});
  says("target 10 of row 1 is out of bounds for 10 classes",
       [](Call& c) { c.targets = integers({0, 10, 2, 3}); });
  says("class -1 of the sample is out of bounds",
       [](Call& c) { c.ids = integers({0, 1, 2, 3, 4, -1}); });
  says("ids of the sample must have 1 dimension",
       [](Call& c) { c.ids = integers({0, 1, 2, 3, 4, 5}, {6, 1}); });
  says("log_expected_count has shape (5,), expected (6,)",
       [](Call& c) { c.logs = doubles({0, 0, 0, 0, 0}, {5}); });
  says("which is in the sample, is -inf",
       [](Call& c) { c.logs = doubles({0, 0, 0, 0, 0, -infinity}, {6}); });
  says("log expected counts of the targets are needed",
       [](Call& c) { c.target_logs = integers({}, {0}); });
  says("the sampler never draws it",
       [](Call& c) { c.target_logs = doubles({-infinity, 0, 0, 0}, {4}); });
  says("expected (N,) or (N, T)", [](Call& c) { c.targets = integers({0, 1, 2}); });
  says("bias has shape (9,)", [&](Call& c) { c.layer.bias = few.view(); });
  says("differ in their last dimension", [&](Call& c) { c.layer.w = wide.view(); });
  says("matmul is not set", [](Call& c) { c.layer.matmul = {}; });
  says("max_threads must not be negative, got -2", [](Call& c) { c.options.max_threads = -2; });
  says("tile_bytes must not be negative, got -1", [](Call& c) { c.options.tile_bytes = -1; });
  says("loss", [](Call& c) { c.options.reduction = fs::Reduction::mean; });
}
