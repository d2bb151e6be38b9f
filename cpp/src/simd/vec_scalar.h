// The Vec layer in plain C++, one element per register: the fallback, and the reference for what
// each name promises on the others.
//
//   load(p, n, fill)    the first n elements from p, `fill` beyond; never reads past p + n
//   store(p, v, n)      writes the first n elements only
//   stream(p, v)        a store that bypasses the cache; p aligned to the stored bytes
//   fma, fnma           a*b + c and c - a*b, rounded once
//   max, min            NaN where the second operand is NaN
//   select_above        v where v > bound, else other
//   select_equal        `equal` where a == b, else other
//   exponent_field(t)   t = magic + k, 0 <= k < 255 (2047): the number whose exponent field is k,
//   that
//                       is 2^(k - bias), and +0 for k = 0
//   scale_normal(v, t)  t = magic + k, v > 0 normal, its exponent field plus k within
//                       (-256, 255) (f64: (-2048, 2047)): v * 2^k, and +0 where that is not above
//                       the smallest normal number
//   scale_down(v, d)    v * 2^d for integers d <= 100; where d < -126 (-1022) any value of at most
//                       |v| * 2^-126 (2^-1022)
//   Wide, widen(r)      (F32) 16 consecutive lanes in double; add(Wide, Wide) and sum(Wide), by
//   halving summed_at_once      how many registers of lanes a sum keeps at a time, with as many for
//   errors
#pragma once

#define FASTSOFTMAX_UNROLL _Pragma("GCC unroll 1")

#include "simd/half.h"
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

inline float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double; rounding the sum to odd makes the second rounding harmless.
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  double sum = product + addend;
  const double other = sum - product;
  const double error = (product - (sum - other)) + (addend - other);
  std::uint64_t bits;
  __builtin_memcpy(&bits, &sum, sizeof bits);
  if (error != 0.0 && error == error && (bits & 1u) == 0) {
    bits += (error > 0.0) == (sum > 0.0) ? 1u : ~std::uint64_t{0};
    __builtin_memcpy(&sum, &bits, sizeof sum);
  }
  return static_cast<float>(sum);
#endif
}
inline double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }

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
  static reg select_above(reg v, reg bound, reg other) { return v > bound ? v : other; }
  static reg select_equal(reg a, reg b, reg equal, reg other) { return a == b ? equal : other; }
  static T first(reg v) { return v; }
  static T reduce_max(reg v) { return v; }
  static T reduce_min(reg v) { return v; }
};

struct F32 : Scalar<F32Contract> {
  template <class In>
  static reg load(const In* p) {
    return to_f32(*p);
  }
  template <class In>
  static reg load(const In* p, int, reg) {
    return to_f32(*p);
  }
  template <class Out>
  static void store(Out* p, reg v) {
    from_f32(v, p);
  }
  template <class Out>
  static void store(Out* p, reg v, int) {
    from_f32(v, p);
  }
  template <class Out>
  static void stream(Out* p, reg v) {
    from_f32(v, p);
  }
  static reg exponent_field(reg t) { return float_of(bits_of(t) << 23); }
  static reg scale_normal(reg v, reg t) {
    const std::uint32_t scaled = bits_of(v) + (bits_of(t) << 23);
    return static_cast<std::int32_t>(scaled) > 0x00800000 ? float_of(scaled) : 0.0f;
  }
  static reg scale_down(reg v, reg d) {
    return v * exponent_field((d > -127.0f ? d : -127.0f) + (127.0f + 0x1.8p23f));
  }
  struct Wide {
    double lane[join_lanes];
  };
  static Wide widen(const reg* r) {
    Wide w;
    for (int j = 0; j < join_lanes; ++j) w.lane[j] = static_cast<double>(r[j]);
    return w;
  }
  static Wide add(const Wide& a, const Wide& b) {
    Wide w;
    for (int j = 0; j < join_lanes; ++j) w.lane[j] = a.lane[j] + b.lane[j];
    return w;
  }
  using Scalar<F32Contract>::add;
  static double sum(Wide v) {
    for (int h = join_lanes / 2; h > 0; h /= 2)
      for (int j = 0; j < h; ++j) v.lane[j] += v.lane[j + h];
    return v.lane[0];
  }
};

struct F64 : Scalar<F64Contract> {
  static reg load(const double* p) { return *p; }
  static reg load(const double* p, int, reg) { return *p; }
  static void store(double* p, reg v) { *p = v; }
  static void store(double* p, reg v, int) { *p = v; }
  static void stream(double* p, reg v) { *p = v; }
  static reg exponent_field(reg t) {
    std::uint64_t bits;
    __builtin_memcpy(&bits, &t, sizeof bits);
    bits <<= 52;
    __builtin_memcpy(&t, &bits, sizeof t);
    return t;
  }
  static reg scale_normal(reg v, reg t) {
    std::uint64_t scaled;
    std::uint64_t shift;
    __builtin_memcpy(&scaled, &v, sizeof v);
    __builtin_memcpy(&shift, &t, sizeof t);
    scaled += shift << 52;
    if (static_cast<std::int64_t>(scaled) <= 0x0010000000000000) return 0.0;
    __builtin_memcpy(&v, &scaled, sizeof v);
    return v;
  }
  static reg scale_down(reg v, reg d) {
    return v * exponent_field((d > -1023.0 ? d : -1023.0) + (1023.0 + 0x1.8p52));
  }
};

inline void prefetch(const void* p) { __builtin_prefetch(p); }
inline void stream_fence() {}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
