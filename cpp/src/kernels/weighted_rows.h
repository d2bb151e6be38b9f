// Sums of rows, each times a coefficient. Terms are added in order, 64 at a time, each rounded once
// with the sum; these sums are added in order.
//
// Error: of n terms, at most (64 + n / 64) u of the sum of |c_j v_j|, u = 2^-24 (f64: 2^-53).
// Special values: those of the sum; a NaN is the canonical one. No terms: 0.
#pragma once

#include "kernels/products.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A>
struct WeightedRows {
  using T = typename A::T;
  static constexpr std::int64_t kTermsAtOnce = 64;
  static constexpr int kRows = 4;       // of the output, that share a row of v
  static constexpr int kRegisters = 8;  // of a row, where it is alone

  // Of the terms [first, last) of R rows of the output from row i on.
  struct Terms {
    std::int64_t i;
    std::int64_t first, last;
    const T* coefficients;  // of the first
    std::int64_t row_step;
    std::int64_t term_step;
  };

  // Elements [k, k + C registers), of which the last one may be a part.
  template <int R, int C, class Last>
  [[gnu::always_inline]] static void sum(const kernels::WeightedRowsJob& job, const Terms& terms,
                                         std::int64_t k, Last part) {
    const auto zero = A::set1(0);
    T* out[R];
    FASTSOFTMAX_UNROLL
    for (int r = 0; r < R; ++r) {
      const std::int64_t i = terms.i + r;
      const std::int64_t row = job.out_ids == nullptr ? i : std::int64_t{job.out_ids[i]};
      out[r] = reinterpret_cast<T*>(static_cast<char*>(job.out) + row * job.out_stride) + k;
    }
    bool add = job.add;
    std::int64_t j = terms.first;
    const T* c = terms.coefficients;
    do {
      const std::int64_t left = terms.last - j;
      const std::int64_t end = j + (left < kTermsAtOnce ? left : kTermsAtOnce);
      typename A::reg s[R * C];
      FASTSOFTMAX_UNROLL
      for (int n = 0; n < R * C; ++n) s[n] = zero;
      for (; j < end; ++j, c += terms.term_step) {
        const T* const v = row_of<T>(job.v, j) + k;
        typename A::reg element[C];
        FASTSOFTMAX_UNROLL
        for (int n = 0; n < C - 1; ++n) element[n] = A::load(v + n * A::width);
        element[C - 1] = load<A>(v + (C - 1) * A::width, part, zero);
        FASTSOFTMAX_UNROLL
        for (int r = 0; r < R; ++r) {
          const auto factor = A::set1(c[r * terms.row_step]);
          FASTSOFTMAX_UNROLL
          for (int n = 0; n < C; ++n) s[r * C + n] = A::fma(factor, element[n], s[r * C + n]);
        }
      }
      FASTSOFTMAX_UNROLL
      for (int r = 0; r < R; ++r) {
        FASTSOFTMAX_UNROLL
        for (int n = 0; n < C; ++n) {
          T* const to = out[r] + n * A::width;
          const auto put = [&](auto count) __attribute__((always_inline)) {
            auto total = s[r * C + n];
            if (add) total = A::add(load<A>(static_cast<const T*>(to), count, zero), total);
            store<A>(to, canonical<A>(total), count);
          };
          if (n < C - 1)
            put(Whole{});
          else
            put(part);
        }
      }
      add = true;
    } while (j < terms.last);
  }

  // Whole rows, C registers at a time as long as there are so many.
  template <int R, int C>
  [[gnu::noinline]] static void row(const kernels::WeightedRowsJob& job, const Terms& terms) {
    constexpr int few = 2;
    std::int64_t k = 0;
    for (; k + C * A::width <= job.length; k += C * A::width) sum<R, C>(job, terms, k, Whole{});
    for (; k + few * A::width <= job.length; k += few * A::width)
      sum<R, few>(job, terms, k, Whole{});
    for (; k + A::width <= job.length; k += A::width) sum<R, 1>(job, terms, k, Whole{});
    if (k < job.length) sum<R, 1>(job, terms, k, Part{static_cast<int>(job.length - k)});
  }

  static void entry(const kernels::WeightedRowsJob& job) {
    const DefaultFloatEnvironment environment;
    const T* const coefficients = static_cast<const T*>(job.coefficients);
    std::int64_t i = 0;
    if (job.offsets != nullptr) {
      for (; i < job.rows; ++i) {
        const std::int64_t first = job.offsets[i];
        row<1, kRegisters>(job, {i, first, job.offsets[i + 1], coefficients + first, 0, 1});
      }
      return;
    }
    const auto terms = [&](std::int64_t first) {
      return Terms{first,        0, job.terms, coefficients + first * job.row_step, job.row_step,
                   job.term_step};
    };
    for (; i + kRows <= job.rows; i += kRows) row<kRows, kRegisters / 2>(job, terms(i));
    for (; i < job.rows; ++i) row<1, kRegisters>(job, terms(i));
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
