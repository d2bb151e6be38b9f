// What kernels for losses (loss.h, loss_gradient.h) form from the sums of a row, and from one of
// its scores; device code has the same.
#pragma once

#include "kernels/dot.h"
#include "kernels/row.h"
#include "kernels/softcap.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::Coefficients;
using kernels::LossGradient;
using kernels::RowLoss;
using kernels::SumPair;

FASTSOFTMAX_HD inline void add_sum(SumPair& total, Sum2 term) {
  const Sum2 sum = two_sum(Sum2{total.hi, total.lo}, term);
  total = {sum.hi, sum.lo};
}

// K M - S, for sums K of k_i and S of k_i z_i.
FASTSOFTMAX_HD inline double distance_from(double max, const SumPair& coefficients,
                                           const SumPair& scores) {
  if (scores.hi - scores.hi != 0.0) return -scores.hi;
  const double product = coefficients.hi * max;
  const double error = fused(coefficients.hi, max, -product);
  const Sum2 difference = two_sum(product, -scores.hi);
  const double rest = coefficients.lo * max - scores.lo;
  return difference.hi + (difference.lo + (error + rest));
}

// From the logarithm's RowState and the target's score.
FASTSOFTMAX_HD inline RowLoss row_loss(const RowState& state, double target,
                                       const SumPair& coefficients, const SumPair& scores) {
  return {state.kind == RowState::regular ? RowLoss::regular : RowLoss::irregular,
          state.max,
          state.log_sum,
          target - state.max,
          coefficients.hi,
          distance_from(state.max, coefficients, scores)};
}

// What the gradients of Rows rows are formed with, a register of rows at a time, or AtOnce.
template <class A, int Rows = 16, int AtOnce = 2>
struct GradientBatch {
  using T = typename A::T;
  static constexpr int rows = Rows;

  // Of each row: M, less what is subtracted from its scores, L, and z_t - M.
  alignas(64) double max[rows] = {};
  alignas(64) double log_sum[rows] = {};
  alignas(64) double target[rows] = {};
  // Its normalizer, p_t and 1 - p_t.
  alignas(64) T inverse_hi[rows], inverse_lo[rows], scale[rows], exponent[rows];
  alignas(64) double p[rows];
  alignas(64) double rest[rows];

  FASTSOFTMAX_HD void form() {
    using D = Several<F64, AtOnce>;
    using E = ExtExp<D>;
    alignas(64) double sums[rows];
    alignas(64) double exponents[rows];
    constexpr double none[A::width] = {};
    for (int r = 0; r < rows; r += D::width) {
      const auto l = D::load(log_sum + r);
      const auto of_max = E::pair(D::load(max + r));
      const auto of_log = E::pair(l);
      const auto bias = D::set1(power_of_two(kSumBias));
      D::store(sums + r, D::mul(D::mul(of_max.m, of_log.m), bias));
      D::store(exponents + r, D::add(of_max.n, of_log.n));
      const ExpAndLess<D> share(D::sub(D::load(target + r), l));
      D::store(p + r, share.exp);
      D::store(rest + r, D::sub(D::set1(0.0), share.less));
    }
    for (int r = 0; r < rows; ++r) exponent[r] = static_cast<T>(exponents[r]);
    for (int r = 0; r < rows; r += A::width)
      normalizers_of<A>(sums + r, none, inverse_hi + r, inverse_lo + r, scale + r);
  }
};

// How far the scores of a row with this maximum are to be shifted for its gradient.
template <class A>
FASTSOFTMAX_HD inline double gradient_shift(double max) {
  return in_domain<A>(max) ? 0.0 : max;
}

// The gradient with respect to a score, a p + b k, from the score less the row's shift.
template <class A>
struct LossSlope {
  using T = typename A::T;
  using reg = typename A::reg;
  Quotient<A> quotient;
  reg rounder, a, b, inverse_cap, shifted_by;

  template <class Batch>
  FASTSOFTMAX_HD LossSlope(const LossGradient& how, const Batch& batch, int r, double shift,
                           double softcap)
      : quotient{A::set1(batch.inverse_hi[r]), A::set1(batch.inverse_lo[r]),
                 A::set1(batch.scale[r])},
        rounder(A::set1(sum_rounder<A>(batch.exponent[r]))),
        a(A::set1(static_cast<T>(how.softmax))),
        b(A::set1(static_cast<T>(how.coefficient))),
        inverse_cap(A::set1(softcap != 0.0 ? T(1) / static_cast<T>(softcap) : T(0))),
        shifted_by(A::set1(static_cast<T>(shift))) {}

  template <Coefficients C>
  FASTSOFTMAX_HD [[gnu::always_inline]] reg of_score(reg z, reg k) const {
    const reg p = quotient(ExtExp<A>::term(z, rounder));
    if constexpr (C == Coefficients::none) return A::mul(p, a);
    if constexpr (C == Coefficients::ones) return A::fma(p, a, b);
    return A::fma(k, b, A::mul(p, a));
  }
  // With respect to the score before it was soft-capped.
  FASTSOFTMAX_HD [[gnu::always_inline]] reg before_softcap(reg slope, reg z) const {
    return A::mul(slope, softcap_derivative<A>(A::add(z, shifted_by), inverse_cap));
  }
};

// The same at the target, where 1 - p_t = rest; the score of the target, and what its coefficient
// adds: -0, which changes nothing, where there is none.
template <class T>
FASTSOFTMAX_HD inline T slope_at_target(const LossGradient& how, double p, double rest,
                                        double coefficient, double softcap, double score) {
  double v = how.excess * p + how.target * rest;
  v += coefficient;
  if (softcap != 0.0) {
    const double tanh = score / softcap;
    v *= 1.0 - tanh * tanh;
  }
  const T slope = static_cast<T>(v);
  return slope == slope ? slope : static_cast<T>(__builtin_nan(""));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
