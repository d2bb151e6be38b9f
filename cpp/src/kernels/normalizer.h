// From a sum to the factors that outputs are multiplied with.
//
//   sum = (hi + lo) = s * 2^q, 1 <= s < 2;   1/s = inverse_hi + inverse_lo
//
// Domain: hi positive and normal (NaN comes out as NaN). Error: the pair is within 2^-46 (f64:
// 2^-97) of 1/s, so that a quotient formed with it is rounded all but correctly, is exactly 1
// where the sum is the term, and never exceeds 1.
//
// A single one in scalars: values that were just stored one by one and then loaded as a vector
// would wait for every store ahead of them.
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
FASTSOFTMAX_HD [[gnu::always_inline]] inline Normalizer<T> normalizer_of(double hi, double lo) {
  T s_hi;
  T s_lo;
  T q;
  split_one(hi, lo, s_hi, s_lo, q);
  const T inverse = T(1) / s_hi;
  const T error = fused(-inverse, s_lo, fused(-inverse, s_hi, T(1)));
  return {inverse, error * inverse, q};
}

// Those of A::width sums, and the number that scales what they multiply.
template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline void normalizers_of(const double* hi, const double* lo,
                                                                 typename A::T* inverse_hi,
                                                                 typename A::T* inverse_lo,
                                                                 typename A::T* scale) {
  using T = typename A::T;
  const auto one = A::set1(T(1));
  typename A::reg s_hi;
  typename A::reg s_lo;
  typename A::reg q;
  A::split(hi, lo, s_hi, s_lo, q);
  const auto inverse = A::div(one, s_hi);
  const auto error = A::fnma(inverse, s_lo, A::fnma(inverse, s_hi, one));
  A::store(inverse_hi, inverse);
  A::store(inverse_lo, A::mul(error, inverse));
  A::store(scale, A::sub(A::set1(ExpConstants<T>::magic), q));
}

// term * inverse * 2^shift; 0 where that is not above the smallest normal number.
template <class A>
struct Quotient {
  using reg = typename A::reg;
  reg inverse_hi, inverse_lo, scale;  // scale: magic + shift

  FASTSOFTMAX_HD [[gnu::always_inline]] reg operator()(reg term) const {
    return A::scale_normal(A::fma(term, inverse_hi, A::mul(term, inverse_lo)), scale);
  }
};

template <class A>
FASTSOFTMAX_HD inline Quotient<A> quotient_of(typename A::T inverse_hi, typename A::T inverse_lo,
                                              typename A::T shift) {
  return {A::set1(inverse_hi), A::set1(inverse_lo),
          A::set1(ExpConstants<typename A::T>::magic + shift)};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
