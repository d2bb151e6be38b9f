// Statistics of softmax in one read of a row: with M the maximum, S the sum of e^(z - M) and R that
// sum without its first maximum,
//
//   logsumexp = M + log1p(R)
//   entropy   = log1p(R) + W / S,   W = sum of e^(z - M) * (M - z)
//   top1      = e^0 / S             as softmax has it
//   margin    = top1 - top2         where top2 is the probability of the second largest element
//
// Neither term of the entropy is negative, so that nothing cancels. Blocks sum W relative to their
// own maximum; a block with a larger one adds S times the difference to what came before, and one
// with a smaller one adds its sum times the difference.
// Error: of max none, of logsumexp and top1 that of their functions. Entropy: each term of W is off
// by 2.1 u (its exponential, M - z), sums of 16 in a lane by 15 u, and W / S by 20 u with S; the
// entropy by 21 u at most, to first order. Measured less: docs/numerics.md.
// Special values: a NaN makes all of them NaN; +inf leaves max and logsumexp, one +inf or more; a
// row without anything above -inf has max and logsumexp -inf. What is not defined is NaN.
#pragma once

#include "kernels/rows.h"
#include "kernels/stats_formula.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::StatsJob;

// The sum of a block, and that of its terms times their distance from the maximum, so scaled too.
template <class A>
struct WeightedSum {
  Sum2 sum;
  double weighted;
};

template <class A, class In>
[[gnu::noinline]] WeightedSum<A> weighted_sum(const In* x, int count, typename A::T max,
                                              typename A::T exponent) {
  using T = typename A::T;
  const auto top = A::set1(max);
  LaneSums<A> weighted;
  const auto weigh = [&](int v, auto z, auto term) __attribute__((always_inline)) {
    auto& sum = weighted.sum.r[v];
    sum = add_weighted<A>(sum, term, z, top);
  };
  WeightedSum<A> result;
  result.sum = block_sum<A>(x, count, exponent, static_cast<T*>(nullptr), T(0), -1, weigh);
  result.weighted = join<A, true>(weighted).hi;
  return result;
}

// The largest element of a block but for the first that is `max`.
template <class A, class In>
[[gnu::noinline]] typename A::T second_of_block(const In* x, int count, typename A::T max) {
  using T = typename A::T;
  const auto lowest = A::set1(-infinity<T>());
  const auto largest = A::set1(max);
  auto second = lowest;
  auto times = A::set1(T(0));
  for_each_vector<A>(count, [&](int, int i, auto part) __attribute__((always_inline)) {
    const auto z = load<A>(x + i, part, lowest);
    second = A::max(A::select_equal(z, largest, lowest, z), second);
    times = A::add(times, A::select_equal(z, largest, A::set1(T(1)), A::set1(T(0))));
  });
  T counts[A::width];
  A::store(counts, times);
  T all = 0;
  for (int j = 0; j < A::width; ++j) all += counts[j];
  return all > T(1) ? max : A::reduce_max(second);
}

// A row in the domain, or shifted into it by the maximum given. False where it is not.
template <class A, class Source>
[[gnu::noinline]] bool regular_stats(Source& source, std::int64_t length,
                                     const typename A::T* shifted_by,
                                     RowStats<typename A::T>& stats) {
  using T = typename A::T;
  StatsTotal<A> row;
  RowTotal<true>& total = row.total;
  Top2<T>& top = row.top;
  const std::int64_t blocks = blocks_of<A>(length);
  for_each_block<A>(length, 0, blocks, [&](std::int64_t, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    const T max = block_max<A>(x, count);
    const T exponent = ExtExp<A>::exponent(max);
    if (!(exponent <= static_cast<T>(kMaxExponent))) {
      total.out_of_domain = true;
      return;
    }
    BlockSum out{};
    out.exponent = static_cast<std::int32_t>(exponent);
    if (max == -infinity<T>()) {  // nothing to weigh, but perhaps a NaN
      out.hi = block_sum<A>(x, count, exponent).hi;
      return total.join(out);
    }
    if (max > top.first) sum_rest<A>(out, x, count, max, exponent);
    const WeightedSum<A> sum = weighted_sum<A>(x, count, max, exponent);
    out.hi = sum.sum.hi;
    out.lo = sum.sum.lo;
    row.join(out, sum.weighted, max);
    if (max > top.second) {
      const T second = second_of_block<A>(x, count, max);
      top.add(max);
      top.add(second);
    }
  });
  return row.finish(shifted_by, stats);
}

// As exceptional_row() does: NaN, infinities, and rows that must be shifted.
template <class Rows>
[[gnu::noinline]] RowStats<typename Rows::T> exceptional_stats(const RowsJob& job,
                                                               std::int64_t row) {
  using A = typename Rows::A;
  using T = typename A::T;
  auto source = Rows::gathered(job, row);
  const T max = max_or_nan<A>(source, job.length);
  RowStats<T> stats = stats_of_maximum(max);
  if (!(max - max == T(0))) return stats;
  source.shift = max;
  regular_stats<A>(source, job.length, &max, stats);
  return stats;
}

template <class Rows>
void stats_entry(const StatsJob& job) {
  using A = typename Rows::A;
  const DefaultFloatEnvironment environment;
  auto* const stats = static_cast<RowStats<typename A::T>*>(job.stats);
  for (std::int64_t row = 0; row < job.rows.rows; ++row) {
    auto source = Rows::source(job.rows, row);
    if (!regular_stats<A>(source, job.rows.length, nullptr, stats[row]))
      stats[row] = exceptional_stats<Rows>(job.rows, row);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
