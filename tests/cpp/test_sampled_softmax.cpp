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

#include "fastsoftmax/linear_cross_entropy.hpp"
#include "float_environment.h"
#include "sampled_losses.h"

using namespace tests;

namespace {

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
  Array loss = dense(fs::DType::f64, {p.rows});
  Array grad_x = dense(fs::DType::f64, {p.rows, p.depth});
  Array grad_w = dense(fs::DType::f64, {p.classes, p.depth});
  Array grad_bias = dense(fs::DType::f64, {p.classes});
  fs::LinearCrossEntropyOutputs out;
  out.loss = loss.out();
  out.grad_x = grad_x.out();
  out.grad_w = grad_w.out();
  out.grad_bias = grad_bias.out();
  fs::LinearCrossEntropyOptions options;
  options.loss.reduction = fs::Reduction::none;
  fs::linear_cross_entropy(p.layer(), call.targets.view(), out, options);
  CHECK(difference(numbers_in(g.loss), numbers_in(loss)) <= 1e-14);
  CHECK(difference(numbers_in(g.grad_x), numbers_in(grad_x)) <= 1e-14);
  CHECK(difference(all_rows_of(g.weights, p.classes), numbers_in(grad_w)) <= 1e-14);
  CHECK(difference(all_rows_of(g.bias, p.classes), numbers_in(grad_bias)) <= 1e-14);
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
  says("target 10 of row 1 is out of bounds for classes 0 to 9",
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
