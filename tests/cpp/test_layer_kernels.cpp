// The kernels of output layers one by one: products and weighted rows to the bit, in the order that
// docs/numerics.md gives.
#include <algorithm>
#include <numeric>

#include "layer_kernels.h"
#include "run.h"

using namespace tests;

namespace {

using fs::kernels::ChosenRows;
using fs::kernels::ProductsJob;
using fs::kernels::WeightedRowsJob;

// Numbers of rows, as they are or shuffled with repetitions.
std::vector<std::int32_t> some_rows(Random& random, std::size_t count, std::int64_t rows,
                                    std::int32_t first) {
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = first + static_cast<std::int32_t>(random.below(rows));
  return ids;
}

// A matrix whose rows are `stride` elements apart and begin `offset` elements from the start.
template <class T>
struct Rows {
  std::vector<T> memory;
  std::size_t offset, stride;

  Rows(Random& random, std::size_t rows, std::size_t columns, bool exceptional = false)
      : offset(static_cast<std::size_t>(random.below(17))),
        stride(columns + static_cast<std::size_t>(random.below(4))) {
    memory = numbers<T>(random, offset + rows * stride, exceptional);
  }
  const T* row(std::int64_t i) const {
    return memory.data() + offset + static_cast<std::size_t>(i) * stride;
  }
  ChosenRows chosen(const std::vector<std::int32_t>* ids = nullptr, std::int32_t first = 0) const {
    return {row(0), static_cast<std::int64_t>(stride * sizeof(T)),
            ids == nullptr ? nullptr : ids->data(), first};
  }
};

// Each row of a by the first `terms` of b.
template <class T>
void check_products(Random& random, std::size_t length, std::size_t rows, std::size_t terms,
                    bool by_ids, bool exceptional, Tally& tally) {
  const Rows<T> a(random, 9, length, exceptional);
  const Rows<T> b(random, 40, length, exceptional);
  const auto a_ids = some_rows(random, rows, 9, 3);
  const auto b_ids = some_rows(random, terms, 40, -7);
  const std::size_t stride = terms + 2;
  std::vector<T> out(rows * stride + 3, T(77));
  std::vector<T> expected = out;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < terms; ++j)
      expected[i * stride + j] =
          product(a.row(by_ids ? a_ids[i] - 3 : static_cast<int>(i)),
                  b.row(by_ids ? b_ids[j] + 7 : static_cast<int>(j)), length);
  }
  ProductsJob job{};
  job.a = by_ids ? a.chosen(&a_ids, 3) : a.chosen();
  job.b = by_ids ? b.chosen(&b_ids, -7) : b.chosen();
  job.rows = static_cast<std::int64_t>(rows);
  job.terms = static_cast<std::int64_t>(terms);
  job.length = static_cast<std::int64_t>(length);
  job.out = out.data();
  job.out_stride = static_cast<std::int64_t>(stride);
  layer_kernels<T>().products(job);
  tally.expect(same(out.data(), expected.data(), out.size()), [&] {
    return std::to_string(rows) + " by " + std::to_string(terms) + " rows of " +
           std::to_string(length);
  });
}

// Each row of a by rows of its own, none to 20 of them.
template <class T>
void check_products_by_offsets(Random& random, std::size_t length, Tally& tally) {
  const Rows<T> a(random, 11, length);
  const Rows<T> b(random, 60, length);
  const auto a_ids = some_rows(random, 7, 11, 0);
  std::vector<std::int64_t> offsets = {0};
  for (int i = 0; i < 7; ++i) offsets.push_back(offsets.back() + random.below(21));
  const auto total = static_cast<std::size_t>(offsets.back());
  const auto b_ids = some_rows(random, total, 60, 0);
  std::vector<T> out(total + 1, T(77));
  std::vector<T> expected = out;
  for (std::size_t i = 0; i < 7; ++i) {
    for (auto j = static_cast<std::size_t>(offsets[i]);
         j < static_cast<std::size_t>(offsets[i + 1]); ++j)
      expected[j] = product(a.row(a_ids[i]), b.row(b_ids[j]), length);
  }
  ProductsJob job{};
  job.a = a.chosen(&a_ids);
  job.b = b.chosen(&b_ids);
  job.rows = 7;
  job.offsets = offsets.data();
  job.length = static_cast<std::int64_t>(length);
  job.out = out.data();
  layer_kernels<T>().products(job);
  tally.expect(same(out.data(), expected.data(), out.size()),
               [&] { return "by offsets, length " + std::to_string(length); });
}

template <class T>
void check_products_in_order() {
  Tally tally;
  Random random(1);
  for (std::size_t length = 0; length <= 150; ++length) {
    for (const std::size_t terms : {0, 1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 33})
      check_products<T>(random, length, 1 + length % 5, terms, terms % 2 == 0, false, tally);
    check_products<T>(random, length, 3, 19, true, true, tally);
    check_products_by_offsets<T>(random, length, tally);
  }
  for (const std::size_t length : {1000, 4099})
    check_products<T>(random, length, 2, 21, true, false, tally);
  CHECK(tally.checked() == 151 * 14 + 2);
  CHECK(tally.failed() == 0);
}

// Row i of the output has so many terms of its own, or all have terms[0] with coefficients i, j at
// i * row_step + j * term_step.
template <class T>
void check_weighted_rows(Random& random, std::size_t length, std::vector<std::size_t> terms,
                         bool by_offsets, bool add, bool exceptional, Tally& tally) {
  const std::size_t rows = terms.size();
  std::vector<std::int64_t> offsets = {0};
  for (const std::size_t n : terms) offsets.push_back(offsets.back() + static_cast<int>(n));
  const auto total =
      static_cast<std::size_t>(by_offsets ? offsets.back() : static_cast<std::int64_t>(terms[0]));
  const Rows<T> v(random, 50, length, exceptional);
  const auto ids = some_rows(random, total, 50, 0);
  std::vector<std::int32_t> out_ids(rows);
  std::iota(out_ids.begin(), out_ids.end(), 0);
  std::reverse(out_ids.begin(), out_ids.end());
  const bool across = random.below(2) == 0;  // the coefficients of a term lie side by side
  const std::size_t row_step = across ? 1 : total + 1;
  const std::size_t term_step = across ? rows : 1;
  const auto coefficients = numbers<T>(random, std::max(total, rows * (total + 1)), exceptional);
  const std::size_t stride = length + 3;
  std::vector<T> out = numbers<T>(random, rows * stride + 1);
  std::vector<T> expected = out;
  for (std::size_t i = 0; i < rows; ++i) {
    const std::size_t first = by_offsets ? static_cast<std::size_t>(offsets[i]) : 0;
    T* const to = expected.data() + static_cast<std::size_t>(out_ids[i]) * stride;
    for (std::size_t k = 0; k < length; ++k) {
      to[k] = weighted<T>(
          by_offsets ? terms[i] : total,
          [&](std::size_t j) {
            return coefficients[by_offsets ? first + j : i * row_step + j * term_step];
          },
          [&](std::size_t j) { return v.row(ids[first + j]); }, k, add, to[k]);
    }
  }
  WeightedRowsJob job{};
  job.v = v.chosen(&ids);
  job.rows = static_cast<std::int64_t>(rows);
  job.offsets = by_offsets ? offsets.data() : nullptr;
  job.terms = static_cast<std::int64_t>(total);
  job.coefficients = coefficients.data();
  job.row_step = static_cast<std::int64_t>(row_step);
  job.term_step = static_cast<std::int64_t>(term_step);
  job.length = static_cast<std::int64_t>(length);
  job.out = out.data();
  job.out_stride = static_cast<std::int64_t>(stride * sizeof(T));
  job.out_ids = out_ids.data();
  job.add = add;
  layer_kernels<T>().weighted_rows(job);
  tally.expect(same(out.data(), expected.data(), out.size()), [&] {
    return std::to_string(rows) + " rows of " + std::to_string(length) + ", " +
           std::to_string(total) + " terms" + (by_offsets ? " by offsets" : "") +
           (add ? ", added" : "");
  });
}

template <class T>
void check_weighted_rows_in_order() {
  Tally tally;
  Random random(2);
  for (std::size_t length = 0; length <= 150; ++length) {
    for (const bool add : {false, true}) {
      check_weighted_rows<T>(random, length, {5, 0, 1, 70, 2}, true, add, false, tally);
      check_weighted_rows<T>(random, length, {7, 64, 65}, true, add, true, tally);
      for (const std::size_t rows : {1, 3, 4, 9}) {
        const auto terms = static_cast<std::size_t>(random.below(9));
        check_weighted_rows<T>(random, length, std::vector(rows, terms), false, add, false, tally);
      }
      check_weighted_rows<T>(random, length, std::vector<std::size_t>(6, 10), false, add, true,
                             tally);
    }
  }
  for (const std::size_t terms : {63, 64, 65, 127, 128, 129, 1000})
    check_weighted_rows<T>(random, 37, std::vector(5, terms), false, terms % 2 == 0, false, tally);
  CHECK(tally.checked() == 151 * 2 * 7 + 7);
  CHECK(tally.failed() == 0);
}

}  // namespace

TEST_CASE("products are added up in the order of the contract") {
  check_products_in_order<float>();
  check_products_in_order<double>();
}

TEST_CASE("weighted rows are added up in the order of the contract") {
  check_weighted_rows_in_order<float>();
  check_weighted_rows_in_order<double>();
}
