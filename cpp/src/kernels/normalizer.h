// From a sum to the factors that outputs are multiplied with.
//
//   sum = (hi + lo) = s * 2^q, 1 <= s < 2;   1/s = inverse_hi + inverse_lo
//
// Domain: hi positive and normal (NaN comes out as NaN). Error: the pair is within 2^-46 (f64:
// 2^-97) of 1/s, so that a quotient formed with it is rounded all but correctly, is exactly 1
// where the sum is the term, and never exceeds 1.
//
// In scalars: values that were just stored one by one and then loaded as a vector would wait for
// every store ahead of them.
#pragma once

#include "kernels/block.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class T>
struct Normalizer {
  T inverse_hi, inverse_lo, q;
};

template <class T>
[[gnu::always_inline]] inline Normalizer<T> normalizer_of(double hi, double lo) {
  constexpr std::uint64_t exponent_bits = 0x7ff0000000000000;
  const std::uint64_t field = bits_of(hi) & exponent_bits;
  const double down = double_of(0x7fe0000000000000 - field);
  const double s = hi * down;
  const T s_hi = static_cast<T>(s);
  const T s_lo = static_cast<T>((s - static_cast<double>(s_hi)) + lo * down);
  const T inverse = T(1) / s_hi;
  const T error = fused(-inverse, s_lo, fused(-inverse, s_hi, T(1)));
  return {inverse, error * inverse, static_cast<T>(static_cast<int>(field >> 52) - 1023)};
}

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
