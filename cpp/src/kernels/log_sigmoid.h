// The logarithm of the logistic function, and the way down a binary tree:
//
//   log sigma(s) = min(s, 0) - log1p(e^-|s|),   sigma(-s) = (s < 0 ? 1 : e^-|s|) / (1 + e^-|s|)
//
// In f32, log1p(t) = t P(t - 1/2), P the minimax polynomial of degree 9 for 0 <= t <= 1, to
// 2^-27.6; in f64 it is that of log1p.h.
//
// Error: at most 2.6 ulp, of the derivative 2.41, in f32, measured over every input; 1.4 and 2.1 in
// f64, measured on a sample (docs/numerics.md, section 14).
// Special values: what lies below 2^(-1/32) of the smallest normal number is 0. log sigma(-inf) =
// -inf, log sigma(inf) = 0; a NaN is the canonical one.
#pragma once

#include "kernels/log1p.h"
#include "kernels/products.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// 0 <= t <= 1.
template <class A>
[[gnu::always_inline]] inline typename A::reg log1p_of_fraction(typename A::reg t) {
  if constexpr (sizeof(typename A::T) == sizeof(double)) {
    return log1p_nonnegative<A>(t);
  } else {
    constexpr float p[] = {0x1.9f323ep-1f, -0x1.2773a6p-2f, 0x1.0f9550p-3f, -0x1.153fb2p-4f,
                           0x1.2c1e28p-5f, -0x1.510612p-6f, 0x1.7b53ccp-7f, -0x1.ba5cbap-8f,
                           0x1.584892p-8f, -0x1.a93368p-9f};
    const auto r = A::sub(t, A::set1(0.5f));
    auto sum = A::set1(p[9]);
#pragma GCC unroll 16
    for (int i = 8; i >= 0; --i) sum = A::fma(sum, r, A::set1(p[i]));
    return A::mul(sum, t);
  }
}

template <class A>
struct LogSigmoid {
  using T = typename A::T;
  using reg = typename A::reg;

  reg t;     // e^-|s|
  reg log1;  // log1p(t)

  [[gnu::always_inline]] explicit LogSigmoid(reg s) {
    using E = ExtExp<A>;
    const reg below = A::min(A::sub(A::set1(0), s), s);
    t = E::term(E::clamp(below), A::set1(E::rounder(ExpConstants<T>::field_bias)));
    log1 = log1p_of_fraction<A>(t);
  }
  // log sigma(s) for the s that this was made of, or for its opposite.
  [[gnu::always_inline]] reg log(reg s) const { return A::sub(A::min(A::set1(0), s), log1); }
  // sigma(-s).
  [[gnu::always_inline]] reg slope(reg s) const {
    const reg zero = A::set1(0);
    const reg one = A::set1(1);
    const reg larger = A::select_equal(A::min(zero, s), zero, t, one);
    return A::div(larger, A::add(one, t));
  }
};

template <class A>
void log_sigmoid(const void* scores, std::int64_t count, void* log_p, void* slopes) {
  using T = typename A::T;
  const DefaultFloatEnvironment environment;
  const T* s = static_cast<const T*>(scores);
  T* log = static_cast<T*>(log_p);
  T* slope = static_cast<T*>(slopes);
  for (std::int64_t i = 0; i < count; i += A::width) {
    const auto take = [&](auto part) __attribute__((always_inline)) {
      const auto z = load<A>(s + i, part, A::set1(0));
      const LogSigmoid<A> of(z);
      if (log != nullptr) store<A>(log + i, canonical<A>(of.log(z)), part);
      if (slope != nullptr) store<A>(slope + i, canonical<A>(of.slope(z)), part);
    };
    if (i + A::width <= count)
      take(Whole{});
    else
      take(Part{static_cast<int>(count - i)});
  }
}

// A line of numbers in double.
template <class A>
struct WideLine {
  typename A::Wide v;

  static WideLine load(const double* p) { return {A::wide(p)}; }
  static WideLine widen(const typename A::reg* r) { return {A::widen(r)}; }
  void add(const WideLine& other) { v = A::add(v, other.v); }
  void store(double* p) const { A::store(p, v); }
  void narrow(typename A::reg* r) const {
    typename A::reg rest[A::join_lanes / A::width];
    A::narrow(v, r, rest);
  }
};
template <class A>
  requires(sizeof(typename A::T) == sizeof(double))
struct WideLine<A> {
  static constexpr int count = A::join_lanes / A::width;
  typename A::reg v[count];

  static WideLine load(const double* p) {
    WideLine line;
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) line.v[i] = A::load(p + i * A::width);
    return line;
  }
  static WideLine widen(const typename A::reg* r) {
    WideLine line;
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) line.v[i] = r[i];
    return line;
  }
  void add(const WideLine& other) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) v[i] = A::add(v[i], other.v[i]);
  }
  void store(double* p) const {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) A::store(p + i * A::width, v[i]);
  }
  void narrow(typename A::reg* r) const {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) r[i] = v[i];
  }
};

template <class A>
void descend(const kernels::DescentJob& job) {
  using T = typename A::T;
  const DefaultFloatEnvironment environment;
  constexpr int line = A::join_lanes;
  constexpr int count = line / A::width;
  const T* const scores = static_cast<const T*>(job.scores);
  const T* const bias = static_cast<const T*>(job.bias);
  T* const leaves = static_cast<T*>(job.leaves);
  for (std::int64_t n = 0; n < job.nodes; ++n) {
    typename A::reg log_p[2][count];
    const auto b = A::set1(bias == nullptr ? T(0) : bias[n]);
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) {
      auto z = A::load(scores + n * line + i * A::width);
      if (bias != nullptr) z = A::add(z, b);
      const LogSigmoid<A> of(z);
      log_p[0][i] = of.log(z);
      log_p[1][i] = of.log(A::sub(A::set1(0), z));
    }
    const auto here = WideLine<A>::load(job.slots + std::int64_t{job.from[n]} * line);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < 2; ++c) {
      auto child = WideLine<A>::widen(log_p[c]);
      child.add(here);
      const std::int64_t place = job.places[2 * n + c];
      if (place >= 0) {
        child.store(job.slots + place * line);
        continue;
      }
      typename A::reg narrowed[count];
      child.narrow(narrowed);
      T* const to = leaves + (-1 - place) * line;
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < count; ++i) A::store(to + i * A::width, canonical<A>(narrowed[i]));
    }
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
