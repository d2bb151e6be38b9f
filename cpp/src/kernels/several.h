// K registers as one of K times the width, for chains of operations whose latency would otherwise
// be waited for.
#pragma once

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, int K>
struct Several {
  using T = typename A::T;
  static constexpr int width = K * A::width;
  struct reg {
    typename A::reg r[K];
  };

  FASTSOFTMAX_HD static reg set1(T v) {
    return of([v](int) { return A::set1(v); });
  }
  FASTSOFTMAX_HD static reg load(const T* p) {
    return of([p](int i) { return A::load(p + i * A::width); });
  }
  FASTSOFTMAX_HD static void store(T* p, const reg& v) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < K; ++i) A::store(p + i * A::width, v.r[i]);
  }

#define FASTSOFTMAX_UNARY(f)                        \
  FASTSOFTMAX_HD static reg f(const reg& a) {       \
    return of([&](int i) { return A::f(a.r[i]); }); \
  }
#define FASTSOFTMAX_BINARY(f)                               \
  FASTSOFTMAX_HD static reg f(const reg& a, const reg& b) { \
    return of([&](int i) { return A::f(a.r[i], b.r[i]); }); \
  }
#define FASTSOFTMAX_TERNARY(f)                                            \
  FASTSOFTMAX_HD static reg f(const reg& a, const reg& b, const reg& c) { \
    return of([&](int i) { return A::f(a.r[i], b.r[i], c.r[i]); });       \
  }
  FASTSOFTMAX_UNARY(power)
  FASTSOFTMAX_UNARY(power_error)
  FASTSOFTMAX_UNARY(whole)
  FASTSOFTMAX_UNARY(fraction)
  FASTSOFTMAX_BINARY(add)
  FASTSOFTMAX_BINARY(sub)
  FASTSOFTMAX_BINARY(mul)
  FASTSOFTMAX_BINARY(div)
  FASTSOFTMAX_BINARY(max)
  FASTSOFTMAX_BINARY(scale_down)
  FASTSOFTMAX_TERNARY(fma)
  FASTSOFTMAX_TERNARY(fnma)
  FASTSOFTMAX_TERNARY(select_above)
#undef FASTSOFTMAX_UNARY
#undef FASTSOFTMAX_BINARY
#undef FASTSOFTMAX_TERNARY

  FASTSOFTMAX_HD static reg select_equal(const reg& a, const reg& b, const reg& equal,
                                         const reg& other) {
    return of([&](int i) { return A::select_equal(a.r[i], b.r[i], equal.r[i], other.r[i]); });
  }
  FASTSOFTMAX_HD static void split(const T* hi, const T* lo, reg& m_hi, reg& m_lo, reg& q) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < K; ++i)
      A::split(hi + i * A::width, lo + i * A::width, m_hi.r[i], m_lo.r[i], q.r[i]);
  }

 private:
  template <class F>
  FASTSOFTMAX_HD [[gnu::always_inline]] static reg of(F&& f) {
    reg v;
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < K; ++i) v.r[i] = f(i);
    return v;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
