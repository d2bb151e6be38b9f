// From sums to the factors that outputs are multiplied with, for many rows or columns at once.
//
//   sum = (hi + lo) = s * 2^q, 1 <= s < 2;   1/s = inverse_hi + inverse_lo
//
// Domain: hi positive and normal (NaN comes out as NaN). Error: the pair is within 2^-46 (f64:
// 2^-97) of 1/s, so that a quotient formed with it is rounded all but correctly, is exactly 1
// where the sum is the term, and never exceeds 1.
#pragma once

#include "kernels/block.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, int N>
struct Normalizers {
  using T = typename A::T;

  alignas(64) T inverse_hi[N];
  alignas(64) T inverse_lo[N];
  alignas(64) T q[N];

  // Sets the first `count`, with N a multiple of the register width or 1.
  [[gnu::always_inline]] void set(const double* hi, const double* lo, int count) {
    alignas(64) T s_lo[N];
    for (int i = 0; i < count; ++i) {
      std::int64_t bits;
      __builtin_memcpy(&bits, hi + i, sizeof bits);
      const std::int64_t field = bits & 0x7ff0000000000000;
      const std::int64_t down_bits = 0x7fe0000000000000 - field;
      double down;
      __builtin_memcpy(&down, &down_bits, sizeof down);
      const double s = hi[i] * down;
      inverse_hi[i] = static_cast<T>(s);
      s_lo[i] = static_cast<T>((s - static_cast<double>(inverse_hi[i])) + lo[i] * down);
      q[i] = static_cast<T>((field >> 52) - 1023);
    }
    const auto one = A::set1(T(1));
    if constexpr (N == 1) {
      const auto s = A::set1(inverse_hi[0]);
      const auto inverse = A::div(one, s);
      const auto error = A::fnma(inverse, A::set1(s_lo[0]), A::fnma(inverse, s, one));
      inverse_hi[0] = A::first(inverse);
      inverse_lo[0] = A::first(A::mul(error, inverse));
    } else {
      for (int i = 0; i < count; i += A::width) {
        const auto s = A::load(inverse_hi + i);
        const auto inverse = A::div(one, s);
        const auto error = A::fnma(inverse, A::load(s_lo + i), A::fnma(inverse, s, one));
        A::store(inverse_hi + i, inverse);
        A::store(inverse_lo + i, A::mul(error, inverse));
      }
    }
  }
};

// term * inverse * 2^shift; 0 where that is not above the smallest normal number.
template <class A>
struct Quotient {
  using reg = typename A::reg;
  reg inverse_hi, inverse_lo, scale;  // scale: magic + shift

  [[gnu::always_inline]] reg operator()(reg term) const {
    return A::scale_normal(A::fma(term, inverse_hi, A::mul(term, inverse_lo)), scale);
  }
};

template <class A>
inline Quotient<A> quotient_of(typename A::T inverse_hi, typename A::T inverse_lo,
                               typename A::T shift) {
  return {A::set1(inverse_hi), A::set1(inverse_lo),
          A::set1(ExpConstants<typename A::T>::magic + shift)};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
