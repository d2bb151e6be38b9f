// Gradients of the scores from those of the output: with g the gradient, y the output, T the
// temperature,
//
//   softmax      dx_i = y_i (g_i - D) / T       D = sum_j g_j y_j
//   log_softmax  dx_i = (g_i - e^(y_i) S) / T   S = sum_j g_j
//
// Domain: all numbers. e^(y_i) is 0 below the smallest normal number, and +inf above y_i = 88.5
// (f64: 709.5).
//
// Error: of D and S at most 2^-47 (f64: (2^10 + B^2) 2^-106, B the number of blocks) times
// sum_j |g_j y_j| and sum_j |g_j|. Beyond that, with u = 2^-24 (f64: 2^-53) and where nothing
// underflows, dx_i of softmax is within 4 u (without temperature 3 u) of itself, because
// g_i - D takes D as a pair: nothing is lost where one element dominates and D is all but its g_i.
// dx_i of log_softmax is within 2 u of itself and 2.3 u of e^(y_i) S.
//
// Special values: as the formulas say; 0 * inf and inf - inf are NaN, and NaN has one bit pattern.
#pragma once

#include "kernels/dot.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;
using kernels::SumPair;

// hi + lo in the arithmetic type; without lo where hi is not finite.
template <class T>
struct ArithmeticPair {
  T hi, lo;

  explicit ArithmeticPair(const SumPair& sum) {
    Sum2 total{sum.hi, sum.lo};
    if constexpr (sizeof(T) == sizeof(double))
      total = two_sum(sum.hi, sum.lo - sum.lo == 0.0 ? sum.lo : 0.0);
    hi = static_cast<T>(total.hi);
    lo = static_cast<T>((total.hi - static_cast<double>(hi)) + total.lo);
    if (lo - lo != T(0)) lo = T(0);
  }
};

// e^y as an output: rounded, without subnormal numbers.
template <class A>
[[gnu::always_inline]] inline typename A::reg exponential(typename A::reg y) {
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr bool f32 = sizeof(T) == sizeof(float);
  // The largest y with an e^y below the smallest normal number.
  constexpr T lowest = f32 ? T(-0x1.5d58ap+6) : T(-0x1.6232bdd7abcd3p+9);
  constexpr T largest = f32 ? T(0x1.fffffep127) : T(__DBL_MAX__);
  constexpr T overflowing = largest / (f32 ? T(88.5) : T(709.5));
  const auto rounder = A::set1(E::rounder(T(ExpConstants<T>::field_bias)));
  const auto t = E::round(y, rounder);
  const auto p = A::power(t);
  const auto e = A::fma_above(p, E::growth(y, t, rounder), p, y, A::set1(lowest));
  return A::select_above(A::mul(y, A::set1(overflowing)), A::set1(largest), e);
}

// dx of g and y, where hi + lo is the sum.
template <class A, RowOp O, bool Divides>
[[gnu::always_inline]] inline typename A::reg gradient(typename A::reg g, typename A::reg y,
                                                       typename A::reg hi, typename A::reg lo,
                                                       typename A::reg divisor,
                                                       typename A::reg nan) {
  typename A::reg v;
  if constexpr (O == RowOp::softmax)
    v = A::mul(y, A::sub(A::sub(g, hi), lo));
  else
    v = A::fnma(exponential<A>(y), hi, g);
  if constexpr (Divides) v = A::div(v, divisor);
  return A::select_equal(v, v, v, nan);
}

template <class A, RowOp O, bool Divides, class In, class Out>
[[gnu::always_inline]] inline void write_gradient(const In* g, const In* y, Out* out, int count,
                                                  const SumPair& sum, typename A::T temperature,
                                                  bool stream, std::int64_t ahead) {
  using T = typename A::T;
  const ArithmeticPair<T> total(sum);
  const auto hi = A::set1(total.hi);
  const auto lo = A::set1(total.lo);
  const auto divisor = A::set1(temperature);
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  map_block<A>(out, count, stream, [&](int i, auto part) __attribute__((always_inline)) {
    const auto v = load<A>(g + i, part, fill);
    const auto p = load<A>(y + i, part, fill);
    if constexpr (O == RowOp::log_softmax) prefetch(y + i, ahead);
    return gradient<A, O, Divides>(v, p, hi, lo, divisor, nan);
  });
}

inline void add(SumPair& total, const SumPair& block) {
  const Sum2 sum = two_sum(Sum2{total.hi, total.lo}, Sum2{block.hi, block.lo});
  total = {sum.hi, sum.lo};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
