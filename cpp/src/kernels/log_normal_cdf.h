// The logarithm of the normal distribution function, and its derivative:
//
//   Phi(-t) = e^(-t^2/2) G(t),  (t + 5) G(t) = P((t - 5) / (t + 5)),  t >= 0
//   log Phi(x) = -x^2/2 - log1p((1 - G) / G), x < 0;  -log1p(p / (1 - p)), p = Phi(-x), else
//   phi(x) / Phi(x) = 1 / (sqrt(2 pi) G), x < 0;      phi(x) / (1 - p) else
//
// P interpolates at 25 Chebyshev nodes, to 2^-57. What rounding takes from t^2 is put back behind
// the exponential: e^-s (1 - r) for t^2/2 = s + r. f32 is computed in double.
//
// Error: at most 9 ulp, of the derivative 7, in f64, measured on a sample, and 0.501 in f32.
// Special values: what lies below the smallest normal number is 0. log Phi(-inf) = -inf with
// derivative inf, log Phi(inf) = 0 with derivative 0; a NaN is the canonical one.
//
// Source: Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x (1981), the
// rational argument.
#pragma once

#include "kernels/log1p.h"
#include "kernels/products.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// A: the Vec layer's F64.
template <class A>
struct LogNormalCdf {
  using reg = typename A::reg;

  reg log, slope;

  [[gnu::always_inline]] LogNormalCdf(reg x, bool with_log) {
    constexpr double p[] = {0x1.89d3abe1f95aep-1,   -0x1.54ad03f27ca19p-1,  0x1.fb31653876f8cp-2,
                            -0x1.410ed5f8758d9p-2,  0x1.51f6329f01a87p-3,   -0x1.1b1c254ca793bp-4,
                            0x1.54b4d4f49629fp-6,   -0x1.88590e919f5f4p-9,  -0x1.a2503786f3ed8p-11,
                            0x1.1daf19fd84df7p-11,  -0x1.f2148dc41cb98p-15, -0x1.a16fc916d1cc4p-15,
                            0x1.17def407c647cp-16,  0x1.0b0ce905b6a3dp-18,  -0x1.73df67cfed844p-19,
                            -0x1.662385ec25d93p-22, 0x1.d47b94dce41dep-22,  0x1.4b53832ca0e74p-25,
                            -0x1.2e45d457a42e4p-24, -0x1.dcf8ada5baf45p-28, 0x1.822b5931fd6f8p-27,
                            0x1.5d7920963a499p-30,  -0x1.a58e09b11bf0dp-30, -0x1.24bc80a8e5f28p-33,
                            0x1.123443fd635ebp-33};
    const auto constant = [](double v) { return A::set1(v); };
    const reg zero = constant(0.0);
    const reg one = constant(1.0);
    const auto where_negative = [&](reg negative, reg other) {
      return A::select_equal(A::min(zero, x), zero, other, negative);
    };
    const reg t = A::max(A::sub(zero, x), x);
    const reg above = A::add(t, constant(5.0));
    const reg per = A::div(one, above);
    const reg s = A::fnma(constant(10.0), per, one);
    // Even and odd powers by themselves: half the latency.
    const reg squared = A::mul(s, s);
    reg even = constant(p[24]);
    reg odd = constant(p[23]);
#pragma GCC unroll 16
    for (int i = 22; i >= 2; i -= 2) {
      even = A::fma(even, squared, constant(p[i]));
      odd = A::fma(odd, squared, constant(p[i - 1]));
    }
    const reg scaled = A::fma(odd, s, A::fma(even, squared, constant(p[0])));

    // Beyond the bound the exponential is 0 anyway.
    const reg near = A::min(constant(64.0), t);
    const reg square = A::mul(near, near);
    const reg lost = A::fnma(near, near, square);
    using E = ExtExp<A>;
    const reg rounded = E::term(A::mul(constant(-0.5), square),
                                constant(E::rounder(ExpConstants<double>::field_bias)));
    const reg e = A::fma(A::mul(constant(0.5), lost), rounded, rounded);
    const reg tail = A::mul(A::mul(e, scaled), per);

    const reg inverse = A::div(one, where_negative(scaled, A::sub(one, tail)));
    const reg density = A::mul(constant(0x1.9884533d43651p-2), where_negative(above, e));
    slope = finish(A::mul(density, inverse), x);
    if (!with_log) return;
    const reg ratio = A::mul(where_negative(A::sub(above, scaled), tail), inverse);
    const reg rest = log1p_nonnegative<A>(A::min(constant(0x1p900), ratio));
    const reg parabola = A::mul(A::mul(constant(-0.5), t), t);
    log = A::sub(where_negative(parabola, zero), finish(rest, x));
  }

 private:
  // 0 where v >= 0 is not normal, a NaN where x is one.
  [[gnu::always_inline]] static reg finish(reg v, reg x) {
    return A::select_equal(x, x, A::select_above(v, A::set1(0x1p-1022), A::set1(0)), x);
  }
};

template <class A>
void log_normal_cdf_of(const double* x, std::int64_t count, double* log, double* slope) {
  for (std::int64_t i = 0; i < count; i += A::width) {
    const auto take = [&](auto part) __attribute__((always_inline)) {
      const LogNormalCdf<A> of(load<A>(x + i, part, A::set1(0)), log != nullptr);
      if (log != nullptr) store<A>(log + i, canonical<A>(of.log), part);
      if (slope != nullptr) store<A>(slope + i, canonical<A>(of.slope), part);
    };
    if (i + A::width <= count)
      take(Whole{});
    else
      take(Part{static_cast<int>(count - i)});
  }
}

template <class A>
void log_normal_cdf(const void* scores, std::int64_t count, void* log_p, void* slopes) {
  using T = typename A::T;
  const DefaultFloatEnvironment environment;
  const T* const x = static_cast<const T*>(scores);
  T* const log = static_cast<T*>(log_p);
  T* const slope = static_cast<T*>(slopes);
  if constexpr (sizeof(T) == sizeof(double)) {
    log_normal_cdf_of<A>(x, count, log, slope);
  } else {
    constexpr std::int64_t most = 256;
    double wide[3][most];
    const auto narrowed = [](double v) {
      return static_cast<T>(v > -0x1p-126 && v < 0x1p-126 ? 0.0 : v);
    };
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t n = count - first < most ? count - first : most;
      for (std::int64_t i = 0; i < n; ++i) wide[0][i] = static_cast<double>(x[first + i]);
      log_normal_cdf_of<F64>(wide[0], n, log == nullptr ? nullptr : wide[1], wide[2]);
      for (std::int64_t i = 0; i < n; ++i) {
        if (log != nullptr) log[first + i] = narrowed(wide[1][i]);
        if (slope != nullptr) slope[first + i] = narrowed(wide[2][i]);
      }
    }
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
