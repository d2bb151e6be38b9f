// softmax of rows of a single block, exponentials stored and reloaded, several rows at a time, pass
// by pass. The passes of different rows are independent, so that the latency of one row's
// reductions hides behind others' work; for the same reason the maxima of a batch are found before
// the batch ahead of it is written.
#pragma once

#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// As many rows are taken at a time as make up a page of f32: more would leave the memory idle for
// longer between their passes.
constexpr int kBatchRows = 16;
constexpr int kBatchElements = 1024;

inline int batch_of(std::int64_t length, int elements = kBatchElements) {
  const std::int64_t fitting = elements / length;
  return fitting < 1 ? 1 : fitting < kBatchRows ? static_cast<int>(fitting) : kBatchRows;
}

template <class Arithmetic, class In>
struct ShortRows {
  using A = Arithmetic;
  using T = typename A::T;
  using E = ExtExp<A>;

  const In* x;
  std::int64_t x_stride;  // bytes
  In* y;
  std::int64_t y_stride;
  std::int64_t rows;
  int length;
  bool stream;
  int batch = batch_of(length);

  const In* row_x(std::int64_t r) const {
    return reinterpret_cast<const In*>(reinterpret_cast<const char*>(x) + r * x_stride);
  }
  In* row_y(std::int64_t r) const {
    return reinterpret_cast<In*>(reinterpret_cast<char*>(y) + r * y_stride);
  }
  int batch_rows(std::int64_t first) const {
    return rows - first < batch ? static_cast<int>(rows - first) : batch;
  }

  // The exponents of a batch. False where a maximum lies outside the domain of the extended
  // exponential.
  [[gnu::always_inline]] bool find_exponents(std::int64_t first, T* exponent) const {
    const int count = batch_rows(first);
    bool inside = true;
    for (int r = 0; r < count; ++r) {
      exponent[r] = E::exponent(block_max<A>(row_x(first + r), length));
      inside &= exponent[r] <= T(kMaxExponent) && exponent[r] >= T(-kMaxExponent);
    }
    return inside;
  }

  [[gnu::always_inline]] void write_row(const T* terms, In* out, Sum2 sum) const {
    const auto normal = normalizer_of<T>(sum.hi, sum.lo);
    const auto quotient = quotient_of<A>(normal.inverse_hi, normal.inverse_lo, -normal.q);
    const auto fill = A::set1(T(0));
    map_block<A>(out, length, stream, [&](int i, auto part) __attribute__((always_inline)) {
      return quotient(load<A>(terms + i, part, fill));
    });
    if (sum.hi == sum.hi) return;
    const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
    map_block<A>(out, length, false, [&](int, auto) __attribute__((always_inline)) { return nan; });
  }

  // The number of rows done: all, or those ahead of a batch with a row outside the domain.
  std::int64_t run() const {
    alignas(64) T buffer[kBatchElements];
    T exponents[2][kBatchRows];
    Sum2 sums[kBatchRows];
    bool inside = find_exponents(0, exponents[0]);
    int turn = 0;
    for (std::int64_t first = 0; first < rows; first += batch) {
      if (!inside) return first;
      const int count = batch_rows(first);
      const auto terms = [&](int r) {
        if constexpr (sizeof(In) == sizeof(T)) {
          if (!stream) return row_y(first + r);
        }
        return buffer + r * length;
      };
      for (int r = 0; r < count; ++r)
        sums[r] = block_sum<A, Also::keep>(row_x(first + r), length, exponents[turn][r], terms(r));
      turn ^= 1;
      if (first + count < rows) inside = find_exponents(first + count, exponents[turn]);
      for (int r = 0; r < count; ++r) write_row(terms(r), row_y(first + r), sums[r]);
    }
    return rows;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
