// The CUDA kernels for softmax_stats, run thread block by thread block on this CPU: the bits of the
// library.
#include "cuda/crew_geometry.h"
#include "cuda/stats_arguments.h"
#include "emulated_launch.h"
#include "fastsoftmax/stats.hpp"
#include "run.h"

namespace tests {
namespace {

using cuda::CrewPath;

// A plan for every path that can do the call, thread blocks kept small.
std::vector<cuda::CrewPlan> plans_of(const cuda::StatsCall& call) {
  if (call.layout == cuda::Layout::columns)
    return {{CrewPath::columns, cuda::kColumnThreads, 2, cuda::kColumnSharedBytes}};
  std::vector<cuda::CrewPlan> plans;
  const auto block = static_cast<std::int64_t>(block_of(call.dtype));
  if (call.layout == cuda::Layout::rows && call.length <= block)
    plans.push_back({CrewPath::short_rows, 32, 2, 0});
  for (const int groups : {2, 4})
    plans.push_back({CrewPath::reread_rows, groups * cuda::kGroup, 2, cuda::crew_bytes(groups)});
  return plans;
}

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

void check(Tally& tally, fs::DType dtype, std::int64_t n, Layout layout, const Bytes& x,
           const fs::StatsOptions& options, Random& random) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(dtype)) / n;
  Array in = matrix(dtype, rows, n, layout);
  from_dense(in, x);
  Results expected(dtype, rows);
  fs::softmax_stats(in.view(), 1, expected.out(), options);
  Results actual(dtype, rows);
  const cuda::StatsCall call = cuda::stats_call(in.view(), 1, actual.out(), options);
  constexpr std::array names = {"max", "logsumexp", "entropy", "top1", "margin"};
  for (const cuda::CrewPlan& plan : plans_of(call)) {
    for (Array& array : actual.arrays) std::fill(array.bytes.begin(), array.bytes.end(), 0xa5);
    EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
    launch(plan, call, launcher);
    for (std::size_t i = 0; i < names.size(); ++i)
      tally.same(dtype, expected.arrays[i].bytes, actual.arrays[i].bytes, [&] {
        return std::string(names[i]) + " " + std::string(fs::name(dtype)) + " " +
               std::to_string(rows) + " x " + std::to_string(n) + " " + name(layout) +
               (options.where ? ", masked" : "") + ", path " +
               std::to_string(static_cast<int>(plan.path)) + " of " + std::to_string(plan.threads) +
               " threads";
      });
  }
}

TEST_CASE("statistics of rows of every length and kind have the bits of the library") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const auto b = static_cast<std::int64_t>(block_of(dtype));
    const std::int64_t lanes = b / 16;
    for (const std::int64_t n :
         {std::int64_t{1}, std::int64_t{2}, std::int64_t{5}, lanes / 2 + 1, lanes - 1, lanes,
          lanes + 1, 2 * lanes + 5, 4 * lanes, b - 1, b, b + 1, 2 * b + 3, 4 * b + 1, 5 * b - 7}) {
      for (int turn = 0; turn < (n < b - 1 ? 8 : 6); ++turn) {
        const auto layout = static_cast<Layout>(random.chance(0.5) ? 0 : random.below(4));
        const std::int64_t rows = n < b ? 1 + random.below(20) : 2 + random.below(2);
        const Bytes x =
            random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n));
        fs::StatsOptions options;
        if (random.chance(0.3)) options.temperature = random.uniform() + 0.1;
        Bytes admitted(static_cast<std::size_t>(rows * n));
        const double share = random.uniform();
        for (unsigned char& m : admitted) m = random.chance(share) ? 1 : 0;
        const Shape shape = {rows, n};
        const Shape steps = {n, 1};
        if (random.chance(0.3))
          options.where = fs::ConstView{admitted.data(), fs::DType::boolean, shape, steps};
        check(tally, dtype, n, layout, x, options, random);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 3000);
}

TEST_CASE("every kind of row has its statistics") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const Pattern& pattern : kPatterns) {
      for (const std::int64_t n : {std::int64_t{40}, std::int64_t{2500}}) {
        Bytes x;
        for (int row = 0; row < 3; ++row) {
          const Bytes one = make_row(pattern, dtype, static_cast<std::size_t>(n), random.bits());
          x.insert(x.end(), one.begin(), one.end());
        }
        for (const Layout layout : {Layout::rows, Layout::columns})
          check(tally, dtype, n, layout, x, {}, random);
      }
    }
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
