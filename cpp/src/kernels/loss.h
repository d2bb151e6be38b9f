// What losses need to know of a row, in one read. With M the maximum, t the target and k_i
// coefficients (label smoothing, class probabilities),
//
//   L = log of the sum of e^(z_i - M),   z_t - M,   sum of k_i,   sum of k_i (M - z_i)
//
// so that the loss of a target, L - (z_t - M), does not cancel under a common offset and keeps its
// relative accuracy where the target has nearly all of the mass.
//
// Error: of L that of logsumexp; sums with coefficients are those of dot.h, less K M in twice the
// precision. An element of coefficient 0 is left out, -inf as well.
// Special values: a NaN makes L NaN, as do +inf and a row of nothing above -inf.
#pragma once

#include "kernels/loss_formula.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::LossJob;
using kernels::LossTotals;

// body(source) for the scores of a row, soft-capped, and less `shift`.
template <class Rows, class Body>
inline void with_gathered_scores(const LossJob& job, std::int64_t row, double shift, Body&& body) {
  using A = typename Rows::A;
  using T = typename A::T;
  GatheredSource<A> source = Rows::gathered(job.rows, row);
  const SoftcapSource<A> capped{source.fetch, source.context, static_cast<T>(job.softcap)};
  if (job.softcap != 0.0) {
    source.fetch = SoftcapSource<A>::fetch_capped;
    source.context = &capped;
  }
  source.shift = static_cast<T>(shift);
  body(source);
}
// From where they lie if that will do.
template <class Rows, class Body>
inline void with_loss_scores(const LossJob& job, std::int64_t row, double shift, Body&& body) {
  if (job.softcap != 0.0 || shift != 0.0) return with_gathered_scores<Rows>(job, row, shift, body);
  auto source = Rows::source(job.rows, row);
  body(source);
}

template <class A>
inline GatheredSource<A> coefficients_of(const LossJob& job, std::int64_t row) {
  return {job.fetch_coefficients, job.coefficients_context, job.rows.first_row + row,
          typename A::T(1)};
}

// f(tag) with the kind of coefficients as a constant, tag.value.
template <Coefficients C>
struct CoefficientsTag {
  static constexpr Coefficients value = C;
};
template <class F>
inline void with_coefficients(Coefficients kind, F&& f) {
  switch (kind) {
    case Coefficients::none:
      return f(CoefficientsTag<Coefficients::none>{});
    case Coefficients::ones:
      return f(CoefficientsTag<Coefficients::ones>{});
    case Coefficients::given:
      return f(CoefficientsTag<Coefficients::given>{});
  }
}

template <class A, class Source>
inline typename A::T element_of(Source& source, std::int64_t i) {
  return A::first(A::load(source.block(i, 1), 1, A::set1(typename A::T(0))));
}

// Adds sum_i k_i z_i and sum_i k_i of a block.
template <class A, Coefficients C, class In>
[[gnu::noinline]] void weigh_block(const In* x, const typename A::T* k, int count,
                                   LossTotals& totals) {
  using T = typename A::T;
  if constexpr (C == Coefficients::ones) {
    add_sum(totals.scores, sum_of_block<A, false>(x, x, count));
    totals.coefficients.hi += count;
  } else {
    alignas(64) T z[A::block];
    const auto zero = A::set1(T(0));
    map_block<A>(z, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return A::select_equal(load<A>(k + i, part, zero), zero, zero, load<A>(x + i, part, zero));
    });
    add_sum(totals.scores, sum_of_block<A, true>(static_cast<const T*>(z), k, count));
    add_sum(totals.coefficients, sum_of_block<A, false>(k, k, count));
  }
}

inline RowTotal<true> total_of(const LossTotals& t) {
  RowTotal<true> total;
  total.all = {t.all_hi, t.all_lo, t.all_exponent};
  total.rest = {t.rest_hi, t.rest_lo, t.rest_exponent};
  total.max = t.max;
  total.out_of_domain = t.out_of_domain;
  return total;
}
inline void keep_total(const RowTotal<true>& total, LossTotals& t) {
  t.all_hi = total.all.hi;
  t.all_lo = total.all.lo;
  t.all_exponent = total.all.exponent;
  t.rest_hi = total.rest.hi;
  t.rest_lo = total.rest.lo;
  t.rest_exponent = total.rest.exponent;
  t.max = total.max;
  t.out_of_domain = total.out_of_domain;
}

// in_parts: other elements of the row come in other calls.
template <class A, Coefficients C, class Source>
[[gnu::noinline]] void add_row(const LossJob& job, std::int64_t row, Source& source, bool in_parts,
                               LossTotals& totals) {
  constexpr RowAlgorithm online = RowAlgorithm::online;
  const std::int64_t length = job.rows.length;
  const std::int64_t blocks = blocks_of<A>(length);
  RowTotal<true> total = total_of(totals);
  const BlockSums<true> join{&total, nullptr, in_parts};
  if constexpr (C == Coefficients::none) {
    sum_one_pass<A, true, online>(source, length, 0, blocks, join, {});
  } else {
    auto coefficients = coefficients_of<A>(job, row);
    for_each_block<A>(length, 0, blocks, [&](std::int64_t b, std::int64_t start, int count) {
      sum_one_pass<A, true, online>(source, length, b, b + 1, join, {});
      const typename A::T* k = nullptr;
      if constexpr (C == Coefficients::given)
        k = coefficients.block(job.first_element + start, count);
      weigh_block<A, C>(source.block(start, count), k, count, totals);
    });
  }
  keep_total(total, totals);
  const std::int64_t target = job.targets[row];
  if (target >= 0 && target < length)
    totals.target = static_cast<double>(element_of<A>(source, target));
}

// Whether rows, whole and of one block, need nothing but sums of their exponentials.
template <class A>
inline bool is_short(const LossJob& job) {
  return job.rows.length <= A::block && !job.in_parts && job.softcap == 0.0 &&
         job.coefficients == Coefficients::none;
}

// Several of them pass by pass, for the reason that short_rows.h gives.
template <class Rows>
[[gnu::noinline]] void add_short_rows(const LossJob& job, LossTotals* totals) {
  using A = typename Rows::A;
  using T = typename A::T;
  const int length = static_cast<int>(job.rows.length);
  const int batch = batch_of(length);
  for (std::int64_t first = 0; first < job.rows.rows; first += batch) {
    const std::int64_t left = job.rows.rows - first;
    const int count = left < batch ? static_cast<int>(left) : batch;
    alignas(64) T max[kBatchRows] = {};
    alignas(64) T exponent[kBatchRows];
    for (int r = 0; r < count; ++r) max[r] = block_max<A>(Rows::x(job.rows, first + r), length);
    for (int r = 0; r < kBatchRows; r += A::width)
      A::store(exponent + r, ExtExp<A>::exponents(A::load(max + r)));
    for (int r = 0; r < count; ++r) {
      const auto* const x = Rows::x(job.rows, first + r);
      LossTotals& t = totals[first + r];
      if (!(exponent[r] <= T(kMaxExponent)) || max[r] == -infinity<T>()) {
        t.out_of_domain = true;
        continue;
      }
      const Sum2 rest = block_sum<A, Also::leave_out>(x, length, exponent[r], nullptr, 0,
                                                      find<A>(x, length, max[r]));
      t.rest_hi = rest.hi;
      t.rest_lo = rest.lo;
      t.rest_exponent = static_cast<std::int32_t>(exponent[r]);
      t.max = static_cast<double>(max[r]);
      const std::int64_t target = job.targets[first + r];
      if (target >= 0 && target < length)
        t.target = static_cast<double>(A::first(A::load(x + target, 1, A::set1(T(0)))));
    }
  }
}

template <class A>
[[gnu::noinline]] void finish_losses(const LossTotals* totals, std::int64_t rows, RowLoss* losses) {
  constexpr int batch = 16;
  for (std::int64_t first = 0; first < rows; first += batch) {
    const int count = rows - first < batch ? static_cast<int>(rows - first) : batch;
    RowTotal<true> total[batch];
    RowState state[batch];
    for (int r = 0; r < count; ++r) total[r] = total_of(totals[first + r]);
    finish_rows<A, true>(total, state, count);
    for (int r = 0; r < count; ++r) {
      const LossTotals& t = totals[first + r];
      losses[first + r] = row_loss(state[r], t.target, t.coefficients, t.scores);
    }
  }
}

template <class Rows>
[[gnu::noinline]] RowLoss irregular_loss(const LossJob& job, std::int64_t row) {
  using A = typename Rows::A;
  constexpr double nan = __builtin_nan("");
  double max = 0.0;
  with_gathered_scores<Rows>(job, row, 0.0, [&](auto& source) {
    max = static_cast<double>(max_or_nan<A>(source, job.rows.length));
  });
  RowLoss loss{RowLoss::irregular, max, nan, nan, nan, nan};
  if (max - max != 0.0) return loss;
  LossTotals totals;
  with_gathered_scores<Rows>(job, row, max, [&](auto& source) {
    with_coefficients(job.coefficients,
                      [&](auto c) { add_row<A, c.value>(job, row, source, false, totals); });
  });
  finish_losses<A>(&totals, 1, &loss);
  loss.max = max;
  return loss;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
