// Rows of a matrix brought to length 1, and the way of gradients back.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "call_threads.h"
#include "linear_matrix.h"
#include "row_source.h"
#include "tasks.h"

namespace fastsoftmax {

// In double: eight sums, which are added by halving.
template <class T>
double dot(const T* a, const T* b, std::int64_t count) {
  constexpr std::size_t lanes = 8;
  std::array<double, lanes> sums{};
  std::int64_t i = 0;
  for (; i + std::int64_t{lanes} <= count; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k)
      sums[k] += static_cast<double>(a[static_cast<std::size_t>(i) + k]) *
                 static_cast<double>(b[static_cast<std::size_t>(i) + k]);
  }
  for (; i < count; ++i)
    sums[static_cast<std::size_t>(i) % lanes] +=
        static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (std::size_t h = lanes / 2; h > 0; h /= 2)
    for (std::size_t k = 0; k < h; ++k) sums[k] += sums[k + h];
  return sums[0];
}

// The length of a vector, also where squares of its elements leave the range of a double; 0 where
// it is below the smallest normal one.
template <class T>
double length_of(const T* row, std::int64_t count) {
  const double squares = dot(row, row, count);
  if (squares > 0x1p-900 && squares < std::numeric_limits<double>::infinity())
    return std::sqrt(squares);
  double largest = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double size = std::fabs(static_cast<double>(row[i]));
    if (!(size <= largest) && largest == largest) largest = size;
  }
  if (largest < std::numeric_limits<double>::min()) return 0.0;
  if (!std::isfinite(largest)) return largest;
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double part = static_cast<double>(row[i]) / largest;
    sum += part * part;
  }
  return largest * std::sqrt(sum);
}

// Rows of numbers ids[i], of length `scale`, or with `normalize` false as they are times scale.
// Rows of zeros stay zeros, and an id of -1 stands for one.
template <class T>
class UnitRows {
 public:
  UnitRows(const RowSource<T>& from, const std::vector<std::int64_t>& ids, double scale,
           bool normalize, int threads)
      : shape_{std::ssize(ids), from.columns()},
        strides_{from.columns() * std::int64_t{sizeof(T)}, sizeof(T)},
        scale_(scale),
        lengths_(normalize ? static_cast<std::size_t>(shape_[0]) : 0) {
    rows_.reserve(shape_[0] * shape_[1]);
    for_rows(threads, [&](std::int64_t i) {
      T* const row = rows_.get() + i * columns();
      const std::int64_t id = ids[static_cast<std::size_t>(i)];
      if (id < 0) return static_cast<void>(std::fill_n(row, columns(), T(0)));
      from.copy(id, row);
      double length = 1.0;
      if (normalize) length = lengths_[static_cast<std::size_t>(i)] = length_of(row, columns());
      const double inverse = length == 0.0 ? 0.0 : 1.0 / length;
      for (std::int64_t k = 0; k < columns(); ++k)
        row[k] = static_cast<T>(static_cast<double>(row[k]) * inverse * scale_);
    });
  }
  UnitRows(const UnitRows&) = delete;
  UnitRows& operator=(const UnitRows&) = delete;

  std::int64_t rows() const { return shape_[0]; }
  std::int64_t columns() const { return shape_[1]; }
  ConstView view() const { return {rows_.get(), dtype_of_arithmetic<T>, shape_, strides_}; }

  // From gradients with respect to these rows to those with respect to the rows they were made of,
  // in place: (s / |v|) (g - v^ (v^ . g)).
  void pull_back(T* gradients, int threads) const {
    for_rows(threads, [&](std::int64_t i) {
      const T* const row = rows_.get() + i * columns();
      T* const g = gradients + i * columns();
      const double length = lengths_.empty() ? 1.0 : lengths_[static_cast<std::size_t>(i)];
      const double inverse = length == 0.0 ? 0.0 : 1.0 / length;  // which keeps a NaN
      const double along = lengths_.empty() ? 0.0 : dot(row, g, columns()) / scale_ / scale_;
      for (std::int64_t k = 0; k < columns(); ++k) {
        const double across = static_cast<double>(g[k]) - static_cast<double>(row[k]) * along;
        g[k] = static_cast<T>(across * inverse * scale_);
      }
    });
  }

 private:
  template <class Body>
  void for_rows(int threads, Body body) const {
    constexpr std::int64_t together = 64;
    for_tasks(divide_up(rows(), together), threads_for(rows() * columns(), threads),
              [&](std::int64_t task, int) {
                const std::int64_t last = std::min((task + 1) * together, rows());
                for (std::int64_t i = task * together; i < last; ++i) body(i);
              });
  }

  std::array<std::int64_t, 2> shape_;
  std::array<std::int64_t, 2> strides_;
  double scale_;
  std::vector<double> lengths_;  // of the rows as they were
  Buffer<T> rows_;
};

}  // namespace fastsoftmax
