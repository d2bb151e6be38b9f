// Masks given by `where`, and rows without elements.
#include "run.h"

using namespace tests;

namespace {

template <class F>
void for_each_kind(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps)
      for (const fs::Algorithm algorithm : kAlgorithms)
        for (const Layout layout : kLayouts) f(op, dtype, algorithm, layout);
}

}  // namespace

// What `where` leaves out is as if it were -inf, whatever it is.
TEST_CASE("where: left-out elements do not count") {
  Tally tally;
  for_each_kind([&](fs::Op op, fs::DType dtype, fs::Algorithm algorithm, Layout layout) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{40},
                                std::size_t{65}, block_of(dtype) + 5}) {
      constexpr std::size_t rows = 6;
      Random random(n);
      std::vector<double> garbled(rows * n);
      std::vector<double> masked(rows * n);
      Bytes admitted(rows * n);
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      const double garbage[] = {kNan, kInfinity, 1e30, 0.0};
      for (std::size_t i = 0; i < rows * n; ++i) {
        admitted[i] = random.chance(0.6) ? 1 : 0;
        masked[i] = admitted[i] != 0 ? 3.0 * random.normal() : -kInfinity;
        garbled[i] = admitted[i] != 0 ? masked[i] : garbage[random.below(4)];
      }
      const auto width = static_cast<std::int64_t>(n);
      fs::Options options = with(algorithm);
      const Bytes expected = run_matrix(op, dtype, width, encode(dtype, masked), layout, options);
      const Shape shape = {rows, width};
      const Shape strides = {width, 1};
      options.where = fs::ConstView{admitted.data(), fs::DType::boolean, shape, strides};
      tally.same(dtype, expected,
                 run_matrix(op, dtype, width, encode(dtype, garbled), layout, options), [&] {
                   return describe(op, dtype, algorithm) + " " + name(layout) +
                          " n=" + std::to_string(n);
                 });
    }
  });
  CHECK(tally.checked() == kCases * 4 * 6);
}

TEST_CASE("where: a mask's neighbour does not hide a NaN") {
  Tally tally;
  for_each_kind([&](fs::Op op, fs::DType dtype, fs::Algorithm algorithm, Layout layout) {
    for (const std::size_t n : {std::size_t{2}, std::size_t{33}, block_of(dtype) + 1}) {
      // Row r admits nothing but a NaN at position r.
      const std::size_t rows = std::min<std::size_t>(n, 40);
      std::vector<double> values(rows * n, 1.0);
      Bytes admitted(rows * n, 0);
      for (std::size_t r = 0; r < rows; ++r) {
        values[r * n + r] = std::numeric_limits<double>::quiet_NaN();
        admitted[r * n + r] = 1;
      }
      fs::Options options = with(algorithm);
      options.empty = fs::EmptyRow::zero;
      const auto width = static_cast<std::int64_t>(n);
      const Shape shape = {static_cast<std::int64_t>(rows), width};
      const Shape strides = {width, 1};
      options.where = fs::ConstView{admitted.data(), fs::DType::boolean, shape, strides};
      const Bytes y = run_matrix(op, dtype, width, encode(dtype, values), layout, options);
      bool all_nan = true;
      for (std::size_t i = 0; i < y.size(); i += item_bytes(dtype))
        all_nan &= std::isnan(get(dtype, y.data() + i));
      tally.expect(all_nan, [&] { return describe(op, dtype, algorithm) + " " + name(layout); });
    }
  });
  CHECK(tally.checked() == kCases * 4 * 3);
}

TEST_CASE("rows without elements") {
  for_each_kind([&](fs::Op op, fs::DType dtype, fs::Algorithm algorithm, Layout layout) {
    const std::int64_t width = op == fs::Op::logsumexp ? 1 : 0;
    const Array x = matrix(dtype, 7, 0, layout);
    Array y = matrix(dtype, 7, width, layout);
    const Bytes before = y.bytes;
    const std::array axes = {1};
    apply(op, x.view(), y.out(), axes, with(algorithm));
    INFO(describe(op, dtype, algorithm) << " " << name(layout));
    if (op != fs::Op::logsumexp) {
      CHECK(y.bytes == before);
      return;
    }
    const std::vector<double> expected(7, -kInfinity);
    CHECK(difference(dtype, encode(dtype, expected), to_dense(y)) == "");
  });
}

TEST_CASE("no rows") {
  for_each_kind([&](fs::Op op, fs::DType dtype, fs::Algorithm algorithm, Layout layout) {
    const Array x = matrix(dtype, 0, 7, layout);
    Array y = matrix(dtype, 0, op == fs::Op::logsumexp ? 1 : 7, layout);
    const Bytes before = y.bytes;
    const std::array axes = {1};
    apply(op, x.view(), y.out(), axes, with(algorithm));
    CHECK(y.bytes == before);
  });
}
