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

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::RowOp;
using kernels::SumPair;

// hi + lo in the arithmetic type; without lo where hi is not finite.
template <class T>
struct ArithmeticPair {
  T hi, lo;

  FASTSOFTMAX_HD explicit ArithmeticPair(const SumPair& sum) {
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
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg exponential(typename A::reg y) {
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

// dx of g and y, where hi + lo is the sum, times the temperature.
template <class A, RowOp O>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg undivided_gradient(
    typename A::reg g, typename A::reg y, typename A::reg hi, typename A::reg lo) {
  if constexpr (O == RowOp::softmax)
    return A::mul(y, A::sub(A::sub(g, hi), lo));
  else
    return A::fnma(exponential<A>(y), hi, g);
}

FASTSOFTMAX_HD inline void add(SumPair& total, const SumPair& block) {
  const Sum2 sum = two_sum(Sum2{total.hi, total.lo}, Sum2{block.hi, block.lo});
  total = {sum.hi, sum.lo};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
