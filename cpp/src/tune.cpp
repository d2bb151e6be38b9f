// The constants of the plan, measured. Each is the size at which the plan changes from one way of
// running to another; both ways are timed at sizes on either side of the default, and the constant
// walks, by factors of two, for as long as the way that it does not take is clearly faster.
#include "fastsoftmax/tune.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <random>
#include <utility>

#include "call.h"
#include "execute.h"
#include "tuning.h"
#include "tuning_file.h"

namespace fastsoftmax {
namespace {

using Clock = std::chrono::steady_clock;

// Elements of the largest call: 128 MiB of scores, and as much of results.
constexpr std::int64_t kMostElements = std::int64_t{1} << 25;
// A way that is not faster by so much leaves the constant where it is.
constexpr double kClearly = 0.97;
constexpr int kFewestRounds = 5;
constexpr int kMostRounds = 201;
constexpr int kMostSteps = 3;  // of a constant, each by a factor of two
// After so long without work the pool's threads sleep, as between the calls of a real program.
constexpr std::chrono::microseconds kPause{50};

struct Shape {
  std::int64_t rows;
  std::int64_t length;
  std::int64_t elements() const { return rows * length; }
};

using ShapeOf = Shape (*)(std::int64_t size, const Machine& machine, int threads);

// One constant: what it decides, and calls to which it matters, of which all must gain.
struct Experiment {
  std::string name;
  std::int64_t PlanConstants::* constant;
  std::int64_t lowest;  // with which plans do at every size what they do beyond
  Op op;
  bool pause;
  int threads;
  std::vector<ShapeOf> shapes;
};

constexpr std::int64_t kHighest = std::int64_t{1} << 40;  // a constant that no call exceeds
constexpr std::int64_t kItem = sizeof(float);
constexpr std::int64_t kPairBytes = 2 * kItem;  // an element of x and one of y

// As many rows as make up `bytes` of x and y, and at least as many as there are threads.
Shape batch(std::int64_t row_bytes, std::int64_t bytes, int threads) {
  const std::int64_t length = row_bytes / kPairBytes;
  const std::int64_t elements = std::min(kMostElements, bytes / kPairBytes);
  return {std::max<std::int64_t>(1, elements / (length * threads)) * threads, length};
}

std::vector<Experiment> experiments(int threads) {
  using Constants = PlanConstants;
  // Outputs of `size` bytes.
  const auto stream = [](std::int64_t size, const Machine&, int) {
    return Shape{size / (4096 * kItem), 4096};
  };
  // Rows in work of `size` bytes, in batches that come from memory.
  const auto reload = [](std::int64_t size, const Machine& machine, int n) {
    return batch(size / n, 4 * machine.caches.last_level, n);
  };
  // Rows of `size` bytes in batches that stay in cache, and of a quarter as many from memory.
  const auto recompute = [](std::int64_t size, const Machine& machine, int n) {
    return batch(size, machine.caches.last_level / 4, n);
  };
  const auto recompute_from_memory = [](std::int64_t size, const Machine& machine, int n) {
    return batch(size / 4, 4 * machine.caches.last_level, n);
  };
  // Calls from which on two threads take part.
  const auto share = [](std::int64_t size, const Machine&, int) {
    return Shape{2 * size / 1024, 1024};
  };
  std::vector<Experiment> all = {
      {"stream_bytes", &Constants::stream_bytes, 0, Op::log_softmax, false, threads, {stream}},
      {"reload_bytes", &Constants::reload_bytes, 0, Op::softmax, false, 1, {reload}},
      {"recompute_bytes",
       &Constants::recompute_bytes,
       0,
       Op::log_softmax,
       false,
       1,
       {recompute, recompute_from_memory}}};
  if (threads > 1) {
    all.push_back({"parallel_reload_bytes",
                   &Constants::parallel_reload_bytes,
                   0,
                   Op::softmax,
                   false,
                   threads,
                   {reload}});
    all.push_back({"elements_per_thread",
                   &Constants::elements_per_thread,
                   16 << 10,
                   Op::softmax,
                   true,
                   2,
                   {share}});
  }
  return all;
}

double seconds_of(const Call& call, const Plan& plan, bool pause) {
  if (pause) {
    const auto awake = Clock::now() + kPause;
    while (Clock::now() < awake) {
    }
  }
  const auto start = Clock::now();
  execute(call, plan);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Bench {
 public:
  Bench(const TuneOptions& options, Clock::time_point deadline, Clock::duration per_comparison)
      : options_(options), deadline_(deadline), per_comparison_(per_comparison) {}

  // The constant for which the calls of `experiment` take least, walking from `machine`'s.
  std::int64_t best(const Experiment& experiment, const Machine& machine) {
    const std::int64_t start = machine.constants.*experiment.constant;
    const std::int64_t up = walk(experiment, machine, start, true);
    return up != start ? up : walk(experiment, machine, start, false);
  }

  std::vector<Comparison> comparisons;

 private:
  std::int64_t walk(const Experiment& experiment, const Machine& machine, std::int64_t start,
                    bool up) {
    std::int64_t value = start;
    for (int step = 0; step < kMostSteps; ++step) {
      const std::int64_t next = up ? 2 * value : value / 2;
      const auto between = static_cast<std::int64_t>(
          std::sqrt(static_cast<double>(value) * static_cast<double>(next)));
      if (next < experiment.lowest || !is_faster(experiment, machine, between, up)) break;
      value = next;
    }
    return value;
  }

  // Whether calls of `size` are clearly faster in the way up to the constant (`up`), or beyond.
  bool is_faster(const Experiment& experiment, const Machine& machine, std::int64_t size, bool up) {
    return std::ranges::all_of(experiment.shapes, [&](ShapeOf shape_of) {
      return is_faster(experiment, machine, size, shape_of(size, machine, experiment.threads), up);
    });
  }

  bool is_faster(const Experiment& experiment, const Machine& machine, std::int64_t size,
                 const Shape& shape, bool up) {
    if (shape.rows < 1 || shape.elements() > kMostElements) return false;
    if (Clock::now() >= deadline_) return false;
    prepare();
    const std::array<std::int64_t, 2> dims = {shape.rows, shape.length};
    const std::array<std::int64_t, 2> strides = {shape.length * kItem, kItem};
    const std::array axes = {1};
    const Call call = make_call(experiment.op, {x_.data(), DType::f32, dims, strides},
                                {y_.data(), DType::f32, dims, strides}, axes, {});
    const Plan up_to = plan_with(kHighest, experiment, machine, call);
    const Plan beyond = plan_with(experiment.lowest, experiment, machine, call);
    if (up_to.reason() == beyond.reason()) return false;
    std::vector<double> ratios = measure(call, up_to, beyond, experiment.pause);
    if (ratios.size() < kFewestRounds) return false;
    std::ranges::sort(ratios);
    const auto quantile = [&](std::size_t quarters) {
      return ratios[ratios.size() * quarters / 4];
    };
    comparisons.push_back({experiment.name, size, quantile(2), static_cast<int>(ratios.size())});
    // By the median, and in three rounds of four at all.
    return up ? quantile(2) < kClearly && quantile(3) < 1
              : quantile(2) > 1 / kClearly && quantile(1) > 1;
  }

  static Plan plan_with(std::int64_t value, const Experiment& experiment, Machine machine,
                        const Call& call) {
    machine.constants.*experiment.constant = value;
    return make_plan(call.problem(), Algorithm::automatic, machine, experiment.threads);
  }

  std::vector<double> measure(const Call& call, const Plan& up_to, const Plan& beyond, bool pause) {
    const auto end = std::min(deadline_, Clock::now() + per_comparison_);
    std::vector<double> ratios;
    execute(call, up_to);
    for (int round = 0; round < kMostRounds && Clock::now() < end; ++round) {
      if (options_.between) options_.between();
      std::pair<double, double> times;
      const bool swapped = round % 2 == 1;
      if (swapped) times.second = seconds_of(call, beyond, pause);
      times.first = seconds_of(call, up_to, pause);
      if (!swapped) times.second = seconds_of(call, beyond, pause);
      ratios.push_back(times.first / times.second);
    }
    return ratios;
  }

  // Normal scores of standard deviation 3, a million repeated.
  void prepare() {
    if (!x_.empty()) return;
    x_.resize(static_cast<std::size_t>(kMostElements));
    y_.resize(x_.size());
    const std::size_t period = std::size_t{1} << 20;
    std::minstd_rand random(1);  // NOLINT(bugprone-random-generator-seed): the same every time
    std::normal_distribution<float> normal(0, 3);
    for (std::size_t i = 0; i < period; ++i) x_[i] = normal(random);
    for (std::size_t i = period; i < x_.size(); ++i) x_[i] = x_[i - period];
  }

  const TuneOptions& options_;
  Clock::time_point deadline_;
  Clock::duration per_comparison_;
  std::vector<float> x_, y_;
};

// What would keep the file from being written is found before time is spent on its contents.
void check_storage(const TuningPath& path) {
  if (path.file.empty()) throw InvalidArgument("constants cannot be stored: " + path.reason);
  check_ownership(path);
  const PendingFile writable(path.file);
}

}  // namespace

TuneResult tune(const TuneOptions& options) {
  if (!(options.seconds > 0 && options.seconds <= 3600))
    throw InvalidArgument("seconds must be positive and at most 3600, got " +
                          std::to_string(options.seconds));
  const std::string key = machine_key();
  const TuningPath path = tuning_path(key);
  if (options.save) check_storage(path);

  TuneResult result{machine().constants, {}, {}, {}};
  Machine measured(caches());
  const auto all = experiments(num_threads());
  const auto budget =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
  Bench bench(options, Clock::now() + budget,
              budget / static_cast<int>(all.size()) / (kMostSteps + 1));
  for (const Experiment& experiment : all)
    measured.constants.*experiment.constant = bench.best(experiment, measured);
  result.after = measured.constants;
  result.comparisons = std::move(bench.comparisons);
  if (options.save) {
    PendingFile(path.file).commit(tuning_text(key, result.after));
    result.path = path.file.string();
  }
  set_constants(result.after,
                options.save ? "measured, from " + result.path : "measured, not stored");
  return result;
}

}  // namespace fastsoftmax
