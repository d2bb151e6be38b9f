// The extended exponential: e^z = m * 2^n as a pair that neither overflows nor underflows.
//
//   n = rint(z * log2 e)                        an integer held in a float
//   r = z - n * ln 2                            ln 2 in two parts, two fused steps
//   m = p(r), a minimax polynomial for e^r      |r| <= 0.3467, m in about [0.70, 1.42]
//
// Domain: |z| <= 2^20 * ln 2. Below, z is clamped to -2^21 * ln 2, which also takes -inf and the
// masks people write (-1e9, -FLT_MAX): such a pair is finite and weighs nothing beside one in the
// domain. Above the domain, and for +inf and NaN, n or m tells: n > 2^20 or m is NaN.
// Error: m within 1 ulp of e^z / 2^n, measured over every f32 input; f64 likewise on a sample
// (docs/numerics.md). e^0 = 1 exactly.
//
// The rounding to an integer adds a constant of the form 1.5 * 2^23 + k (1.5 * 2^52 + k in f64).
// Inside the domain z * log2 e is never halfway between integers: the odd part of log2 e's
// significand has 24 bits (f64: 52), so a halfway product needs |z| >= 2^22 (2^50). So rounding
// does not depend on k, and the sum's low bits hold n + k: shifted into place they are the exponent
// field of 2^n, scaled at no cost.
//
// Sources: Dukhan and Ablavatski (2020), the (mantissa, exponent) pair; Cody and Waite (1980), the
// reduction in two parts. The polynomials are minimax: f64 by the Remez algorithm, f32 by linear
// programming, rounding one coefficient after the other.
#pragma once

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

constexpr double kMaxExponent = 1048576.0;  // 2^20: rows beyond it take the exceptional path

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float magic = 0x1.8p23f;
  static constexpr float log2e = 0x1.715476p0f;
  static constexpr float ln2_hi = 0x1.62e430p-1f;
  static constexpr float ln2_lo = -0x1.05c610p-29f;
  static constexpr float lowest = -0x1.62e430p20f;  // -2^21 * ln 2
  static constexpr int field_bias = 127;
  // Relative error of the polynomial, with these coefficients, 2^-28.2.
  static constexpr int degree = 6;
  static constexpr float poly[degree + 1] = {
      1.0f, 1.0f, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558aep-5f, 0x1.123988p-7f, 0x1.6a4f88p-10f};
};

template <>
struct ExpConstants<double> {
  static constexpr double magic = 0x1.8p52;
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double ln2_hi = 0x1.62e42fefa39efp-1;
  static constexpr double ln2_lo = 0x1.abc9e3b39803fp-56;
  static constexpr double lowest = -0x1.62e42fefa39efp20;
  static constexpr int field_bias = 1023;
  // Relative error of the polynomial, with these coefficients, 2^-56.4.
  static constexpr int degree = 11;
  static constexpr double poly[degree + 1] = {1.0,
                                              1.0,
                                              0x1.000000000000ap-1,
                                              0x1.55555555554fap-3,
                                              0x1.555555555085dp-5,
                                              0x1.1111111127c80p-7,
                                              0x1.6c16c184319a2p-10,
                                              0x1.a01a012a31809p-13,
                                              0x1.a01999f6bb17cp-16,
                                              0x1.71df258654468p-19,
                                              0x1.28ad87d2c12e8p-22,
                                              0x1.ad7f5267b57bdp-26};
};

template <class A>
struct ExtExp {
  using T = typename A::T;
  using reg = typename A::reg;
  using C = ExpConstants<T>;

  static reg clamp(reg x) { return A::max(A::set1(C::lowest), x); }

  // magic + n + k for the constant `rounder` = magic + k.
  static reg round(reg z, reg rounder) { return A::fma(z, A::set1(C::log2e), rounder); }

  static reg mantissa(reg z, reg n) {
    const reg r = A::fnma(n, A::set1(C::ln2_lo), A::fnma(n, A::set1(C::ln2_hi), z));
    reg p = A::set1(C::poly[C::degree]);
#pragma GCC unroll 12
    for (int i = C::degree - 1; i >= 0; --i) p = A::fma(p, r, A::set1(C::poly[i]));
    return p;
  }

  static T exponent(T x) {
    const T z = x > C::lowest || x != x ? x : C::lowest;
    const typename A::reg t = round(A::set1(z), A::set1(C::magic));
    return A::first(A::sub(t, A::set1(C::magic)));
  }
  static T mantissa(T x) {
    const reg z = clamp(A::set1(x));
    return A::first(mantissa(z, A::set1(exponent(x))));
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
