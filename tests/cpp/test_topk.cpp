// softmax_topk, topk and softmax_stats: indices by a stable sort, values with the bits of softmax,
// and the same bits from every instruction set, layout and number of threads.
#include <algorithm>
#include <numeric>

#include "fastsoftmax/stats.hpp"
#include "fastsoftmax/topk.hpp"
#include "run.h"

using namespace tests;

namespace {

struct Selected {
  Bytes values;
  std::vector<std::int64_t> indices;
  Bytes logsumexp;
};

Shape with_length(Shape shape, std::int64_t length) {
  shape[1] = length;
  return shape;
}

// Of a matrix, along its second axis.
Selected run(const Array& x, std::int64_t k, const fs::TopKOptions& options) {
  Array values = dense(x.dtype, with_length(x.shape, k));
  Array indices = dense(fs::DType::i64, with_length(x.shape, k));
  Array sums = dense(x.dtype, with_length(x.shape, 1));
  const fs::View logsumexp = sums.out();
  fs::softmax_topk(x.view(), k, 1, values.out(), indices.out(), options, &logsumexp);
  Selected s{values.bytes, std::vector<std::int64_t>(indices.bytes.size() / 8), sums.bytes};
  std::memcpy(s.indices.data(), indices.bytes.data(), indices.bytes.size());
  return s;
}

// NaN first, then by value descending; equal ones by index.
std::vector<std::int64_t> order_of(fs::DType dtype, const Bytes& row) {
  std::vector<std::int64_t> order(row.size() / item_bytes(dtype));
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](std::int64_t i) {
    return get(dtype, &row[static_cast<std::size_t>(i) * item_bytes(dtype)]);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    if (std::isnan(value(a)) || std::isnan(value(b)))
      return std::isnan(value(a)) && !std::isnan(value(b));
    return value(a) > value(b);
  });
  return order;
}

Bytes take(fs::DType dtype, const Bytes& row, const std::vector<std::int64_t>& order,
           std::int64_t k) {
  const std::size_t item = item_bytes(dtype);
  Bytes taken;
  for (std::int64_t j = 0; j < k; ++j) {
    const auto at = row.begin() + order[static_cast<std::size_t>(j)] * static_cast<long>(item);
    taken.insert(taken.end(), at, at + static_cast<long>(item));
  }
  return taken;
}

Bytes dense_row(const Bytes& x, std::size_t bytes, std::size_t r) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(r * bytes);
  return {begin, begin + static_cast<std::ptrdiff_t>(bytes)};
}

constexpr std::size_t kRows = 3;

std::vector<std::int64_t> some_k(std::size_t n) {
  std::vector<std::int64_t> all;
  const auto length = static_cast<std::int64_t>(n);
  for (const std::int64_t k : {std::int64_t{1}, std::int64_t{2}, std::int64_t{12}, std::int64_t{50},
                               std::int64_t{200}, length / 2, length})
    if (k >= 1 && k <= length) all.push_back(k);
  return all;
}

// All outcomes for some k, of a matrix whose elements are x in dense order.
void check(Tally& tally, const Bytes& x, std::size_t n, const Array& in) {
  const fs::DType dtype = in.dtype;
  std::array<Bytes, kRows> rows;
  std::array<std::vector<std::int64_t>, kRows> order;
  Bytes sums;
  for (std::size_t r = 0; r < kRows; ++r) {
    rows[r] = dense_row(x, n * item_bytes(dtype), r);
    order[r] = order_of(dtype, rows[r]);
    const Bytes sum = run_row(fs::Op::logsumexp, dtype, rows[r]);
    sums.insert(sums.end(), sum.begin(), sum.end());
  }
  for (const fs::Op op : {fs::Op::softmax, fs::Op::log_softmax}) {
    std::array<Bytes, kRows> whole;
    for (std::size_t r = 0; r < kRows; ++r) whole[r] = run_row(op, dtype, rows[r]);
    for (const std::int64_t k : some_k(n)) {
      for (const auto normalize : {fs::Normalize::full, fs::Normalize::topk}) {
        fs::TopKOptions options;
        options.log = op == fs::Op::log_softmax;
        options.normalize = normalize;
        const Selected found = run(in, k, options);
        Bytes values;
        std::vector<std::int64_t> indices;
        for (std::size_t r = 0; r < kRows; ++r) {
          indices.insert(indices.end(), order[r].begin(), order[r].begin() + k);
          const Bytes part = normalize == fs::Normalize::full
                                 ? take(dtype, whole[r], order[r], k)
                                 : run_row(op, dtype, take(dtype, rows[r], order[r], k));
          values.insert(values.end(), part.begin(), part.end());
        }
        const auto what = [&] {
          return describe(op, dtype, fs::Algorithm::automatic) + " n=" + std::to_string(n) +
                 " k=" + std::to_string(k) +
                 (normalize == fs::Normalize::full ? " full" : " over the k");
        };
        tally.expect(indices == found.indices, [&] { return what() + ": indices"; });
        tally.same(dtype, values, found.values, what);
        tally.same(dtype, sums, found.logsumexp, what);
      }
    }
  }
}

Bytes rows_of(const Pattern& pattern, fs::DType dtype, std::size_t n, std::uint64_t seed) {
  Bytes x;
  for (std::size_t r = 0; r < kRows; ++r) {
    const Bytes row = make_row(pattern, dtype, n, seed + r);
    x.insert(x.end(), row.begin(), row.end());
  }
  return x;
}

}  // namespace

TEST_CASE("topk: every pattern") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{300},
                                  block, block + 1, 3 * block + 5}) {
        const Bytes x = rows_of(pattern, dtype, n, n);
        Array in = dense(dtype, {kRows, static_cast<std::int64_t>(n)}, x);
        check(tally, x, n, in);
      }
    }
  }
  CHECK(tally.checked() > 10000);
}

TEST_CASE("topk: layouts") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::size_t n : {std::size_t{5}, std::size_t{130}, block_of(dtype) + 9}) {
      const Bytes x = rows_of(kPatterns[1], dtype, n, 3);
      for (const Layout layout : kLayouts) {
        Array in = matrix(dtype, kRows, static_cast<std::int64_t>(n), layout);
        from_dense(in, x);
        check(tally, x, n, in);
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk: NaN and infinities") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t item = item_bytes(dtype);
    for (const std::size_t n : {std::size_t{9}, std::size_t{64}, block_of(dtype) + 70}) {
      for (const double special : {std::numeric_limits<double>::quiet_NaN(), kInfinity}) {
        for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
          Bytes x = rows_of(kPatterns[1], dtype, n, at);
          put(dtype, &x[at * item], special);
          put(dtype, &x[(n + at) * item], -kInfinity);
          Array in = dense(dtype, {kRows, static_cast<std::int64_t>(n)}, x);
          check(tally, x, n, in);
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk: one long row, shared by threads") {
  Tally tally;
  const std::size_t n = 400'000;
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64, fs::DType::bf16}) {
    const Bytes row = make_row(kPatterns[1], dtype, n, 5);
    const Array in = dense(dtype, {1, static_cast<std::int64_t>(n)}, row);
    const auto order = order_of(dtype, row);
    const Bytes p = run_row(fs::Op::softmax, dtype, row);
    for (const int threads : {1, 3}) {
      fs::TopKOptions options;
      options.max_threads = threads;
      for (const std::int64_t k : {1, 100, 3000}) {
        const Selected found = run(in, k, options);
        tally.same(dtype, take(dtype, p, order, k), found.values, [] { return "shared row"; });
        tally.expect(std::equal(found.indices.begin(), found.indices.end(), order.begin()),
                     [] { return "shared row: indices"; });
      }
    }
  }
  CHECK(tally.checked() == 3 * 2 * 3 * 2);
}

TEST_CASE("stats: the same bits from every instruction set") {
  Tally tally;
  const auto stats_of = [](const Array& x, const Shape& shape) {
    std::array<Array, 5> out;
    for (Array& a : out) a = dense(x.dtype, shape);
    fs::softmax_stats(x.view(), 1,
                      {out[0].out(), out[1].out(), out[2].out(), out[3].out(), out[4].out()});
    Bytes all;
    for (const Array& a : out) all.insert(all.end(), a.bytes.begin(), a.bytes.end());
    return all;
  };
  for (const fs::DType dtype : kFloatTypes) {
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{70}, 2 * block_of(dtype) + 33}) {
        const Array x =
            dense(dtype, {kRows, static_cast<std::int64_t>(n)}, rows_of(pattern, dtype, n, n));
        const Bytes found = stats_of(x, {kRows, 1});
        const UseIsa scalar(fs::Isa::scalar);
        tally.same(dtype, stats_of(x, {kRows, 1}), found, [&] { return pattern.name; });
      }
    }
  }
  CHECK(tally.checked() == static_cast<long>(kFloatTypes.size() * kPatterns.size() * 3));
}

TEST_CASE("topk: refused arguments") {
  Array x = dense(fs::DType::f32, {2, 5});
  Array values = dense(fs::DType::f32, {2, 3});
  Array indices = dense(fs::DType::i64, {2, 3});
  const auto call = [&](std::int64_t k, int axis) {
    fs::softmax_topk(x.view(), k, axis, values.out(), indices.out());
  };
  CHECK_NOTHROW(call(3, 1));
  CHECK_NOTHROW(call(3, -1));
  CHECK_THROWS_AS(call(6, 1), fs::InvalidArgument);
  CHECK_THROWS_AS(call(-1, 1), fs::InvalidArgument);
  CHECK_THROWS_AS(call(2, 1), fs::InvalidArgument);
  CHECK_THROWS_AS(call(3, 2), fs::InvalidAxis);
  CHECK_THROWS_AS(fs::topk(x.view(), 3, 1, indices.out(), indices.out()), fs::InvalidType);
  const Array same = dense(fs::DType::f32, {2, 3});
  CHECK_THROWS_AS(fs::topk(same.view(), 3, 1,
                           {const_cast<unsigned char*>(same.bytes.data()), fs::DType::f32,
                            same.shape, same.strides},
                           indices.out()),
                  fs::InvalidArgument);
  const Shape column_order = {4, 8};
  CHECK_THROWS_AS(
      fs::topk(x.view(), 3, 1, {values.bytes.data(), fs::DType::f32, values.shape, column_order},
               indices.out()),
      fs::InvalidArgument);
}
