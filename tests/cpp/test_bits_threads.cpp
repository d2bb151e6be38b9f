// The same bits however many threads there are and whatever they share: rows, tiles of columns or
// the blocks of one row.
#include <thread>

#include "fastsoftmax/tune.hpp"
#include "planned.h"

using namespace tests;

namespace {

struct Sharing {
  int threads;
  bool share_row;
  std::int64_t per_task;  // rows or blocks
};
constexpr Sharing kSharings[] = {{2, false, 1}, {3, false, 2}, {8, false, 1}, {1, true, 1},
                                 {2, true, 1},  {3, true, 2},  {8, true, 1},  {8, true, 3}};

Bytes run_shared(fs::DType dtype, fs::Op op, fs::Algorithm algorithm, std::int64_t n,
                 const Bytes& x, Layout layout, const Sharing& sharing) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(dtype)) / n;
  Array in = matrix(dtype, rows, n, layout);
  from_dense(in, x);
  Array out = matrix(dtype, rows, op == fs::Op::logsumexp ? 1 : n, layout);
  const std::array axes = {1};
  apply_planned(op, in.view(), out.out(), axes, with(algorithm), [&](fs::Plan& plan) {
    plan.threads = sharing.threads;
    if (plan.layout == fs::Layout::columns) {
      plan.tile_columns = sharing.per_task;
      return;
    }
    plan.share_row = sharing.share_row;
    plan.rows_per_task = sharing.per_task;
  });
  return to_dense(out);
}

std::string text(fs::DType dtype, fs::Op op, fs::Algorithm algorithm, const Sharing& sharing,
                 const char* what) {
  return describe(op, dtype, algorithm) + " " + std::to_string(sharing.threads) + " threads, " +
         std::to_string(sharing.per_task) + (sharing.share_row ? " blocks" : " rows") +
         " per task: " + what;
}

}  // namespace

TEST_CASE("threads: the same bits for every way to share") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    const std::size_t n = 4 * block_of(dtype) + 9;
    for (std::size_t first = 0; first < kPatterns.size(); first += 4) {
      Bytes x;
      for (std::size_t r = 0; r < 4; ++r) {
        const Bytes row = make_row(kPatterns[(first + r) % kPatterns.size()], dtype, n, r);
        x.insert(x.end(), row.begin(), row.end());
      }
      const auto width = static_cast<std::int64_t>(n);
      const Bytes expected = run_matrix(op, dtype, width, x, Layout::rows, {});
      const Layout layout = kLayouts[first % kLayouts.size()];
      for (const Sharing& sharing : kSharings) {
        tally.same(dtype, expected, run_shared(dtype, op, algorithm, width, x, layout, sharing),
                   [&] { return text(dtype, op, algorithm, sharing, kPatterns[first].name); });
      }
    }
  });
  CHECK(tally.checked() == kCases * 8 * 8);
}

// Whichever task meets them: NaN, infinities, ties of the maximum.
TEST_CASE("threads: special values in every block of a shared row") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    const std::size_t block = block_of(dtype);
    const std::size_t n = 6 * block;
    for (std::size_t at = 3; at < n; at += block) {
      for (const double special :
           {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity, 8.0, 1e30, -1e30}) {
        std::vector<double> values(n);
        Random random(at);
        for (double& v : values) v = random.normal();
        values[5 * block + 1] = 8.0;
        values[at] = special;
        if (special < -1e29)  // no block but this one has anything to add
          for (std::size_t i = 0; i < n; ++i)
            values[i] = i / block == at / block ? values[i] : special;
        const Bytes x = encode(dtype, values);
        const auto width = static_cast<std::int64_t>(n);
        const Bytes expected = run_row(op, dtype, x);
        for (const Sharing& sharing : {kSharings[4], kSharings[5], kSharings[7]}) {
          tally.same(dtype, expected,
                     run_shared(dtype, op, algorithm, width, x, Layout::rows, sharing),
                     [&] { return text(dtype, op, algorithm, sharing, "special value"); });
        }
      }
    }
  });
  CHECK(tally.checked() == kCases * 6 * 6 * 3);
}

TEST_CASE("threads: one long row through the public interface") {
  const int before = fs::num_threads();
  constexpr std::int64_t n = 600000;
  const Bytes x = make_row(kPatterns[2], fs::DType::f32, n, 1);
  const Array in = dense(fs::DType::f32, {n}, x);
  const std::array axes = {0};
  for (const fs::Op op : kOps) {
    Bytes expected;
    for (const int threads : {1, 2, 3, 8}) {
      fs::set_num_threads(threads);
      Array out = dense(fs::DType::f32, {op == fs::Op::logsumexp ? 1 : n});
      const fs::Plan plan = fs::explain(op, in.view(), out.out(), axes);
      CHECK(plan.threads == threads);
      CHECK(plan.share_row == (threads > 1));
      apply(op, in.view(), out.out(), axes, {});
      if (threads == 1) expected = out.bytes;
      CHECK(difference(fs::DType::f32, expected, out.bytes) == "");
      fs::Options options;
      options.max_threads = 2;
      CHECK(fs::explain(op, in.view(), out.out(), axes, options).threads == std::min(threads, 2));
    }
  }
  fs::set_num_threads(before);
}

TEST_CASE("bits: the constants of the plan change none, also while another thread changes them") {
  const fs::PlanConstants defaults = fs::default_constants(fs::caches());
  const fs::PlanConstants extremes[] = {
      {0, 0, 0, 0, 16 << 10},
      {std::int64_t{1} << 40, std::int64_t{1} << 40, std::int64_t{1} << 40, std::int64_t{1} << 40,
       std::int64_t{1} << 40}};
  for (const fs::DType dtype : kFloatTypes) {
    for (const fs::Op op : kOps) {
      const Bytes x = make_row(kPatterns[0], dtype, 6 * 30000, 7);
      const auto result = [&] { return run_matrix(op, dtype, 30000, x, Layout::rows, {}); };
      fs::use_constants(defaults);
      const Bytes expected = result();
      for (const fs::PlanConstants& constants : extremes) {
        fs::use_constants(constants);
        CHECK(result() == expected);
      }
      std::thread changes([&] {
        for (int i = 0; i < 100; ++i) fs::use_constants(extremes[i % 2]);
      });
      for (int i = 0; i < 10; ++i) CHECK(result() == expected);
      changes.join();
    }
  }
  fs::use_constants(defaults);
}
