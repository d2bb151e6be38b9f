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

using kernels::LossKernels;

template <class A, Coefficients C, bool Capped, class Source, class Sink>
[[gnu::noinline]] void write_loss_gradient(const LossJob& job, std::int64_t row, Source& source,
                                           Sink& sink, const LossGradient& how, double shift,
                                           const GradientBatch<A>& batch, int r) {
  using T = typename A::T;
  const LossSlope<A> slope(how, batch, r, shift, Capped ? job.softcap : 0.0);
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  const std::int64_t length = job.rows.length;
  const std::int64_t target = job.targets[row];
  auto coefficients = coefficients_of<A>(job, row);
  for_each_block<A>(length, 0, blocks_of<A>(length), [&](std::int64_t, std::int64_t start, int n) {
    const auto* x = source.block(start, n);
    const T* k = nullptr;
    if constexpr (C == Coefficients::given) k = coefficients.block(job.first_element + start, n);
    auto* const y = sink.block(start);
    const std::int64_t at = target - start;
    const bool has_target = at >= 0 && at < n;
    T at_target = 0;
    if (has_target) {
      double coefficient = -0.0;
      if constexpr (C == Coefficients::ones) coefficient = how.coefficient;
      if constexpr (C == Coefficients::given)
        coefficient = how.coefficient * static_cast<double>(k[at]);
      at_target = slope_at_target<T>(how, batch.p[r], batch.rest[r], coefficient,
                                     Capped ? job.softcap : 0.0, batch.target[r] + how.max);
    }
    map_block<A>(y, n, sink.stream && !has_target,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   const auto z = load<A>(x + i, part, fill);
                   auto k_here = fill;
                   if constexpr (C == Coefficients::given) k_here = load<A>(k + i, part, fill);
                   auto v = slope.template of_score<C>(z, k_here);
                   if constexpr (Capped) v = slope.before_softcap(v, z);
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
    if constexpr (Rows::is_memory) {
      if (is_short<A>(job)) return add_short_rows<Rows>(job, totals);
    }
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
    GradientBatch<A> batch;
    for (std::int64_t first = 0; first < job.rows.rows; first += batch.rows) {
      const std::int64_t left = job.rows.rows - first;
      const int count = left < batch.rows ? static_cast<int>(left) : batch.rows;
      for (int r = 0; r < count; ++r) describe(job, first + r, gradients[first + r], batch, r);
      batch.form();
      for (int r = 0; r < count; ++r) write_row(job, first + r, gradients[first + r], batch, r);
    }
    if (job.rows.stream) stream_fence();
  }

  static constexpr LossKernels table() { return {add, finish, irregular, gradient}; }

 private:
  static void describe(const LossJob& job, std::int64_t row, const LossGradient& how,
                       GradientBatch<A>& batch, int r) {
    batch.max[r] = batch.log_sum[r] = batch.target[r] = 0.0;
    if (how.kind != LossGradient::regular) return;
    batch.max[r] = how.max - gradient_shift<A>(how.max);
    batch.log_sum[r] = how.log_sum;
    const std::int64_t target = job.targets[row];
    if (target < 0 || target >= job.rows.length) return;
    with_loss_scores<Rows>(job, row, 0.0, [&](auto& source) {
      batch.target[r] = static_cast<double>(element_of<A>(source, target)) - how.max;
    });
  }

  static void write_row(const LossJob& job, std::int64_t row, const LossGradient& how,
                        const GradientBatch<A>& batch, int r) {
    auto sink = Rows::sink(job.rows, row);
    if (how.kind != LossGradient::regular) {
      const T value = how.kind == LossGradient::zero ? T(0) : static_cast<T>(__builtin_nan(""));
      return fill_blocks<A>(sink, job.rows.length, value, 0, blocks_of<A>(job.rows.length));
    }
    const double shift = gradient_shift<A>(how.max);
    with_loss_scores<Rows>(job, row, shift, [&](auto& source) {
      with_coefficients(job.coefficients, [&](auto c) {
        write<c.value>(job, row, source, sink, how, shift, batch, r);
      });
    });
  }

  template <Coefficients C, class Source, class Sink>
  static void write(const LossJob& job, std::int64_t row, Source& source, Sink& sink,
                    const LossGradient& how, double shift, const GradientBatch<A>& batch, int r) {
    if constexpr (is_gathered<Source>) {
      if (job.softcap != 0.0)
        return write_loss_gradient<A, C, true>(job, row, source, sink, how, shift, batch, r);
    }
    write_loss_gradient<A, C, false>(job, row, source, sink, how, shift, batch, r);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
