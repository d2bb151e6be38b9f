// Gradients of losses (loss.h) with respect to the scores,
//
//   dz_i = a p_i + b k_i,   and c more at the target;   p = softmax(z)
//
// Error, with u = 2^-24 (f64: 2^-53): a p_i within 7 u (f64: (8 + L) u) of itself, since p_i is
// formed from M and L, which may come from elsewhere. At the target (a + c) p_t + c (1 - p_t) in
// double, so that nothing cancels where p_t is nearly 1. Special values: NaN has one bit pattern.
#pragma once

#include "kernels/loss.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::LossGradient;
using kernels::LossKernels;

// e^x and 1 - e^x for x <= 0, or NaN.
struct Complement {
  double p, rest;

  explicit Complement(double x) {
    using E = ExtExp<F64>;
    const double magic = ExpConstants<double>::magic;
    const auto z = F64::max(F64::set1(-1000.0), F64::set1(x));
    const auto t = E::round(z, F64::set1(magic));
    const double growth = F64::first(E::growth(z, t, F64::set1(magic)));
    const double steps = F64::first(F64::sub(F64::whole(t), F64::set1(magic)));
    const double power = F64::first(F64::power(F64::fraction(t))) *
                         power_of_two(steps == steps ? static_cast<int>(steps) / 16 : 0);
    p = fused(power, growth, power);
    rest = fused(-power, growth, 1.0 - power);
  }
};

// What p_i is formed with, from M in the domain and L.
template <class A>
inline RowState state_of(double max, double log_sum) {
  using E = ExtExp<F64>;
  const double m = E::mantissa(max) * E::mantissa(log_sum) * power_of_two(kSumBias);
  ExtSum sum;
  sum.join(m, 0.0, static_cast<std::int32_t>(E::exponent(max) + E::exponent(log_sum)));
  return normalizer<A>(sum);
}

template <class A, Coefficients C, bool Capped, class Source, class Sink>
[[gnu::noinline]] void write_loss_gradient(const LossJob& job, std::int64_t row, Source& source,
                                           Sink& sink, const RowState& state,
                                           const LossGradient& how, double shift) {
  using T = typename A::T;
  using E = ExtExp<A>;
  const auto rounder = A::set1(sum_rounder<A>(static_cast<T>(state.exponent)));
  const auto quotient =
      quotient_of<A>(static_cast<T>(state.inverse_hi), static_cast<T>(state.inverse_lo),
                     static_cast<T>(state.shift));
  const auto a = A::set1(static_cast<T>(how.softmax));
  const auto b = A::set1(static_cast<T>(how.coefficient));
  const auto inverse_cap = A::set1(Capped ? T(1) / static_cast<T>(job.softcap) : T(0));
  const auto shifted_by = A::set1(static_cast<T>(shift));
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  const std::int64_t length = job.rows.length;
  const std::int64_t target = job.targets[row];
  auto coefficients = coefficients_of<A>(job, row);
  for_each_block<A>(length, 0, blocks_of<A>(length), [&](std::int64_t, std::int64_t start, int n) {
    const auto* x = source.block(start, n);
    const T* k = nullptr;
    if constexpr (C == Coefficients::given) k = coefficients.block(start, n);
    auto* const y = sink.block(start);
    const std::int64_t at = target - start;
    const bool has_target = at >= 0 && at < n;
    T at_target = 0;
    if (has_target) {
      const double z = static_cast<double>(A::first(A::load(x + at, 1, fill)));
      const Complement share((z - (how.max - shift)) - how.log_sum);
      double v = (how.softmax + how.target) * share.p + how.target * share.rest;
      if constexpr (C == Coefficients::ones) v += how.coefficient;
      if constexpr (C == Coefficients::given) v += how.coefficient * static_cast<double>(k[at]);
      if constexpr (Capped) {
        const double tanh = (z + shift) / job.softcap;
        v *= 1.0 - tanh * tanh;
      }
      at_target = static_cast<T>(v == v ? v : __builtin_nan(""));
    }
    map_block<A>(y, n, sink.stream && !has_target,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   const auto z = load<A>(x + i, part, fill);
                   const auto p = quotient(E::term(z, rounder));
                   typename A::reg v;
                   if constexpr (C == Coefficients::none)
                     v = A::mul(p, a);
                   else if constexpr (C == Coefficients::ones)
                     v = A::fma(p, a, b);
                   else
                     v = A::fma(load<A>(k + i, part, fill), b, A::mul(p, a));
                   if constexpr (Capped) {
                     const auto capped = A::add(z, shifted_by);
                     v = A::mul(v, softcap_derivative<A>(capped, inverse_cap));
                   }
                   return A::select_equal(v, v, v, nan);
                 });
    if (has_target) A::store(y + at, A::set1(at_target), 1);
    sink.done(start, n);
  });
}

template <class Source>
constexpr bool is_gathered = false;
template <class A>
constexpr bool is_gathered<GatheredSource<A>> = true;

template <class Rows>
struct LossEntries {
  using A = typename Rows::A;
  using T = typename A::T;

  static void add(const LossJob& job, LossTotals* totals) {
    const DefaultFloatEnvironment environment;
    with_coefficients(job.coefficients, [&](auto c) {
      for (std::int64_t row = 0; row < job.rows.rows; ++row) {
        with_loss_scores<Rows>(job, row, 0.0, [&](auto& source) {
          add_row<A, c.value>(job, row, source, job.in_parts, totals[row]);
        });
      }
    });
  }

  static void finish(const LossTotals* totals, std::int64_t rows, RowLoss* losses) {
    const DefaultFloatEnvironment environment;
    finish_losses<A>(totals, rows, losses);
  }

  static RowLoss irregular(const LossJob& job, std::int64_t row) {
    const DefaultFloatEnvironment environment;
    return irregular_loss<Rows>(job, row);
  }

  static void gradient(const LossJob& job, const LossGradient* gradients) {
    const DefaultFloatEnvironment environment;
    for (std::int64_t row = 0; row < job.rows.rows; ++row) gradient_row(job, row, gradients[row]);
    if (job.rows.stream) stream_fence();
  }

  static constexpr LossKernels table() { return {add, finish, irregular, gradient}; }

 private:
  static void gradient_row(const LossJob& job, std::int64_t row, const LossGradient& how) {
    auto sink = Rows::sink(job.rows, row);
    if (how.kind != LossGradient::regular) {
      const T value = how.kind == LossGradient::zero ? T(0) : static_cast<T>(__builtin_nan(""));
      return fill_blocks<A>(sink, job.rows.length, value, 0, blocks_of<A>(job.rows.length));
    }
    const double shift = in_domain<A>(how.max) ? 0.0 : how.max;
    const RowState state = state_of<A>(how.max - shift, how.log_sum);
    with_loss_scores<Rows>(job, row, shift, [&](auto& source) {
      with_coefficients(job.coefficients,
                        [&](auto c) { write<c.value>(job, row, source, sink, state, how, shift); });
    });
  }

  template <Coefficients C, class Source, class Sink>
  static void write(const LossJob& job, std::int64_t row, Source& source, Sink& sink,
                    const RowState& state, const LossGradient& how, double shift) {
    if constexpr (is_gathered<Source>) {
      if (job.softcap != 0.0)
        return write_loss_gradient<A, C, true>(job, row, source, sink, state, how, shift);
    }
    write_loss_gradient<A, C, false>(job, row, source, sink, state, how, shift);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
