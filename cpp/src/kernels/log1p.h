// log1p in double, in our own operations so that every platform gives the same bits.
//
//   u = 1 + q = 2^k * (1 + f),  1 + f in [sqrt 1/2, sqrt 2)
//   log u = k ln 2 + f - (f^2/2 - s (f^2/2 + R)),   s = f / (2 + f),
//   R = 2 s^2 (1/3 + s^2/5 + s^4/7 + ...)           the series of 2 artanh(s), to 2^-60
//
// Domain: 0 <= q < 2^1000 (NaN comes back as it is). Error: below 1 ulp. log1p(0) = 0.
// Source: the argument splitting is that of W. Kahan and K. C. Ng for the 4.3BSD libm.
#pragma once

#include "kernels/ext_sum.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// A: the Vec layer's F64.
template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg log1p_nonnegative(typename A::reg q) {
  const auto constant = [](double v) { return A::set1(v); };
  const auto zero = constant(0.0);
  const auto one = constant(1.0);
  // a where q <= bound or NaN, else b.
  const auto up_to = [&](double bound, auto a, auto b) {
    return A::select_equal(A::select_above(q, constant(bound), zero), zero, a, b);
  };
  const auto u = A::add(one, q);
  const auto lost =
      up_to(0x1.fffffffffffffp-1, A::sub(q, A::sub(u, one)), A::sub(one, A::sub(u, q)));
  const auto correction = A::div(lost, u);
  double hi[A::width];
  double lo[A::width] = {};
  A::store(hi, u);
  typename A::reg m;
  typename A::reg none;
  typename A::reg k;
  A::split(hi, lo, m, none, k);
  // From the square root of 2 on, half of it and one more in k.
  const auto half = A::mul(A::select_above(m, constant(0x1.6a09e667f3bcdp0), zero), constant(0.5));
  m = A::sub(m, half);
  k = A::add(k, A::select_equal(half, zero, zero, one));

  const auto f = A::select_equal(k, zero, q, A::sub(m, one));
  const auto s = A::div(f, A::add(constant(2.0), f));
  const auto z = A::mul(s, s);
  auto r = constant(2.0 / 23.0);
#pragma GCC unroll 16
  for (int i = 21; i >= 3; i -= 2) r = A::add(A::mul(r, z), constant(2.0 / i));
  r = A::mul(r, z);
  const auto half_square = A::mul(A::mul(constant(0.5), f), f);
  const auto tail = A::mul(s, A::add(half_square, r));
  const auto near = A::sub(f, A::sub(half_square, tail));
  constexpr double ln2_hi = 0x1.62e42feep-1;  // the low bits are zero: k * ln2_hi is exact
  constexpr double ln2_lo = 0x1.a39ef35793c76p-33;
  const auto rest = A::add(tail, A::add(A::mul(k, constant(ln2_lo)), correction));
  const auto far = A::sub(A::mul(k, constant(ln2_hi)), A::sub(A::sub(half_square, rest), f));
  return up_to(0x1.fffffffffffffp-55, q, A::select_equal(k, zero, near, far));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
