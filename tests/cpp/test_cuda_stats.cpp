// The CUDA kernels for softmax_stats, run thread block by thread block on this CPU: the bits of the
// library.
#include <cmath>

#include "crew_cases.h"
#include "cuda/stats_arguments.h"
#include "fastsoftmax/stats.hpp"

namespace tests {
namespace {

struct Results {
  std::array<Array, 5> arrays;

  Results(fs::DType dtype, std::int64_t rows)
      : arrays{one(dtype, rows), one(dtype, rows), one(dtype, rows), one(dtype, rows),
               one(dtype, rows)} {}
  fs::SoftmaxStats out() {
    return {arrays[0].out(), arrays[1].out(), arrays[2].out(), arrays[3].out(), arrays[4].out()};
  }

 private:
  static Array one(fs::DType dtype, std::int64_t rows) { return dense(dtype, {rows, 1}); }
};

// Under the device's plan, or without one under every plan that can do it.
void check(Tally& tally, fs::DType dtype, std::int64_t n, Layout layout, const Bytes& x,
           const fs::StatsOptions& options, const fs::StatsOptions& device_options, Random& random,
           const cuda::Device* device = nullptr) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(dtype)) / n;
  Array in = matrix(dtype, rows, n, layout);
  from_dense(in, x);
  Results expected(dtype, rows);
  fs::softmax_stats(in.view(), 1, expected.out(), options);
  Results actual(dtype, rows);
  const cuda::StatsCall call = cuda::stats_call(in.view(), 1, actual.out(), device_options);
  constexpr std::array names = {"max", "logsumexp", "entropy", "top1", "margin"};
  for (const cuda::Plan& plan : device != nullptr ? std::vector{cuda::make_crew_plan(call, *device)}
                                                  : crew_plans(call, random)) {
    for (Array& array : actual.arrays) std::fill(array.bytes.begin(), array.bytes.end(), 0xa5);
    EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
    launch(plan, call, launcher);
    for (std::size_t i = 0; i < names.size(); ++i)
      tally.same(dtype, expected.arrays[i].bytes, actual.arrays[i].bytes, [&] {
        return std::string(names[i]) + " " + std::string(fs::name(dtype)) + " " +
               std::to_string(rows) + " x " + std::to_string(n) + " " + name(layout) +
               (options.where ? ", masked, " : ", ") +
               (options.temperatures ? "temperatures, " : "") + text_of(plan);
      });
  }
}

// Of any kind, with any options.
void check_random(Tally& tally, fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout,
                  Random& random, const cuda::Device* device = nullptr) {
  const Bytes x =
      random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n));
  fs::StatsOptions options;
  if (random.chance(0.3)) options.temperature = random.uniform() + 0.1;
  const Mask mask(random, rows, n, random.uniform());
  if (random.chance(0.3)) options.where = mask.view();
  const Shape per_row = {rows, 1};
  std::vector<double> numbers(static_cast<std::size_t>(rows));
  for (double& t : numbers) t = 0.125 * static_cast<double>(1 + random.below(31));
  const Array temperatures = dense(fs::DType::f64, per_row, encode(fs::DType::f64, numbers));
  const fs::DType type = kFloatTypes[static_cast<std::size_t>(random.below(4))];
  const Array device_temperatures = dense(type, per_row, encode(type, numbers));
  fs::StatsOptions device_options = options;
  if (random.chance(0.3)) {
    options.temperatures = temperatures.view();
    device_options.temperatures = device_temperatures.view();
  }
  check(tally, dtype, n, layout, x, options, device_options, random, device);
}

TEST_CASE("statistics of rows of every length and kind have the bits of the library") {
  Random random(1);
  Tally tally;
  for_each_size(random, 4, 4,
                [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout) {
                  check_random(tally, dtype, rows, n, layout, random);
                });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 2000);
}

// Rows are NaN whatever they hold; their neighbours are not touched.
TEST_CASE("a temperature on the device that is none makes the statistics of its row NaN") {
  const std::vector<double> numbers = {1.0, 0.0, -1.0, kInfinity, -kInfinity, std::nan(""), 1e-60};
  const auto rows = static_cast<std::int64_t>(numbers.size());
  const Array temperatures = dense(fs::DType::f64, {rows, 1}, encode(fs::DType::f64, numbers));
  Random random(5);
  for (const Layout layout : {Layout::rows, Layout::every_second, Layout::columns}) {
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{70}, std::int64_t{3000}}) {
      Array in = matrix(fs::DType::f32, rows, n, layout);
      std::vector<double> x(static_cast<std::size_t>(rows * n), -kInfinity);
      for (std::size_t i = 0; i < static_cast<std::size_t>(3 * n); ++i) x[i] = random.normal();
      from_dense(in, encode(fs::DType::f32, x));
      Results results(fs::DType::f32, rows);
      fs::StatsOptions options;
      options.temperatures = temperatures.view();
      const cuda::StatsCall call = cuda::stats_call(in.view(), 1, results.out(), options);
      for (const cuda::Plan& plan : crew_plans(call, random)) {
        EmulatedLauncher launcher{&random};
        launch(plan, call, launcher);
        for (const Array& array : results.arrays) {
          for (std::size_t r = 0; r < numbers.size(); ++r)
            CHECK(std::isnan(load<float>(array.bytes.data() + r * sizeof(float))) == (r > 0));
        }
      }
    }
  }
}

TEST_CASE("planned statistics") {
  Random random(3);
  Tally tally;
  for_each_planned(random, [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout,
                               const cuda::Device& device) {
    check_random(tally, dtype, rows, n, layout, random, &device);
  });
  CHECK(tally.failed() == 0);
}

TEST_CASE("every kind of row has its statistics") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const Pattern& pattern : kPatterns) {
      for (const std::int64_t n : {std::int64_t{40}, std::int64_t{2500}}) {
        const Bytes x = rows_of(pattern, random, dtype, 3, static_cast<std::size_t>(n));
        const Layout layout = random.chance(0.5) ? Layout::rows : Layout::columns;
        check(tally, dtype, n, layout, x, {}, {}, random);
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("statistics whose elements are not aligned are refused") {
  const Array in = matrix(fs::DType::f32, 3, 8, Layout::rows);
  Results results(fs::DType::f32, 3);
  fs::SoftmaxStats out = results.out();
  CHECK_NOTHROW(cuda::stats_call(in.view(), 1, out, {}));
  out.entropy.data = static_cast<char*>(out.entropy.data) + 1;
  CHECK_THROWS_AS(cuda::stats_call(in.view(), 1, out, {}), fs::InvalidArgument);
}

}  // namespace
}  // namespace tests
