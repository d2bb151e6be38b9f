// Augment and reduce against its formulas in double, with the same random numbers: losses,
// gradients and the densities of examples, step by step; threads, chunks and the host's
// floating-point environment; what is refused.
#include "fastsoftmax/augment_reduce.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "augmented_noise.h"
#include "float_environment.h"
#include "layers.h"

using namespace tests;

namespace {

using Model = fs::AugmentedModel;
constexpr std::int64_t kRows = 13, kClasses = 30, kDepth = 5, kExamples = 20;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::vector<double> numbers_in(const Array& a) {
  std::vector<double> numbers;
  const std::size_t item = item_bytes(a.dtype);
  for (std::size_t i = 0; i < a.bytes.size(); i += item)
    numbers.push_back(static_cast<double>(get(a.dtype, a.bytes.data() + i)));
  return numbers;
}

struct State {
  std::vector<double> location, scale;
  std::vector<std::int32_t> visits;

  explicit State(Model model)
      : location(at(kExamples)),
        scale(model == Model::softmax ? 0 : at(kExamples), 1.0),
        visits(at(kExamples)) {}
  fs::AugmentReduceState spans() { return {location, scale, visits}; }
  bool operator==(const State&) const = default;
};

struct Results {
  std::vector<double> loss, x, w;  // w: (classes, depth)
};

// Arrays of a step, to be changed before it.
struct Step {
  std::vector<std::int64_t> target_ids, sample_ids, example_ids;
  Array x, w, bias, targets, ids, logs, examples;
  fs::AugmentReduceOptions options;

  explicit Step(fs::DType dtype, Model model) {
    Random random(5);
    x = random_array(random, dtype, {kRows, kDepth});
    w = random_array(random, dtype, {kClasses, kDepth});
    bias = random_array(random, dtype, {kClasses});
    for (std::int64_t r = 0; r < kRows; ++r) {
      target_ids.push_back(r == 4 ? -100 : static_cast<std::int64_t>(random.below(kClasses)));
      example_ids.push_back((r * 7 + 3) % kExamples);
    }
    std::vector<double> log_counts;
    for (int s = 0; s < 25; ++s) {
      sample_ids.push_back(static_cast<std::int64_t>(random.below(kClasses)));
      log_counts.push_back(log_count(sample_ids.back()));
    }
    targets = integers(target_ids);
    ids = integers(sample_ids);
    logs = dense(fs::DType::f64, {25}, encode(fs::DType::f64, log_counts));
    examples = integers(example_ids);
    options.model = model;
    options.seed = 77;
    options.draws = 2;
    options.loss.reduction = fs::Reduction::none;
  }
  static double log_count(std::int64_t id) { return -1.0 + 0.4 * static_cast<double>(id % 5); }

  Results run(State& state) {
    Array loss = dense(x.dtype, {kRows});
    Array grad_x = dense(x.dtype, {kRows, kDepth});
    fs::SparseRows weights;
    const fs::LinearLayer layer = {x.view(), w.view(), bias.view(), {multiply, nullptr}};
    fs::augment_reduce_step(layer, targets.view(), {ids.view(), logs.view(), {}}, examples.view(),
                            state.spans(), {loss.out(), grad_x.out(), &weights, nullptr}, options);
    Results of = {numbers_in(loss), numbers_in(grad_x), std::vector<double>(kClasses * kDepth)};
    for (std::size_t u = 0; u < weights.ids().size(); ++u) {
      for (std::int64_t k = 0; k < kDepth; ++k) {
        const auto i = static_cast<std::int64_t>(u) * kDepth + k;
        of.w[at(weights.ids()[u] * kDepth + k)] =
            static_cast<double>(get(x.dtype, static_cast<const unsigned char*>(weights.values()) +
                                                 at(i) * item_bytes(x.dtype)));
      }
    }
    return of;
  }
};

double log_cdf(Model model, double x) {
  if (model == Model::probit) return std::log(0.5 * std::erfc(-x / std::sqrt(2.0)));
  return std::min(x, 0.0) - std::log1p(std::exp(-std::fabs(x)));
}
double cdf_slope(Model model, double x) {
  if (model == Model::logistic) return 1.0 / (1.0 + std::exp(x));
  return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::acos(-1.0)) /
         (0.5 * std::erfc(-x / std::sqrt(2.0)));
}
double log_density(Model model, double e) {
  return model == Model::probit ? -0.5 * e * e : log_cdf(model, e) + log_cdf(model, -e);
}
double density_slope(Model model, double e) {
  return model == Model::probit ? -e : -std::tanh(0.5 * e);
}

// A row: gaps z_y - z_s of the sample without hits, and their weights.
struct Row {
  std::vector<std::int64_t> classes;
  std::vector<double> gaps, weights;
};

// The step by its formulas.
Results expected_step(const Step& step, State& state) {
  Results of = {std::vector<double>(at(kRows)), std::vector<double>(at(kRows * kDepth)),
                std::vector<double>(at(kClasses * kDepth))};
  const auto x = numbers_in(step.x);
  const auto w = numbers_in(step.w);
  const auto bias = numbers_in(step.bias);
  const Model model = step.options.model;
  const int draws = step.options.draws;
  const auto score = [&](std::int64_t r, std::int64_t c) {
    double z = bias[at(c)];
    for (std::int64_t k = 0; k < kDepth; ++k) z += x[at(r * kDepth + k)] * w[at(c * kDepth + k)];
    return z;
  };
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::int64_t y = step.target_ids[at(r)];
    if (y == -100) continue;
    Row row;
    for (const std::int64_t c : step.sample_ids) {
      if (c == y) continue;
      row.classes.push_back(c);
      row.gaps.push_back(score(r, y) - score(r, c));
      row.weights.push_back(std::exp(-Step::log_count(c)));
    }
    const std::size_t i = at(step.example_ids[at(r)]);
    const double a =
        std::max(step.options.min_step, std::pow(1.0 + state.visits[i], -step.options.decay));
    std::vector<double> derivatives(row.gaps.size());  // with respect to the gaps
    double& location = state.location[i];
    if (model == Model::softmax) {
      double n = 1.0;
      for (std::size_t s = 0; s < row.gaps.size(); ++s)
        n += row.weights[s] * std::exp(-row.gaps[s]);
      const double eta = (1.0 - a) * std::exp(location) + a * n;
      location = std::log(eta);
      of.loss[at(r)] = location - 1.0 + n / eta;
      for (std::size_t s = 0; s < row.gaps.size(); ++s)
        derivatives[s] = -row.weights[s] * std::exp(-row.gaps[s]) / eta;
    } else {
      const fs::NoiseStream random(step.options.seed, static_cast<std::int64_t>(i),
                                   state.visits[i]);
      const auto noise = [&](int number) {
        return model == Model::probit ? fs::NormalNoise::draw(random, number)
                                      : fs::LogisticNoise::draw(random, number);
      };
      double& scale = state.scale[i];
      double shift = 0.0;
      double growth = 0.0;
      for (int d = 0; d < draws; ++d) {
        const double e = location + scale * noise(d);
        double slope = density_slope(model, e) - density_slope(model, noise(d)) / scale;
        for (std::size_t s = 0; s < row.gaps.size(); ++s)
          slope += row.weights[s] * cdf_slope(model, e + row.gaps[s]);
        shift += slope * scale / draws;
        growth += slope * scale * noise(d) / draws;
      }
      const double pi = std::acos(-1.0);
      const bool probit = model == Model::probit;
      shift = std::clamp((probit ? 1.0 : 3.0) * shift, -1.0, 1.0);
      growth = std::clamp((probit ? 0.5 : 9.0 / (3.0 + pi * pi)) * growth, -1.0, 1.0);
      location += a * scale * shift;
      scale *= std::exp(a * growth);
      double bound = std::log(scale);
      for (int d = draws; d < 2 * draws; ++d) {
        const double e = location + scale * noise(d);
        bound += (log_density(model, e) - log_density(model, noise(d))) / draws;
        for (std::size_t s = 0; s < row.gaps.size(); ++s) {
          bound += row.weights[s] * log_cdf(model, e + row.gaps[s]) / draws;
          derivatives[s] -= row.weights[s] * cdf_slope(model, e + row.gaps[s]) / draws;
        }
      }
      of.loss[at(r)] = -bound;
    }
    ++state.visits[i];
    for (std::size_t s = 0; s < row.gaps.size(); ++s) {
      for (std::int64_t k = 0; k < kDepth; ++k) {
        const double of_score = derivatives[s] * x[at(r * kDepth + k)];
        of.w[at(y * kDepth + k)] += of_score;
        of.w[at(row.classes[s] * kDepth + k)] -= of_score;
        of.x[at(r * kDepth + k)] +=
            derivatives[s] * (w[at(y * kDepth + k)] - w[at(row.classes[s] * kDepth + k)]);
      }
    }
  }
  return of;
}

void check_near(const std::vector<double>& found, const std::vector<double>& expected,
                double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(std::fabs(found[i] - expected[i]) <= tolerance * (1.0 + std::fabs(expected[i])));
  }
}

constexpr Model kModels[] = {Model::softmax, Model::probit, Model::logistic};

}  // namespace

TEST_CASE("augment and reduce: visits after the first by their formulas") {
  for (const fs::DType dtype : {fs::DType::f64, fs::DType::f32}) {
    const double tolerance = dtype == fs::DType::f64 ? 1e-12 : 2e-4;
    for (const Model model : kModels) {
      CAPTURE(static_cast<int>(model));
      Step step(dtype, model);
      State state(model);
      step.run(state);
      for (std::int64_t r = 0; r < kRows; ++r)
        CHECK(state.visits[at(step.example_ids[at(r)])] == (r == 4 ? 0 : 1));
      for (int visit = 1; visit < 4; ++visit) {
        State expected_state = state;
        const Results expected = expected_step(step, expected_state);
        const Results found = step.run(state);
        CHECK(state.visits == expected_state.visits);
        check_near(state.location, expected_state.location, tolerance);
        check_near(state.scale, expected_state.scale, tolerance);
        check_near(found.loss, expected.loss, tolerance);
        check_near(found.x, expected.x, 10 * tolerance);
        check_near(found.w, expected.w, 10 * tolerance);
      }
    }
  }
}

TEST_CASE("augment and reduce: a first visit finds the maximum") {
  for (const Model model : {Model::probit, Model::logistic}) {
    for (const double lift : {-40.0, -5.0, 0.0, 5.0, 40.0}) {
      CAPTURE(lift);
      Step step(fs::DType::f64, model);
      auto bias = numbers_in(step.bias);
      std::vector<bool> is_target(at(kClasses));
      for (const std::int64_t y : step.target_ids) {
        if (y >= 0 && !is_target[at(y)]) bias[at(y)] += lift;
        if (y >= 0) is_target[at(y)] = true;
      }
      step.bias.bytes = encode(fs::DType::f64, bias);
      State state(model);
      step.run(state);
      const auto x = numbers_in(step.x);
      const auto w = numbers_in(step.w);
      for (std::int64_t r = 0; r < kRows; ++r) {
        const std::int64_t y = step.target_ids[at(r)];
        if (y < 0) continue;
        const double location = state.location[at(step.example_ids[at(r)])];
        const double scale = state.scale[at(step.example_ids[at(r)])];
        const auto slope_at = [&](double e) {
          double slope = density_slope(model, e);
          for (const std::int64_t c : step.sample_ids) {
            if (c == y) continue;
            double gap = bias[at(y)] - bias[at(c)];
            for (std::int64_t k = 0; k < kDepth; ++k)
              gap += x[at(r * kDepth + k)] * (w[at(y * kDepth + k)] - w[at(c * kDepth + k)]);
            const double t = e + gap;
            // Beyond what log_cdf of this test can do.
            const double tail = t < -30.0 && model == Model::probit ? -t - 1.0 / t : 0.0;
            slope += std::exp(-Step::log_count(c)) * (tail > 0.0 ? tail : cdf_slope(model, t));
          }
          return slope;
        };
        CHECK(slope_at(location - 0.5 * scale) > 0.0);
        CHECK(slope_at(location + 0.5 * scale) < 0.0);
      }
    }
  }
}

TEST_CASE("augment and reduce: chunks, threads and environments do not matter") {
  for (const Model model : kModels) {
    const Step step(fs::DType::f32, model);
    const auto run = [&](int threads, std::int64_t tile_bytes) {
      Step changed = step;
      changed.options.loss.max_threads = threads;
      changed.options.loss.tile_bytes = tile_bytes;
      State state(model);
      changed.run(state);
      Results of = changed.run(state);
      of.loss.insert(of.loss.end(), of.x.begin(), of.x.end());
      of.loss.insert(of.loss.end(), state.location.begin(), state.location.end());
      of.loss.insert(of.loss.end(), state.scale.begin(), state.scale.end());
      return of.loss;
    };
    const auto expected = run(1, std::int64_t{1} << 25);
    CHECK(run(3, std::int64_t{1} << 25) == expected);
    CHECK(run(2, 0) == expected);
    check_in_each_environment([&] { return run(1, 0); });
  }
}

TEST_CASE("augment and reduce: from losses") {
  const std::vector<double> log_n = {2.0, 800.0, 0.25};
  Array losses = dense(fs::DType::f64, {3}, encode(fs::DType::f64, log_n));
  const Array examples = integers({4, 0, 9});
  State state(Model::softmax);
  state.visits = std::vector<std::int32_t>(at(kExamples), 1);
  state.location[0] = 795.0;
  Array loss = dense(fs::DType::f64, {3});
  Array factor = dense(fs::DType::f64, {3});
  fs::AugmentReduceOptions options;
  options.decay = 1.0;
  const auto run = [&] {
    fs::augment_reduce_losses(losses.view(), examples.view(), state.spans(), loss.out(),
                              factor.out(), options);
  };
  run();
  const double expected[] = {std::log(0.5 + 0.5 * std::exp(2.0)),
                             795.0 + std::log(0.5 + 0.5 * std::exp(5.0)),
                             std::log(0.5 + 0.5 * std::exp(0.25))};
  const std::size_t ids[] = {4, 0, 9};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(state.location[ids[i]] == doctest::Approx(expected[i]).epsilon(1e-14));
    CHECK(state.visits[ids[i]] == 2);
    const double ratio = std::exp(log_n[i] - expected[i]);
    CHECK(numbers_in(factor)[i] == doctest::Approx(ratio).epsilon(1e-13));
    CHECK(numbers_in(loss)[i] == doctest::Approx(expected[i] - 1.0 + ratio).epsilon(1e-13));
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const State before = state;
  const auto put = [&](const std::vector<double>& values) {
    losses.bytes = encode(fs::DType::f64, values);
  };
  put({infinity, infinity, infinity});
  run();
  CHECK(numbers_in(loss) == std::vector(3, infinity));
  CHECK(numbers_in(factor) == std::vector(3, 1.0));
  CHECK(state == before);
  put({1.0, -1e-9, 1.0});
  CHECK_THROWS_AS(run(), fs::InvalidArgument);
  CHECK(state == before);
  put({1.0, 1.0, 1.0});
  options.model = Model::probit;
  state.scale.assign(at(kExamples), 1.0);
  CHECK_THROWS_AS(run(), fs::InvalidArgument);
  CHECK(state.location == before.location);
}

TEST_CASE("augment and reduce: without update the state stays") {
  for (const Model model : kModels) {
    Step step(fs::DType::f64, model);
    step.options.update = false;
    State state(model);
    const State before = state;
    const Results first = step.run(state);
    CHECK(state == before);
    step.options.update = true;
    CHECK(step.run(state).loss == first.loss);
    const State visited = state;
    step.options.update = false;
    step.run(state);
    CHECK(state == visited);
  }
}

TEST_CASE("augment and reduce: what is refused leaves the state alone") {
  const auto refused = [](auto change) {
    Step step(fs::DType::f32, Model::probit);
    State state(Model::probit);
    const State before = state;
    change(step, state);
    const State changed = state;
    CHECK_THROWS_AS(step.run(state), fs::InvalidArgument);
    CHECK(state == changed);
  };
  refused([](Step& s, State&) { s.options.decay = -0.1; });
  refused([](Step& s, State&) { s.options.min_step = 1.5; });
  refused([](Step& s, State&) { s.options.draws = 0; });
  refused([](Step& s, State&) { s.options.draws = 33; });
  refused([](Step& s, State&) { s.examples = integers({1, 2, 3}); });
  refused([](Step& s, State&) {
    s.example_ids[2] = kExamples;
    s.examples = integers(s.example_ids);
  });
  refused([](Step& s, State&) {
    s.example_ids[2] = s.example_ids[7];
    s.examples = integers(s.example_ids);
  });
  refused([](Step& s, State&) { s.targets = integers(s.target_ids, {kRows, 1}); });
  refused([](Step&, State& state) { state.scale.pop_back(); });
  refused([](Step& s, State& state) {
    state.visits[at(s.example_ids[0])] = 1;
    state.scale[at(s.example_ids[0])] = -1.0;
  });
  refused([](Step& s, State& state) { state.visits[at(s.example_ids[0])] = -1; });
}
