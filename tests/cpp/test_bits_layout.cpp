// The same bits however the elements of a row lie in memory: as tiles of columns, behind strides of
// either sign, byte-swapped, unaligned, under a mask that admits everything, under a temperature.
#include "run.h"

using namespace tests;

namespace {

fs::DType random_type(Random& random) {
  return kFloatTypes[static_cast<std::size_t>(random.below(4))];
}

void compare_columns(Tally& tally, Random& random, fs::DType dtype, std::size_t columns,
                     std::size_t n) {
  const Bytes x = random_rows(random, dtype, columns, n);
  for (const fs::Op op : kOps) {
    const Bytes expected = one_by_one(op, dtype, x, n);
    for (const fs::Algorithm algorithm : kAlgorithms) {
      for (const Layout layout : {Layout::columns, Layout::padded_columns}) {
        tally.same(dtype, expected,
                   run_matrix(op, dtype, static_cast<std::int64_t>(n), x, layout, with(algorithm)),
                   [&] {
                     return describe(op, dtype, algorithm) + " " + name(layout) + " " +
                            std::to_string(n) + " x " + std::to_string(columns);
                   });
      }
    }
  }
}

// x through `in`, a view of the same shape and of any strides; the result through one like it.
Bytes run_as(fs::Op op, const Bytes& x, Array in, const fs::Options& options) {
  from_dense(in, x);
  Shape out_shape = in.shape;
  if (op == fs::Op::logsumexp) out_shape[1] = 1;
  Array out = in;
  out.shape = out_shape;
  std::fill(out.bytes.begin(), out.bytes.end(), static_cast<unsigned char>(0xa5));
  const std::array axes = {1};
  apply(op, in.view(), out.out(), axes, options);
  return to_dense(out);
}

constexpr std::int64_t kRows = 5;

std::vector<std::size_t> some_lengths(fs::DType dtype) {
  return {1, 2, 19, 64, 65, 150, block_of(dtype), 2 * block_of(dtype) + 21};
}

}  // namespace

TEST_CASE("layout: columns of every length to 300") {
  Tally tally;
  Random random(11);
  for (std::size_t n = 1; n <= 300; ++n)
    compare_columns(tally, random, random_type(random),
                    static_cast<std::size_t>(1 + random.below(30)), n);
  CHECK(tally.checked() == static_cast<long>(300 * 6 * kAlgorithms.size()));
}

TEST_CASE("layout: 1 to 140 columns") {
  Tally tally;
  Random random(12);
  for (std::size_t columns = 1; columns <= 70; ++columns) {
    for (const std::int64_t longest : {70, 150})
      compare_columns(tally, random, random_type(random), columns,
                      static_cast<std::size_t>(1 + random.below(longest)));
  }
  compare_columns(tally, random, fs::DType::f32, 140, 90);
  CHECK(tally.checked() == static_cast<long>(141 * 6 * kAlgorithms.size()));
}

// Short columns make wide tiles; tiles whose rows lie far apart are copied first.
TEST_CASE("layout: many columns") {
  Tally tally;
  Random random(7);
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    for (const std::size_t columns : {65, 200, 256, 257, 300, 600}) {
      for (const std::size_t n : {1, 2, 3, 5, 21, 33, 64, 65, 130})
        compare_columns(tally, random, dtype, columns, n);
    }
    compare_columns(tally, random, dtype, 100, 1030);
  }
  CHECK(tally.checked() == static_cast<long>(3 * (6 * 9 + 1) * 6 * kAlgorithms.size()));
}

TEST_CASE("layout: columns of several blocks") {
  Tally tally;
  Random random(13);
  const std::vector<std::size_t> all = {1, 3, 15, 16, 17, 64, 65};
  const std::vector<std::size_t> few = {2, 33};
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const std::size_t columns : fs::itemsize(dtype) == 2 ? few : all)
      for (const std::size_t n : {block - 1, block + 1, 2 * block + 77})
        compare_columns(tally, random, dtype, columns, n);
  }
  CHECK(tally.checked() == static_cast<long>((2 * 7 + 2 * 2) * 3 * 6 * kAlgorithms.size()));
}

TEST_CASE("layout: gathered rows") {
  Tally tally;
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    const std::int64_t item = fs::itemsize(dtype);
    for (const std::size_t n : some_lengths(dtype)) {
      Random random(n);
      const Bytes x = random_rows(random, dtype, kRows, n);
      const Bytes expected = one_by_one(op, dtype, x, n);
      const auto width = static_cast<std::int64_t>(n);
      const Shape shape = {kRows, width};
      const auto check = [&](const char* what, const Array& in, const fs::Options& options) {
        tally.same(dtype, expected, run_as(op, x, in, options), [&] {
          return describe(op, dtype, algorithm) + " n=" + std::to_string(n) + " " + what;
        });
      };
      const fs::Options plain = with(algorithm);
      check("stride 2", strided(dtype, shape, {2 * item * width, 2 * item}), plain);
      check("stride 5, unaligned", strided(dtype, shape, {(5 * item + 1) * width, 5 * item + 1}),
            plain);
      check("reversed", strided(dtype, shape, {-item * width, -item}), plain);
      check("reversed columns", strided(dtype, shape, {-item, -item * (kRows + 1)}), plain);
      Array swapped = strided(dtype, shape, {item * width, item});
      swapped.byteswapped = true;
      check("byte-swapped", swapped, plain);
      Array odd = strided(dtype, shape, {item * width, item}, 1);
      check("odd address", odd, plain);
      const Bytes admit(n * kRows, 1);
      fs::Options masked = plain;
      const Shape where_strides = {width, 1};
      masked.where = fs::ConstView{admit.data(), fs::DType::boolean, shape, where_strides};
      check("where all true", strided(dtype, shape, {item * width, item}), masked);
      check("columns, where all true", strided(dtype, shape, {item, item * kRows}), masked);
    }
  });
  CHECK(tally.checked() == kCases * 8 * 8);
}

// z = x / temperature, rounded once to the arithmetic type, is what the row is made of.
TEST_CASE("layout: temperature") {
  Tally tally;
  constexpr double temperatures[kRows] = {1.0, 0.7, 2.5, 0.015, 1.0000001};
  for_each_case([&](fs::DType dtype, fs::Op op, fs::Algorithm algorithm) {
    const bool f64 = dtype == fs::DType::f64;
    const fs::DType arithmetic = f64 ? fs::DType::f64 : fs::DType::f32;
    for (const std::size_t n : some_lengths(dtype)) {
      Random random(n + 1);
      const Bytes x = random_rows(random, dtype, kRows, n);
      for (const bool per_row : {false, true}) {
        Bytes expected;
        for (std::size_t r = 0; r < std::size_t{kRows}; ++r) {
          const double t = temperatures[per_row ? r : 1];
          std::vector<double> z(n);
          for (std::size_t i = 0; i < n; ++i) {
            const auto v = static_cast<double>(get(dtype, &x[(r * n + i) * item_bytes(dtype)]));
            z[i] = f64 ? v / t : static_cast<double>(static_cast<float>(v) / static_cast<float>(t));
          }
          const Bytes y = run_row(op, arithmetic, encode(arithmetic, z));
          for (std::size_t i = 0; i < y.size(); i += item_bytes(arithmetic)) {
            expected.resize(expected.size() + item_bytes(dtype));
            put(dtype, &expected[expected.size() - item_bytes(dtype)],
                static_cast<double>(get(arithmetic, &y[i])));
          }
        }
        for (const Layout layout : kLayouts) {
          fs::Options options = with(algorithm);
          const Shape shape = {kRows, 1};
          const Shape strides = {sizeof(double), 0};
          if (per_row)
            options.temperatures = fs::ConstView{temperatures, fs::DType::f64, shape, strides};
          else
            options.temperature = temperatures[1];
          tally.same(dtype, expected,
                     run_matrix(op, dtype, static_cast<std::int64_t>(n), x, layout, options), [&] {
                       return describe(op, dtype, algorithm) + " " + name(layout) +
                              " n=" + std::to_string(n) + (per_row ? " per row" : "");
                     });
        }
      }
    }
  });
  CHECK(tally.checked() == kCases * 8 * 2 * 4);
}
