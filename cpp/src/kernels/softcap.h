// Soft-capped scores, c tanh(x / c), and their derivative.
//
//   E = e^(-2|u|) - 1,    tanh u = -E / (2 + E) with the sign of u,    derivative 1 - tanh^2
//
// Domain: all numbers; +-inf become +-c, NaN stays. Error: of the scores 4 u (f64: 5 u) of
// themselves, since E keeps its relative accuracy near 0; of the derivative, formed from the capped
// score, 3 u of 1.
#pragma once

#include "kernels/source.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// e^x and e^x - 1 for x <= 0; e^x is only known to be small below -87 (f64: -708).
template <class A>
struct ExpAndLess {
  typename A::reg exp, less;

  FASTSOFTMAX_HD [[gnu::always_inline]] explicit ExpAndLess(typename A::reg x) {
    using T = typename A::T;
    using E = ExtExp<A>;
    const auto z = A::max(A::set1(T(-1000)), x);
    const auto magic = A::set1(ExpConstants<T>::magic);
    const auto t = E::round(z, magic);
    const auto growth = E::growth(z, t, magic);
    const auto exponent = A::mul(A::sub(A::whole(t), magic), A::set1(T(0.0625)));
    const auto power = A::scale_down(A::power(A::fraction(t)), exponent);
    exp = A::fma(power, growth, power);
    less = A::fma(power, growth, A::sub(power, A::set1(T(1))));
  }
};

template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg tanh_of(typename A::reg u) {
  using T = typename A::T;
  const auto zero = A::set1(T(0));
  const auto size = A::max(A::sub(zero, u), u);
  const auto e = ExpAndLess<A>(A::mul(size, A::set1(T(-2)))).less;
  const auto tanh = A::div(A::sub(zero, e), A::add(A::set1(T(2)), e));
  // Between -tanh and tanh lies u only where it is 0.
  return A::max(A::sub(zero, tanh), A::min(tanh, u));
}

template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg soft_capped(typename A::reg x,
                                                                         typename A::reg cap) {
  return A::mul(tanh_of<A>(A::div(x, cap)), cap);
}

// A source whose blocks are soft-capped.
template <class A>
struct SoftcapSource {
  using T = typename A::T;

  FetchFn fetch;
  const void* context;
  T cap;

  // A FetchFn; the context is this.
  static void fetch_capped(const void* self, std::int64_t row, std::int64_t start, int count,
                           void* buffer) {
    const auto& s = *static_cast<const SoftcapSource*>(self);
    T* const z = static_cast<T*>(buffer);
    s.fetch(s.context, row, start, count, z);
    const auto cap = A::set1(s.cap);
    map_block<A>(z, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return soft_capped<A>(load<A>(z + i, part, A::set1(T(0))), cap);
    });
  }
};

// Of c tanh(x / c) with respect to x, from that score and 1 / c.
template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg softcap_derivative(
    typename A::reg z, typename A::reg inverse) {
  const auto tanh = A::mul(z, inverse);
  return A::fnma(tanh, tanh, A::set1(typename A::T(1)));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
