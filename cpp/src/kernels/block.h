// Blocks: the unit in which a row is reduced, in registers.
//
// Element i of a block goes to virtual lane i mod A::lanes, whatever the register width; a lane
// adds its terms in order; lanes join by halving, from A::join_lanes on in double precision (f32)
// or with the rounding errors carried along (f64).
#pragma once

#include "kernels/ext_exp.h"
#include "kernels/ext_sum.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// A whole register's worth of elements, or the first n.
struct Whole {};
struct Part {
  int n;
};

template <class A, class In>
inline typename A::reg load(const In* p, Whole, typename A::reg) {
  return A::load(p);
}
template <class A, class In>
inline typename A::reg load(const In* p, Part part, typename A::reg fill) {
  return A::load(p, part.n, fill);
}
template <class A, class Out>
inline void store(Out* p, typename A::reg v, Whole) {
  A::store(p, v);
}
template <class A, class Out>
inline void store(Out* p, typename A::reg v, Part part) {
  A::store(p, v, part.n);
}

template <class A>
struct Lanes {
  static constexpr int count = A::lanes / A::width;  // registers
  typename A::reg r[count];

  explicit Lanes(typename A::reg v) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) r[i] = v;
  }
};

// body(register of lanes, offset, Whole or Part) over `count` elements.
template <class A, class Body>
[[gnu::always_inline]] inline void for_each_vector(int count, Body&& body) {
  constexpr int registers = Lanes<A>::count;
  int i = 0;
  for (; i + A::lanes <= count; i += A::lanes) {
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < registers; ++v) body(v, i + v * A::width, Whole{});
  }
  if (i == count) return;
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < registers; ++v) {
    const int offset = i + v * A::width;
    if (offset >= count) break;
    if (offset + A::width <= count)
      body(v, offset, Whole{});
    else
      body(v, offset, Part{count - offset});
  }
}

inline Sum2 join_lanes(const double* lanes) {
  Sum2 s[F64Contract::join_lanes];
  for (int j = 0; j < F64Contract::join_lanes; ++j) s[j] = {lanes[j], 0.0};
#pragma GCC unroll 3
  for (int h = F64Contract::join_lanes / 2; h > 0; h /= 2) {
    for (int j = 0; j < h; ++j) {
      const Sum2 t = two_sum(s[j].hi, s[j + h].hi);
      s[j] = {t.hi, t.lo + (s[j].lo + s[j + h].lo)};
    }
  }
  return s[0];
}

template <class A>
[[gnu::always_inline]] inline Sum2 join(Lanes<A>& acc) {
  FASTSOFTMAX_UNROLL
  for (int g = Lanes<A>::count / 2; g * A::width >= A::join_lanes; g /= 2) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < g; ++i) acc.r[i] = A::add(acc.r[i], acc.r[i + g]);
  }
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    return {A::join(acc.r), 0.0};
  } else {
    double lanes[A::join_lanes];
    for (int i = 0; i * A::width < A::join_lanes; ++i) A::store(lanes + i * A::width, acc.r[i]);
    return join_lanes(lanes);
  }
}

template <class A>
[[gnu::always_inline]] inline typename A::T reduce_max(Lanes<A>& acc) {
  FASTSOFTMAX_UNROLL
  for (int g = Lanes<A>::count / 2; g > 0; g /= 2) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < g; ++i) acc.r[i] = A::max(acc.r[i], acc.r[i + g]);
  }
  return A::reduce_max(acc.r[0]);
}

template <class A>
[[gnu::always_inline]] inline typename A::T reduce_min(Lanes<A>& acc) {
  FASTSOFTMAX_UNROLL
  for (int g = Lanes<A>::count / 2; g > 0; g /= 2) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < g; ++i) acc.r[i] = A::min(acc.r[i], acc.r[i + g]);
  }
  return A::reduce_min(acc.r[0]);
}

template <class T>
constexpr T infinity() {
  return static_cast<T>(__builtin_inf());
}

template <class A, class In>
[[gnu::always_inline]] inline typename A::T block_max(const In* x, int count) {
  const auto lowest = A::set1(-infinity<typename A::T>());
  Lanes<A> acc(lowest);
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    acc.r[v] = A::max(load<A>(x + i, part, lowest), acc.r[v]);
  });
  return reduce_max(acc);
}

// For the smallest element: what the exponential clamps is no part of a block's spread, because it
// weighs nothing under any exponent in the domain.
template <class A>
inline typename A::reg ignore_clamped(typename A::reg x) {
  using T = typename A::T;
  return A::select_above(x, A::set1(ExpConstants<T>::lowest), A::set1(infinity<T>()));
}

template <class A, class In>
inline typename A::T block_min(const In* x, int count) {
  const auto highest = A::set1(infinity<typename A::T>());
  Lanes<A> acc(highest);
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    acc.r[v] = A::min(ignore_clamped<A>(load<A>(x + i, part, highest)), acc.r[v]);
  });
  return reduce_min(acc);
}

// What block_sum does besides summing: nothing; prefetch the block behind, which has as many bytes;
// keep the terms it sums; keep them under another exponent.
enum class Also { nothing, prefetch, keep, keep_rescaled };

// Sum of e^x_i * 2^(kSumBias - exponent) over a block none of whose elements has a larger exponent.
// Terms are kept in `kept`, under `kept_exponent`.
template <class A, Also W = Also::nothing, class In>
[[gnu::always_inline]] inline Sum2 block_sum(const In* x, int count, typename A::T exponent,
                                             typename A::T* kept = nullptr,
                                             typename A::T kept_exponent = 0) {
  using T = typename A::T;
  using E = ExtExp<A>;
  using C = ExpConstants<T>;
  constexpr T scale = static_cast<T>(C::field_bias + kSumBias);
  const auto magic = A::set1(C::magic);
  const auto rounder = A::set1(C::magic + (scale - exponent));
  const auto kept_rounder = A::set1(C::magic + (scale - kept_exponent));
  const auto fill = A::set1(-infinity<T>());
  Lanes<A> acc(A::set1(T(0)));
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    const auto z = E::clamp(load<A>(x + i, part, fill));
    const auto t = E::round(z, rounder);
    const auto m = E::mantissa(z, A::sub(t, rounder));
    const auto weight = A::exponent_field(A::max(t, magic));
    if constexpr (W == Also::keep) {
      const auto term = A::mul(m, weight);  // exact, so the sum is that of the fused form
      acc.r[v] = A::add(acc.r[v], term);
      store<A>(kept + i, term, part);
    } else {
      acc.r[v] = A::fma(m, weight, acc.r[v]);
    }
    if constexpr (W == Also::keep_rescaled) {
      const auto other = A::exponent_field(A::max(E::round(z, kept_rounder), magic));
      store<A>(kept + i, A::mul(m, other), part);
    }
    if constexpr (W == Also::prefetch) prefetch(x + count + i);
  });
  return join(acc);
}

// The two-pass paper's accumulators: each lane keeps a mantissa and its own exponent, so no maximum
// need be known. `wide` tells that the block's exponents lie too far apart for lanes to be exact;
// such a block, still in L1, is to be summed by block_sum.
template <class T>
constexpr T kWidestTwoPass = sizeof(T) == sizeof(float) ? T(120) : T(900);
template <class T>
constexpr T kBelowEveryExponent = T(-4194304);

template <class A>
struct TwoPassSum {
  Sum2 sum;  // scaled as block_sum scales it
  typename A::T exponent;
  bool wide;
};

template <class A, class In>
inline TwoPassSum<A> block_sum_two_pass(const In* x, int count) {
  using T = typename A::T;
  using E = ExtExp<A>;
  using C = ExpConstants<T>;
  const auto magic = A::set1(C::magic);
  const auto fill = A::set1(-infinity<T>());
  const auto highest = A::set1(infinity<T>());
  Lanes<A> sum(A::set1(T(0)));
  Lanes<A> exponent(A::set1(kBelowEveryExponent<T>));
  Lanes<A> smallest(highest);
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    const auto z = E::clamp(load<A>(x + i, part, fill));
    const auto n = A::sub(E::round(z, magic), magic);
    const auto m = E::mantissa(z, n);
    const auto top = A::max(n, exponent.r[v]);
    sum.r[v] = A::add(A::scale_down(sum.r[v], A::sub(exponent.r[v], top)),
                      A::scale_down(m, A::sub(n, top)));
    exponent.r[v] = top;
    smallest.r[v] = A::min(ignore_clamped<A>(load<A>(x + i, part, highest)), smallest.r[v]);
  });
  Lanes<A> top = exponent;
  TwoPassSum<A> result;
  result.exponent = reduce_max(top);
  result.wide = !(result.exponent - E::exponent(reduce_min(smallest)) <= kWidestTwoPass<T>);
  const auto largest = A::set1(result.exponent);
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < Lanes<A>::count; ++v)
    sum.r[v] = A::scale_down(sum.r[v], A::sub(exponent.r[v], largest));
  constexpr double bias = 0x1p64;
  result.sum = join(sum);
  result.sum = {result.sum.hi * bias, result.sum.lo * bias};
  return result;
}

// y[i] = f(i, Whole or Part), bypassing the cache where `stream`; y is aligned to its elements.
template <class A, class Out, class F>
[[gnu::always_inline]] inline void map_block(Out* y, int count, bool stream, F&& f) {
  if (!stream) {
    for_each_vector<A>(count, [&](int, int i, auto part) __attribute__((always_inline)) {
      store<A>(y + i, f(i, part), part);
    });
    return;
  }
  constexpr std::uintptr_t alignment = A::width * sizeof(Out);
  const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(y) % alignment;
  int i = 0;
  if (past != 0) {
    const int to_boundary = static_cast<int>((alignment - past) / sizeof(Out));
    i = to_boundary < count ? to_boundary : count;
    A::store(y, f(0, Part{i}), i);
  }
  for (; i + A::width <= count; i += A::width) A::stream(y + i, f(i, Whole{}));
  if (i < count) A::store(y + i, f(i, Part{count - i}), count - i);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
