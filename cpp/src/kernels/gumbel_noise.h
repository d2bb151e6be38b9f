// Standard Gumbel noise: g = -log(-log(1 - v)) for v uniform in (0, 1), of 62 bits.
//
//   v = (2^31 h + l + 1/2) 2^-62    h and l upper 31 bits of words of Philox, each its own
//   log((1 + f) 2^k) = k ln 2 + f - (f^2/2 - s (f^2/2 + R)),  s = f / (2 + f),
//   R = 2 s^2 (1/3 + s^2/5 + ...)   the series of 2 artanh(s): f32 to 2^-28, f64 to 2^-60
//
// for both logarithms. Where v <= 1/4 the inner one takes f = -v, and everywhere else 1 - v formed
// from integers, so that both ends of the distribution keep their precision.
// In f32, l counts only where v or 1 - v is below 2^-12; elsewhere v = (h + 1/2) 2^-31. So the
// noise of an element is the same in both, but for rounding.
//
// Range: -3.78 to 43.7. Error: below 5 u max(1, |g|), u = 2^-24 in f32, 2^-53 in f64; 2.5 u for v
// as it is rounded (measured; docs/numerics.md).
//
// Sources: Gumbel (1954); the argument splitting is that of log1p.h.
#pragma once

#include "kernels/block.h"
#include "kernels/philox_words.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  static constexpr int last = 9;                 // of the series
  static constexpr float ln2_hi = 0x1.62e3p-1f;  // k * ln2_hi is exact
  static constexpr float ln2_lo = 0x1.2fefa2p-17f;
};
template <>
struct LogConstants<double> {
  static constexpr int last = 23;
  static constexpr double ln2_hi = 0x1.62e42feep-1;
  static constexpr double ln2_lo = 0x1.a39ef35793c76p-33;
};

template <class A>
struct GumbelNoise {
  using T = typename A::T;
  using reg = typename A::reg;

  // Elements that sixteen draws are for: element i of a group takes word i / 16 of draw i mod 16.
  static constexpr int group = 64;
  // Apart from those that sample() and gumbel_topk() take, but for k >= 2^30.
  static constexpr std::uint32_t kHighDraws = 0x80000000;
  static constexpr std::uint32_t kLowDraws = 0xC0000000;
  static constexpr std::uint32_t kFlip = 0x7fffffff;
  static constexpr bool is_f64 = sizeof(T) == sizeof(double);

  // sqrt(1/2) <= 1 + f < sqrt(2), nearly.
  [[gnu::always_inline]] static reg log(reg f, reg k) {
    using C = LogConstants<T>;
    const reg s = A::div(f, A::add(A::set1(T(2)), f));
    const reg z = A::mul(s, s);
    reg r = A::set1(T(2) / T(C::last));
#pragma GCC unroll 16
    for (int i = C::last - 2; i >= 3; i -= 2) r = A::fma(r, z, A::set1(T(2) / static_cast<T>(i)));
    const reg half_square = A::mul(A::mul(A::set1(T(0.5)), f), f);
    const reg tail = A::fma(s, A::fma(r, z, half_square), A::mul(k, A::set1(C::ln2_lo)));
    return A::sub(A::mul(k, A::set1(C::ln2_hi)), A::sub(A::sub(half_square, tail), f));
  }

  // w = 1 - v; either is of no concern where the other is below 1/4.
  [[gnu::always_inline]] static reg of(reg v, reg w) {
    const reg zero = A::set1(T(0));
    const reg one = A::set1(T(1));
    reg k;
    const reg m = A::significand(w, k);
    const reg f = A::select_equal(A::select_above(v, A::set1(T(0.25)), zero), zero, A::sub(zero, v),
                                  A::sub(m, one));
    const reg exponential = A::sub(zero, log(f, k));
    const reg n = A::significand(exponential, k);
    return A::sub(zero, log(A::sub(n, one), k));
  }

  // Noise of the elements [start, start + count) of a row, `start` a multiple of the group; may
  // write whole groups.
  [[gnu::noinline]] static void fill(const RandomStream& stream, std::int64_t start, int count,
                                     T* noise) {
    for (int i = 0; i < count; i += group) {
      const auto draw = static_cast<std::uint32_t>((start + i) / group * 16);
      const int size = count - i < group ? count - i : group;
      alignas(64) std::uint32_t high[group];
      random_words(stream, kHighDraws + draw, high);
      if constexpr (is_f64) {
        alignas(64) std::uint32_t low[group];
        random_words(stream, kLowDraws + draw, low);
        FASTSOFTMAX_UNROLL
        for (int j = 0; j < size; j += A::width)
          A::store(noise + i + j,
                   of(uniform(high + j, low + j, 0), uniform(high + j, low + j, kFlip)));
      } else {
        reg least = A::set1(T(1));
        FASTSOFTMAX_UNROLL
        for (int j = 0; j < size; j += A::width) {
          const reg v = uniform(high + j, 0);
          const reg w = uniform(high + j, kFlip);
          least = A::min(A::min(v, w), least);
          A::store(noise + i + j, of(v, w));
        }
        if (A::reduce_min(least) < T(0x1p-12)) refine(stream, draw, high, noise + i);
      }
    }
  }

 private:
  static reg uniform(const std::uint32_t* high, std::uint32_t flip) {
    return A::mul(A::add(A::numbers(high, flip), A::set1(T(0.5))), A::set1(T(0x1p-31)));
  }
  static reg uniform(const std::uint32_t* high, const std::uint32_t* low, std::uint32_t flip) {
    const reg rest = A::add(A::numbers(low, flip), A::set1(T(0.5)));
    return A::mul(A::fma(A::numbers(high, flip), A::set1(T(0x1p31)), rest), A::set1(T(0x1p-62)));
  }

  // One in 32 groups has an element that needs it.
  [[gnu::noinline]] static void refine(const RandomStream& stream, std::uint32_t draw,
                                       const std::uint32_t* high, T* noise) {
    constexpr std::uint32_t coarse = 1u << 19;
    for (int j = 0; j < group; ++j) {
      if (high[j] >= coarse && (high[j] ^ kFlip) >= coarse) continue;
      const auto lane = static_cast<std::uint32_t>(j % 16);
      const std::uint32_t low = random(stream, kLowDraws + draw + lane).word[j / 16] >> 1;
      const auto fine = [&](std::uint32_t flip) {
        const double rest = static_cast<double>(low ^ flip) + 0.5;
        return static_cast<T>((static_cast<double>(high[j] ^ flip) * 0x1p31 + rest) * 0x1p-62);
      };
      noise[j] = A::first(of(A::set1(fine(0)), A::set1(fine(kFlip))));
    }
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
