// Logarithms and exponentials in double precision from additions, multiplications and divisions
// alone, so that every platform gives the same bits; those of the C library differ in the last.
//
//   log x         x = 2^k m, m in (sqrt 1/2, sqrt 2]: k ln 2 + 2 artanh((m - 1) / (m + 1))
//   exp x         2^k e^r, |r| <= ln 2 / 2: the series to r^13
//   log1mexp(x)   log(1 - e^-x): by log(sinh(h) / h), h = x / 2, up to 1/2, by 2 artanh from 6/5 on
//
// Domain: log: normal positive numbers. exp: up to 709; 0 below -708. log1mexp: positive numbers,
// with their logarithm. Error: exp 1 ulp, log 2 ulp, log1mexp 4 ulp (tests/cpp/test_samplers.cpp).
#pragma once

#include <bit>
#include <cstdint>

namespace fastsoftmax::portable {

inline constexpr double kLn2Hi = 0x1.62e42feep-1;  // k * kLn2Hi is exact
inline constexpr double kLn2Lo = 0x1.a39ef35793c76p-33;

// |s| <= 0.23: the first term that is left out is below 2^-57 of the first.
inline double twice_artanh(double s) {
  const double z = s * s;
  double r = 2.0 / 25.0;
  for (int i = 23; i >= 3; i -= 2) r = r * z + 2.0 / i;
  return 2.0 * s + s * (z * r);
}

inline double log(double x) {
  constexpr std::uint64_t sqrt_half = std::bit_cast<std::uint64_t>(0x1.6a09e667f3bcdp-1);
  constexpr std::uint64_t one = std::bit_cast<std::uint64_t>(1.0);
  // The exponent steps at the square root of 2.
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x) + (one - sqrt_half);
  const double k = static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023);
  const double m = std::bit_cast<double>((bits & ((std::uint64_t{1} << 52) - 1)) + sqrt_half);
  const double f = m - 1.0;
  return k * kLn2Hi + (twice_artanh(f / (2.0 + f)) + k * kLn2Lo);
}

inline double exp(double x) {
  if (x < -708.0) return 0.0;
  const double steps = x * 0x1.71547652b82fep+0;
  const auto k = static_cast<std::int64_t>(steps < 0.0 ? steps - 0.5 : steps + 0.5);
  const double r = (x - static_cast<double>(k) * kLn2Hi) - static_cast<double>(k) * kLn2Lo;
  double p = 1.0 / 6227020800.0;  // 13!
  constexpr double inverse_factorials[] = {1.0 / 2.0,        1.0 / 6.0,        1.0 / 24.0,
                                           1.0 / 120.0,      1.0 / 720.0,      1.0 / 5040.0,
                                           1.0 / 40320.0,    1.0 / 362880.0,   1.0 / 3628800.0,
                                           1.0 / 39916800.0, 1.0 / 479001600.0};
  for (int i = 10; i >= 0; --i) p = p * r + inverse_factorials[i];
  const double e = 1.0 + (r + r * r * p);
  return e * std::bit_cast<double>(static_cast<std::uint64_t>(k + 1022) << 52) * 2.0;
}

inline double log1mexp(double x, double log_x) {
  if (x <= 0.5) {
    const double h = 0.5 * x;
    const double z = h * h;
    // Bernoulli numbers: sum of 4^n B_2n h^2n / (2 n (2 n)!).
    constexpr double c[] = {1.0 / 6.0,      -1.0 / 180.0,          1.0 / 2835.0,     -1.0 / 37800.0,
                            1.0 / 467775.0, -691.0 / 3831077250.0, 2.0 / 127702575.0};
    double p = c[6];
    for (int i = 5; i >= 0; --i) p = p * z + c[i];
    return log_x - (h - z * p);
  }
  const double t = exp(-x);
  return x < 1.2 ? log(1.0 - t) : -twice_artanh(t / (2.0 - t));
}

}  // namespace fastsoftmax::portable
