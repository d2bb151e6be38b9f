// softmax of rows of a single block by three passes with reload, several rows at a time: pass by
// pass, and the arithmetic that a row needs once in vectors across rows. The passes of different
// rows are independent, so that the latency of one row's reductions hides behind the others' work.
#pragma once

#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// As many rows are taken at a time as make up a page of f32: more would leave the memory idle for
// longer between their passes.
constexpr int kBatchRows = 16;
constexpr std::int64_t kBatchElements = 1024;

// False, having written nothing, where a row's maximum lies outside the domain of the extended
// exponential.
template <class A, class In>
bool softmax_short_rows(const In* x, std::int64_t x_stride, In* y, std::int64_t y_stride, int rows,
                        int length, bool stream) {
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr bool in_output = sizeof(In) == sizeof(T);
  alignas(64) T buffer[kBatchElements];
  alignas(64) T exponent[kBatchRows] = {};
  double hi[kBatchRows];
  double lo[kBatchRows];
  const auto row_x = [&](int r) {
    return reinterpret_cast<const In*>(reinterpret_cast<const char*>(x) + r * x_stride);
  };
  const auto row_y = [&](int r) {
    return reinterpret_cast<In*>(reinterpret_cast<char*>(y) + r * y_stride);
  };
  const auto stored = [&](int r) {
    if constexpr (in_output) {
      if (!stream) return row_y(r);
    }
    return buffer + r * length;
  };

  for (int r = 0; r < rows; ++r) exponent[r] = block_max<A>(row_x(r), length);
  for (int r = rows; r < kBatchRows; ++r) exponent[r] = exponent[0];
  bool inside = true;
  for (int r = 0; r < kBatchRows; r += A::width)
    A::store(exponent + r, E::exponents(A::load(exponent + r)));
  for (int r = 0; r < rows; ++r)
    inside &= exponent[r] <= T(kMaxExponent) && exponent[r] >= T(-kMaxExponent);
  if (!inside) return false;

  for (int r = 0; r < rows; ++r) {
    const Sum2 sum = block_sum<A, Also::keep>(row_x(r), length, exponent[r], stored(r));
    hi[r] = sum.hi;
    lo[r] = sum.lo;
  }
  for (int r = rows; r < kBatchRows; ++r) {
    hi[r] = 1.0;
    lo[r] = 0.0;
  }
  Normalizers<A, kBatchRows> normal;
  normal.set(hi, lo, kBatchRows);

  const auto fill = A::set1(T(0));
  for (int r = 0; r < rows; ++r) {
    const T* e = stored(r);
    const auto quotient = quotient_of<A>(normal.inverse_hi[r], normal.inverse_lo[r], -normal.q[r]);
    map_block<A>(row_y(r), length, stream, [&](int i, auto part) __attribute__((always_inline)) {
      return quotient(load<A>(e + i, part, fill));
    });
    if (hi[r] != hi[r]) {
      const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
      map_block<A>(row_y(r), length, false,
                   [&](int, auto) __attribute__((always_inline)) { return nan; });
    }
  }
  return true;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
