// The extended exponential: e^z = m * 2^n as a pair that neither overflows nor underflows.
//
//   16 n + j = rint(z * 16 log2 e), 0 <= j < 16    an integer held in a float
//   r = z - (16 n + j) * (ln 2)/16                 in two fused steps; |r| <= 0.0217
//   m = P + P * (q(r) + d)                         q(r) = e^r - 1; from tables P = 2^(j/16),
//                                                  rounded, and d = 2^(j/16) / P - 1
//
// so that m is in about [0.978, 1.958].
//
// Domain: |n| <= 2^17. Below it z weighs nothing beside an element in the domain, and term() gives
// an exact zero, -inf and the masks people write (-1e9, -FLT_MAX) included. Above it, and for +inf
// and NaN, n or m tells: n > 2^17 or m is NaN.
// Error: m within 0.59 ulp of e^z / 2^n in f32, measured over every input; 0.65 in f64, measured on
// a sample (docs/numerics.md). e^0 = 1 exactly.
//
// The rounding to an integer adds a constant of the form 1.5 * 2^23 + 16 k (1.5 * 2^52 + 16 k in
// f64). Inside the domain z * 16 log2 e is never halfway between integers: the odd part of log2 e's
// significand has 24 bits (f64: 52), so a halfway product is at least 2^22 (2^50). So rounding does
// not depend on k, and the sum's low bits hold 16 (n + k) + j: the table's index, and above it what
// shifted into place is the exponent field of 2^n, scaled at no cost.
//
// Sources: Dukhan and Ablavatski (2020), the (mantissa, exponent) pair; Tang (1989), the table;
// Cody and Waite (1980), the reduction in two parts. q is minimax, by the Remez algorithm.
#pragma once

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

constexpr double kMaxExponent = 131072.0;  // 2^17: rows beyond it take the exceptional path

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float magic = 0x1.8p23f;
  static constexpr float steps = 0x1.715476p4f;     // 16 log2 e
  static constexpr float step_hi = 0x1.62e430p-5f;  // (ln 2)/16
  static constexpr float step_lo = -0x1.05c610p-33f;
  static constexpr float lowest = -0x1.62e42ep17f;  // -2^18 * ln 2
  static constexpr int field_bias = 127;
  // e^r - 1 = r + q[0] r^2 + ...; error, relative to e^r, 2^-29.2.
  static constexpr int terms = 2;
  FASTSOFTMAX_HD static constexpr float q(int i) {
    constexpr float coefficients[terms] = {0x1.00021ep-1f, 0x1.55559ap-3f};
    return coefficients[i];
  }
};

template <>
struct ExpConstants<double> {
  static constexpr double magic = 0x1.8p52;
  static constexpr double steps = 0x1.71547652b82fep4;
  static constexpr double step_hi = 0x1.62e42fefa39efp-5;
  static constexpr double step_lo = 0x1.abc9e3b39803fp-60;
  static constexpr double lowest = -0x1.62e42fefa39efp17;
  static constexpr int field_bias = 1023;
  // Error 2^-56.2.
  static constexpr int terms = 5;
  FASTSOFTMAX_HD static constexpr double q(int i) {
    constexpr double coefficients[terms] = {0x1.fffffffffffb9p-2, 0x1.555555548f890p-3,
                                            0x1.55555558fca6dp-5, 0x1.11123aae74323p-7,
                                            0x1.6c14c6eb8be36p-10};
    return coefficients[i];
  }
};

template <class A>
struct ExtExp {
  using T = typename A::T;
  using reg = typename A::reg;
  using C = ExpConstants<T>;

  FASTSOFTMAX_HD static reg clamp(reg z) { return A::max(A::set1(C::lowest), z); }

  // For round: scales exponents by 2^k.
  FASTSOFTMAX_HD static T rounder(T k) { return C::magic + T(16) * k; }
  // rounder(k - n), with n of z, clamped from below.
  FASTSOFTMAX_HD static reg rounder_below(reg z, T k) {
    const reg t = round(clamp(z), A::set1(C::magic));
    return A::sub(A::set1(rounder(k) + C::magic), A::whole(t));
  }
  // magic + 16 (n + k) + j.
  FASTSOFTMAX_HD static reg round(reg z, reg rounder) {
    return A::fma(z, A::set1(C::steps), rounder);
  }

  // What P must grow by: 2^(j/16) e^r / P - 1, for t = round(z, rounder).
  FASTSOFTMAX_HD [[gnu::always_inline]] static reg growth(reg z, reg t, reg rounder) {
    const reg steps = A::sub(t, rounder);
    const reg r = A::fnma(steps, A::set1(C::step_lo), A::fnma(steps, A::set1(C::step_hi), z));
    reg q = A::set1(C::q(C::terms - 1));
#pragma GCC unroll 8
    for (int i = C::terms - 2; i >= 0; --i) q = A::fma(q, r, A::set1(C::q(i)));
    return A::fma(A::fma(q, r, A::set1(T(1))), r, A::power_error(t));
  }

  // m with exponent field n + k, which is below 255 (f64: 2047), and exactly 0 where n + k < 1.
  FASTSOFTMAX_HD static reg term(reg z, reg rounder) {
    const reg t = round(z, rounder);
    return scaled(growth(z, t, rounder), t);
  }
  FASTSOFTMAX_HD static reg scaled(reg q, reg t) {
    const reg p = A::power(t);
    return A::fma_above(p, q, p, t, A::set1(C::magic + T(15)));
  }

  // m and n themselves.
  struct Pair {
    reg m, n;
  };
  FASTSOFTMAX_HD [[gnu::always_inline]] static Pair pair(reg z) {
    const reg magic = A::set1(C::magic);
    const reg t = round(z, magic);
    const reg q = growth(z, t, magic);
    const reg p = A::power(A::fraction(t));
    return {A::fma(p, q, p), A::mul(A::sub(A::whole(t), magic), A::set1(T(0.0625)))};
  }
  // n, clamped from below; above the domain only known to be above it.
  FASTSOFTMAX_HD static reg exponents(reg z) { return pair(clamp(z)).n; }
  FASTSOFTMAX_HD static T exponent(T z) { return A::first(exponents(A::set1(z))); }
  FASTSOFTMAX_HD static T mantissa(T z) { return A::first(pair(A::set1(z)).m); }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
