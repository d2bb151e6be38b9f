// Rows of gradients: sums of equal ids in order, addition in place to a matrix of any type and
// layout, the same bits from any number of threads, and what is refused.
#include "fastsoftmax/sparse_rows.hpp"

#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "float_environment.h"
#include "layers.h"

using namespace tests;

namespace {

using Ids = std::vector<std::int64_t>;

fs::ConstView view_of(const Ids& ids, const Shape& shape) {
  static const Shape strides = {8};
  return {ids.data(), fs::DType::i64, shape, strides, false};
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class T>
std::vector<T> numbers_in(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

template <class T>
std::vector<T> random_numbers(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = static_cast<T>(normal(random));
  return values;
}

template <class T>
constexpr fs::DType kType = std::is_same_v<T, double> ? fs::DType::f64 : fs::DType::f32;

template <class T>
void check_addition(std::int64_t rows, std::int64_t columns, Layout layout, bool swapped) {
  Ids ids;
  for (std::int64_t i = 1; i < rows; i += 1 + i % 3) ids.push_back(i);
  const auto used = static_cast<std::int64_t>(ids.size());
  const std::vector<T> values = random_numbers<T>(used * columns, 1);
  const std::vector<T> before = random_numbers<T>(rows * columns, 2);
  std::vector<T> expected = before;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const T term =
          T(-0.3) * values[i * static_cast<std::size_t>(columns) + static_cast<std::size_t>(c)];
      expected[static_cast<std::size_t>(ids[i] * columns + c)] += term;
    }
  }
  for (const int threads : {1, 3}) {
    Array w = matrix(kType<T>, rows, columns, layout);
    w.byteswapped = swapped;
    from_dense(w, bytes_of(before));
    const Array from = dense(kType<T>, {used, columns}, bytes_of(values));
    fs::add_rows(w.out(), view_of(ids, {used}), from.view(), -0.3, threads);
    CHECK(to_dense(w) == bytes_of(expected));
  }
}

}  // namespace

TEST_CASE("rows are added to those of a matrix, wherever its elements lie") {
  for (const Layout layout : kLayouts) {
    CAPTURE(name(layout));
    for (const bool swapped : {false, true}) {
      for (const auto& [rows, columns] :
           std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {2, 1}, {9, 5}, {40, 1100}}) {
        check_addition<float>(rows, columns, layout, swapped);
        check_addition<double>(rows, columns, layout, swapped);
      }
    }
  }
}

TEST_CASE("values are rounded to the arithmetic type of the matrix, and sums to its own") {
  const Ids ids = {1};
  const double value = 1.0 + 0x1p-30;
  Array w = dense(fs::DType::f32, {2, 1}, bytes_of<float>({5.0f, 1.0f}));
  const Array values = dense(fs::DType::f64, {1, 1}, bytes_of<double>({value}));
  fs::add_rows(w.out(), view_of(ids, {1}), values.view());
  CHECK(to_dense(w) == bytes_of<float>({5.0f, 2.0f}));

  // f16: 1 + 2^-11 is a tie, which goes to even.
  Array half = dense(fs::DType::f16, {2}, bytes_of<std::uint16_t>({0x3c00, 0x3c00}));
  const Array small = dense(fs::DType::f32, {1}, bytes_of<float>({0x1p-11f}));
  fs::add_rows(half.out(), view_of(ids, {1}), small.view());
  CHECK(to_dense(half) == bytes_of<std::uint16_t>({0x3c00, 0x3c00}));
  fs::add_rows(half.out(), view_of(ids, {1}), small.view(), 3.0);
  CHECK(to_dense(half) == bytes_of<std::uint16_t>({0x3c00, 0x3c02}));

  const Array whole = dense(fs::DType::i32, {1, 1}, bytes_of<std::int32_t>({-7}));
  fs::add_rows(w.out(), view_of(ids, {1}), whole.view());
  CHECK(to_dense(w) == bytes_of<float>({5.0f, -5.0f}));
}

TEST_CASE("equal ids are added in the order in which they appear") {
  std::mt19937 random(3);
  for (const std::int64_t columns : {1, 7, 2500}) {
    const std::int64_t count = columns > 100 ? 60 : 500;
    Ids ids;
    for (std::int64_t i = 0; i < count; ++i)
      ids.push_back(static_cast<std::int64_t>(random() % 40) * (std::int64_t{1} << 33));
    const std::vector<float> values = random_numbers<float>(count * columns, 4);
    std::map<std::int64_t, std::vector<float>> expected;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto first = values.begin() + i * columns;
      const auto [at, is_new] =
          expected.try_emplace(ids[static_cast<std::size_t>(i)], first, first + columns);
      for (std::int64_t c = 0; c < columns && !is_new; ++c)
        at->second[static_cast<std::size_t>(c)] += first[c];
    }
    const Array from = dense(fs::DType::f32, {count, columns}, bytes_of(values));
    for (const int threads : {1, 3}) {
      const fs::SparseRows sums =
          fs::coalesce_rows(view_of(ids, {count}), from.view(), std::int64_t{1} << 40, threads);
      REQUIRE(sums.ids().size() == expected.size());
      CHECK(sums.dtype() == fs::DType::f32);
      CHECK(sums.columns() == columns);
      CHECK(reinterpret_cast<std::uintptr_t>(sums.values()) % 64 == 0);
      const auto* at = static_cast<const float*>(sums.values());
      std::size_t i = 0;
      for (const auto& [id, row] : expected) {
        CHECK(sums.ids()[i++] == id);
        CHECK(std::memcmp(at, row.data(), row.size() * sizeof(float)) == 0);
        at += columns;
      }
    }
  }
}

TEST_CASE("sums of integers and of 16-bit numbers") {
  const Ids ids = {3, 0, 3};
  const Array whole = dense(fs::DType::i64, {3}, bytes_of<std::int64_t>({1, 2, 3}));
  const fs::SparseRows doubles = fs::coalesce_rows(view_of(ids, {3}), whole.view(), 4);
  CHECK(doubles.dtype() == fs::DType::f64);
  CHECK(numbers_in<double>(bytes_of<double>({2.0, 4.0})) ==
        std::vector<double>(static_cast<const double*>(doubles.values()),
                            static_cast<const double*>(doubles.values()) + 2));
  const Array half = dense(fs::DType::bf16, {3}, bytes_of<std::uint16_t>({0x3f80, 0x4000, 0x3f80}));
  const fs::SparseRows floats = fs::coalesce_rows(view_of(ids, {3}), half.view(), 4);
  CHECK(floats.dtype() == fs::DType::f32);
  CHECK(static_cast<const float*>(floats.values())[0] == 2.0f);
  CHECK(static_cast<const float*>(floats.values())[1] == 2.0f);
}

TEST_CASE("the host's floating-point environment does not matter to sums of rows") {
  const Ids ids = {2, 0, 2, 1, 2};
  for (const fs::DType dtype : kFloatTypes) {
    CAPTURE(name(dtype));
    Random random(1);
    const Array values = random_array(random, dtype, {5, 40}, 1e-3);
    const Array before = random_array(random, dtype, {4, 40});
    check_in_each_environment([&] {
      const fs::SparseRows sums = fs::coalesce_rows(view_of(ids, {5}), values.view(), 3);
      Array w = before;
      sums.add_to(w.out(), 0.1);
      Bytes results = bytes_of(sums);
      results.insert(results.end(), w.bytes.begin(), w.bytes.end());
      return results;
    });
  }
}

TEST_CASE("rows that own their memory") {
  fs::SparseRows none;
  CHECK(none.ids().empty());
  fs::SparseRows rows({0, 2}, 3, fs::DType::f64);
  auto* const values = static_cast<double*>(rows.values());
  for (int i = 0; i < 6; ++i) values[i] = i;
  const fs::SparseRows moved = std::move(rows);
  CHECK(moved.values() == values);

  Array w = dense(fs::DType::f64, {3, 3}, bytes_of(std::vector<double>(9, 1.0)));
  moved.add_to(w.out(), 2.0);
  CHECK(numbers_in<double>(to_dense(w)) == std::vector<double>{1, 3, 5, 1, 1, 1, 7, 9, 11});
  none = fs::SparseRows({}, 3, fs::DType::f32);
  none.add_to(w.out());
  CHECK(numbers_in<double>(to_dense(w)) == std::vector<double>{1, 3, 5, 1, 1, 1, 7, 9, 11});

  fs::SparseRows single({1}, 1, fs::DType::f32);
  *static_cast<float*>(single.values()) = 4.0f;
  Array bias = dense(fs::DType::f32, {2}, bytes_of<float>({1.0f, 1.0f}));
  single.add_to(bias.out());
  CHECK(numbers_in<float>(to_dense(bias)) == std::vector<float>{1.0f, 5.0f});
}

TEST_CASE("what cannot be added leaves the matrix as it was") {
  const Bytes before = bytes_of<float>({1, 2, 3, 4, 5, 6});
  Array w = dense(fs::DType::f32, {3, 2}, before);
  const Array values = dense(fs::DType::f32, {2, 2}, bytes_of<float>({1, 1, 1, 1}));
  const auto add = [&](const fs::View& to, const Ids& ids, const fs::ConstView& from) {
    const auto count = static_cast<std::int64_t>(ids.size());
    fs::add_rows(to, view_of(ids, {count}), from);
  };
  CHECK_THROWS_AS(add(w.out(), {0, 3}, values.view()), fs::InvalidIndex);
  CHECK_THROWS_AS(add(w.out(), {-1, 2}, values.view()), fs::InvalidIndex);
  CHECK_THROWS_AS(add(w.out(), {1, 1}, values.view()), fs::InvalidArgument);
  CHECK_THROWS_AS(add(w.out(), {2, 1}, values.view()), fs::InvalidArgument);
  CHECK_THROWS_AS(add(w.out(), {1}, values.view()), fs::InvalidArgument);
  const Array narrow = dense(fs::DType::f32, {2, 1}, bytes_of<float>({1, 1}));
  CHECK_THROWS_AS(add(w.out(), {0, 1}, narrow.view()), fs::InvalidArgument);
  const Array flat = dense(fs::DType::f32, {2}, bytes_of<float>({1, 1}));
  CHECK_THROWS_AS(add(w.out(), {0, 1}, flat.view()), fs::InvalidArgument);
  CHECK(w.bytes == before);

  const Shape part = {2, 2};
  fs::ConstView inside = w.view();
  inside.shape = part;
  CHECK_THROWS_AS(add(w.out(), {0, 1}, inside), fs::InvalidArgument);
  Array repeated = w;
  repeated.strides = {0, 4};
  CHECK_THROWS_AS(add(repeated.out(), {0, 1}, values.view()), fs::InvalidArgument);
  Array whole = dense(fs::DType::i32, {3, 2}, before);
  CHECK_THROWS_AS(add(whole.out(), {0, 1}, values.view()), fs::InvalidType);
  CHECK_THROWS_AS(fs::coalesce_rows(view_of({5}, {1}), flat.view(), 6), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::coalesce_rows(view_of({5, 6}, {2}), flat.view(), 6), fs::InvalidIndex);
  CHECK_THROWS_AS(fs::coalesce_rows(view_of({-5, 1}, {2}), flat.view(), 6), fs::InvalidIndex);
  CHECK_THROWS_AS(fs::SparseRows({3, 3}, 1, fs::DType::f32), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::SparseRows({3}, -1, fs::DType::f32), fs::InvalidArgument);
  CHECK_THROWS_AS(fs::SparseRows({3}, 1, fs::DType::f16), fs::InvalidType);
}
