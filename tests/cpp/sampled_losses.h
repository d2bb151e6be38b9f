// Losses over a sample of classes: problems, and calls that are to be changed before they run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "fastsoftmax/sampled_softmax.hpp"
#include "layers.h"

namespace tests {

using Ids = std::vector<std::int64_t>;

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

inline std::vector<double> numbers_in(const Array& a) {
  std::vector<double> numbers;
  const std::size_t item = item_bytes(a.dtype);
  for (std::size_t i = 0; i < a.bytes.size(); i += item)
    numbers.push_back(static_cast<double>(get(a.dtype, a.bytes.data() + i)));
  return numbers;
}
inline Array doubles(const std::vector<double>& values, const Shape& shape) {
  return dense(fs::DType::f64, shape, encode(fs::DType::f64, values));
}

enum class Loss : std::uint8_t { softmax, nce, negative_sampling };

struct Objective {
  Loss loss;
  fs::LogQ logq;  // of the sampled softmax; what the others do
};
inline constexpr Objective kObjectives[] = {{Loss::softmax, fs::LogQ::none},
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

  fs::ClassSample sample() const {
    fs::ClassSample of = {ids.view(), logs.view(), {}};
    if (target_logs.dtype == fs::DType::f64) of.target_log_expected_count = target_logs.view();
    return of;
  }
  fs::SampledLossOutputs outputs() {
    return {results.loss.out(), results.grad_x.out(), &results.weights,
            layer.bias ? &results.bias : nullptr};
  }
  Results& run() {
    const fs::SampledLossOutputs out = outputs();
    switch (objective.loss) {
      case Loss::softmax:
        fs::sampled_softmax_loss(layer, targets.view(), sample(), objective.logq, out, options);
        break;
      case Loss::nce:
        fs::nce_loss(layer, targets.view(), sample(), out, options);
        break;
      case Loss::negative_sampling:
        fs::negative_sampling_loss(layer, targets.view(), sample(), out, options);
        break;
    }
    return results;
  }
};

inline std::vector<double> all_rows_of(const fs::SparseRows& rows, std::int64_t classes) {
  Array all = dense(rows.dtype(), {classes, rows.columns()});
  rows.add_to(all.out());
  return numbers_in(all);
}

// The largest |a - b| / (1 + |b|).
inline double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::fabs(a[i] - b[i]) / (1.0 + std::fabs(b[i])));
  return largest;
}

}  // namespace tests
