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

inline double log1p_nonnegative(double q) {
  constexpr double ln2_hi = 0x1.62e42feep-1;  // the low bits are zero: k * ln2_hi is exact
  constexpr double ln2_lo = 0x1.a39ef35793c76p-33;
  if (!(q > 0.0)) return q;
  if (q < 0x1p-54) return q;

  double u = 1.0 + q;
  const double lost = q < 1.0 ? q - (u - 1.0) : 1.0 - (u - q);
  int k = exponent_of(u);
  const double correction = lost / u;
  u *= power_of_two(-k);
  if (u > 0x1.6a09e667f3bcdp0) {
    u *= 0.5;
    ++k;
  }
  const bool small = k == 0;
  const double f = small ? q : u - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double r = 2.0 / 23.0;
  for (int i = 21; i >= 3; i -= 2) r = r * z + 2.0 / i;
  r *= z;
  const double half_square = 0.5 * f * f;
  const double tail = s * (half_square + r);
  if (small) return f - (half_square - tail);
  return k * ln2_hi - ((half_square - (tail + (k * ln2_lo + correction))) - f);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
