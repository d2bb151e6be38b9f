// The Vec layer in plain C++, one element per register: the fallback, and the reference for what
// each name promises on the others.
//
//   load(p, n, fill)    the first n elements from p, `fill` beyond, 0 <= n <= width; never reads
//                       past p + n
//   store(p, v, n)      writes the first n elements only
//   to bf16             the only NaN a stored v may be is the canonical one, 0x7fc00000
//   stream(p, v)        a store that bypasses the cache; p aligned to the stored bytes
//   fma, fnma           a*b + c and c - a*b, rounded once
//   fma_above(.., t, l) fma where t > l or t is NaN, else +0
//   max, min            NaN where the second operand is NaN
//   select_above        v where v > bound, else other
//   select_equal        `equal` where a == b, else other
//   first_equal         index of the first element where a == b, or `width`
//   above, at_least     a bit for each element, the first in the lowest: not v <= bound (so NaN is
//                       above, and everything is above NaN); v >= bound
//   compress(p, v, b)   stores the elements whose bits are set, side by side; may overwrite all of
//                       p[0 .. width)
//   power(t)            t's low bits are 16 k + j, 0 <= j < 16, 0 <= k < 255 (f64: 2047): 2^(j/16),
//                       rounded to nearest, with exponent field k
//   power_error(t)      what rounding took from that 2^(j/16), relative to the rounded value
//   whole(t)            t without its low four bits
//   fraction(t)         the argument for which power gives 2^(j/16) itself
//   scale_normal(v, t)  t = magic + k, -192 <= k <= 0 (f64: -1088), v >= 0: v * 2^k, and +0 where
//                       that is not above the smallest normal number
//   scale_down(v, d)    v * 2^d for integers d <= 100; where d < -126 (-1022) any value of at most
//                       |v| * 2^-126 (2^-1022)
//   Wide, widen(r)      (F32) 16 consecutive lanes in double, from registers or memory;
//                       add(Wide, Wide), store(p, Wide) and sum(Wide), by halving;
//                       fma(a, b, c) of Wides where a*b is exact, as of widened lanes
//   narrow(w, hi, lo)   w rounded to registers of floats, and what that took, rounded
//   wide(p)             (F32) 16 doubles from memory
//   sums(r)             r: `width` times join_lanes elements, one such group behind the other; the
//                       sum of each, by halving: lane j += lane j + h, h = join_lanes / 2, ... 1
//   split(hi, lo, ..)   `width` positive normal numbers hi + lo as (m_hi + m_lo) * 2^q,
//                       1 <= m_hi + m_lo < 2, each part rounded to T; NaN where hi is NaN
//   summed_at_once      how many registers of lanes a sum keeps at a time, with as many for errors
//   numbers(p, flip)    p[i] ^ flip, integers below 2^31, rounded to nearest
//   significand(v, k)   v, positive and normal, is the result times 2^k; the result is at least
//                       kLeastSignificand and below twice that
//   Words               registers of 32-bit integers, as many as F32 has elements; multiply gives
//   the
//                       high and the low words of products, half the integers shifted right by 1
#pragma once

#define FASTSOFTMAX_UNROLL _Pragma("GCC unroll 1")

#include "simd/half.h"
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Contract>
struct Scalar : Contract {
  using T = typename Contract::T;
  using reg = T;
  static constexpr int width = 1;
  static constexpr int summed_at_once = Contract::lanes;

  static reg set1(T v) { return v; }
  static reg add(reg a, reg b) { return a + b; }
  static reg sub(reg a, reg b) { return a - b; }
  static reg mul(reg a, reg b) { return a * b; }
  static reg div(reg a, reg b) { return a / b; }
  static reg fma(reg a, reg b, reg c) { return fused(a, b, c); }
  static reg fnma(reg a, reg b, reg c) { return fused(-a, b, c); }
  static reg max(reg a, reg b) { return a > b ? a : b; }
  static reg min(reg a, reg b) { return a < b ? a : b; }
  static reg sums(const reg* r) {
    T lane[Contract::join_lanes];
    __builtin_memcpy(lane, r, sizeof lane);
    for (int h = Contract::join_lanes / 2; h > 0; h /= 2)
      for (int j = 0; j < h; ++j) lane[j] += lane[j + h];
    return lane[0];
  }
  static reg select_above(reg v, reg bound, reg other) { return v > bound ? v : other; }
  static reg select_equal(reg a, reg b, reg equal, reg other) { return a == b ? equal : other; }
  static unsigned above(reg v, reg bound) { return v <= bound ? 0 : 1; }
  static unsigned at_least(reg v, reg bound) { return v >= bound ? 1 : 0; }
  static void compress(T* p, reg v, unsigned) { *p = v; }
  static T first(reg v) { return v; }
  static int first_equal(reg a, reg b) { return a == b ? 0 : 1; }
  static T reduce_max(reg v) { return v; }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    split_one(hi[0], lo[0], m_hi, m_lo, q);
  }
  static T reduce_min(reg v) { return v; }
};

struct F32 : Scalar<F32Contract> {
  template <class In>
  static reg load(const In* p) {
    return to_f32(*p);
  }
  template <class In>
  static reg load(const In* p, int n, reg fill) {
    return n > 0 ? to_f32(*p) : fill;
  }
  template <class Out>
  static void store(Out* p, reg v) {
    from_f32(v, p);
  }
  template <class Out>
  static void store(Out* p, reg v, int n) {
    if (n > 0) from_f32(v, p);
  }
  template <class Out>
  static void stream(Out* p, reg v) {
    from_f32(v, p);
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return t <= least ? 0.0f : fma(a, b, c);
  }
  static reg power(reg t) {
    const std::uint32_t steps = bits_of(t);
    return float_of((steps << 19) + static_cast<std::uint32_t>(kPowers32[steps & 15u]));
  }
  static reg power_error(reg t) { return kPowerErrors32[bits_of(t) & 15u]; }
  static reg whole(reg t) { return float_of(bits_of(t) & ~15u); }
  static reg fraction(reg t) { return float_of((bits_of(t) & 15u) | 127u << 4); }
  static reg scale_normal(reg v, reg t) {
    const std::uint32_t scaled = bits_of(v) + (bits_of(t) << 23);
    return static_cast<std::int32_t>(scaled) > 0x00800000 ? float_of(scaled) : 0.0f;
  }
  static reg scale_down(reg v, reg d) {
    const reg field = (d > -127.0f ? d : -127.0f) + (127.0f + 0x1.8p23f);
    return v * float_of(bits_of(field) << 23);
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return static_cast<float>(static_cast<std::int32_t>(*p ^ flip));
  }
  static reg significand(reg v, reg& k) {
    const std::uint32_t up = bits_of(v) + (0x3f800000 - kLeastSignificand32);
    k = static_cast<float>(static_cast<std::int32_t>(up >> 23) - 127);
    return float_of((up & 0x007fffff) + kLeastSignificand32);
  }
  struct Wide {
    double lane[join_lanes];
  };
  static Wide widen(const reg* r) {
    Wide w;
    for (int j = 0; j < join_lanes; ++j) w.lane[j] = static_cast<double>(r[j]);
    return w;
  }
  static void narrow(const Wide& w, reg* hi, reg* lo) {
    for (int j = 0; j < join_lanes; ++j) {
      hi[j] = static_cast<float>(w.lane[j]);
      lo[j] = static_cast<float>(w.lane[j] - static_cast<double>(hi[j]));
    }
  }
  static Wide add(const Wide& a, const Wide& b) {
    Wide w;
    for (int j = 0; j < join_lanes; ++j) w.lane[j] = a.lane[j] + b.lane[j];
    return w;
  }
  using Scalar<F32Contract>::add;
  static Wide fma(const Wide& a, const Wide& b, const Wide& c) {
    Wide w;
    for (int j = 0; j < join_lanes; ++j) w.lane[j] = a.lane[j] * b.lane[j] + c.lane[j];
    return w;
  }
  using Scalar<F32Contract>::fma;
  static Wide wide(const double* p) {
    Wide w;
    __builtin_memcpy(w.lane, p, sizeof w.lane);
    return w;
  }
  static void store(double* p, const Wide& v) { __builtin_memcpy(p, v.lane, sizeof v.lane); }
  static double sum(Wide v) {
    for (int h = join_lanes / 2; h > 0; h /= 2)
      for (int j = 0; j < h; ++j) v.lane[j] += v.lane[j + h];
    return v.lane[0];
  }
};

struct F64 : Scalar<F64Contract> {
  static reg load(const double* p) { return *p; }
  static reg load(const double* p, int n, reg fill) { return n > 0 ? *p : fill; }
  static void store(double* p, reg v) { *p = v; }
  static void store(double* p, reg v, int n) {
    if (n > 0) *p = v;
  }
  static void stream(double* p, reg v) { *p = v; }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return t <= least ? 0.0 : fma(a, b, c);
  }
  static reg power(reg t) {
    const std::uint64_t steps = bits_of(t);
    return double_of((steps << 48) + static_cast<std::uint64_t>(kPowers64[steps & 15u]));
  }
  static reg power_error(reg t) { return kPowerErrors64[bits_of(t) & 15u]; }
  static reg whole(reg t) { return double_of(bits_of(t) & ~std::uint64_t{15}); }
  static reg fraction(reg t) { return double_of((bits_of(t) & 15u) | 1023u << 4); }
  static reg scale_normal(reg v, reg t) {
    const std::uint64_t scaled = bits_of(v) + (bits_of(t) << 52);
    return static_cast<std::int64_t>(scaled) > 0x0010000000000000 ? double_of(scaled) : 0.0;
  }
  static reg scale_down(reg v, reg d) {
    const reg field = (d > -1023.0 ? d : -1023.0) + (1023.0 + 0x1.8p52);
    return v * double_of(bits_of(field) << 52);
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return static_cast<double>(*p ^ flip);
  }
  static reg significand(reg v, reg& k) {
    const std::uint64_t up = bits_of(v) + (0x3ff0000000000000 - kLeastSignificand64);
    k = static_cast<double>(static_cast<std::int32_t>(up >> 52) - 1023);
    return double_of((up & 0x000fffffffffffff) + kLeastSignificand64);
  }
};

struct Words {
  using reg = std::uint32_t;
  static constexpr int width = 1;

  static reg set1(std::uint32_t v) { return v; }
  static reg load(const std::uint32_t* p) { return *p; }
  static void store(std::uint32_t* p, reg v) { *p = v; }
  static reg add(reg a, reg b) { return a + b; }
  static reg exclusive_or(reg a, reg b) { return a ^ b; }
  static reg half(reg v) { return v >> 1; }
  static void multiply(reg a, reg b, reg& high, reg& low) {
    const std::uint64_t product = std::uint64_t{a} * b;
    high = static_cast<std::uint32_t>(product >> 32);
    low = static_cast<std::uint32_t>(product);
  }
};

inline void stream_fence() {}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
