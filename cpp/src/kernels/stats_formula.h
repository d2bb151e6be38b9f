// What statistics of a row (stats.h) are formed from, block by block; device code has the same.
#pragma once

#include "kernels/row.h"
#include "kernels/weighted_term.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::RowStats;

// The two largest numbers.
template <class T>
struct Top2 {
  T first, second;

  FASTSOFTMAX_HD void add(T v) {
    if (v > first) {
      second = first;
      first = v;
    } else if (v > second) {
      second = v;
    }
  }
};

template <class A>
struct StatsTotal {
  using T = typename A::T;
  RowTotal<true> total;
  ExtSum weighted;
  Top2<T> top{-infinity<T>(), -infinity<T>()};

  // The sum of a block with this maximum, and that of its terms times their distance from it. The
  // caller adds its largest elements to `top` then.
  FASTSOFTMAX_HD void join(const BlockSum& block, double block_weighted, T max) {
    const double rise = static_cast<double>(max) - static_cast<double>(top.first);
    if (rise > 0.0) {
      // What came before is as far again from the new maximum. Nothing came before the first.
      if (total.all.hi > 0.0) weighted.hi += total.all.hi * rise;
    } else if (block.hi > 0.0) {
      block_weighted -= block.hi * rise;
    }
    total.join(block);
    weighted.join(block_weighted, 0.0, block.exponent);
  }

  // Of a row in the domain, or shifted into it by the maximum given. False where it is not.
  FASTSOFTMAX_HD bool finish(const T* shifted_by, RowStats<T>& stats) const {
    const RowState logarithm = finish_row<A, true>(total);
    RowTotal<false> all;
    all.all = total.all;
    all.out_of_domain = total.out_of_domain;
    const RowState state = finish_row<A, false>(all);
    if (logarithm.kind != RowState::regular || state.kind != RowState::regular) return false;
    const auto rounder = A::set1(sum_rounder<A>(static_cast<T>(state.exponent)));
    const auto quotient =
        quotient_of<A>(static_cast<T>(state.inverse_hi), static_cast<T>(state.inverse_lo),
                       static_cast<T>(state.shift));
    const auto probability = [&](T z) {
      return A::first(quotient(ExtExp<A>::term(A::set1(z), rounder)));
    };
    stats.max = shifted_by != nullptr ? *shifted_by : top.first + T(0);  // -0 and +0 are one
    stats.logsumexp = static_cast<T>(static_cast<double>(stats.max) + logarithm.log_sum);
    stats.entropy = static_cast<T>(logarithm.log_sum + (weighted.hi + weighted.lo) / total.all.hi);
    stats.top1 = probability(top.first);
    stats.margin = stats.top1 - probability(top.second);
    return true;
  }
};

// Of a row outside of the domain, with this maximum or NaN: what is defined of it while nothing
// more is known.
template <class T>
FASTSOFTMAX_HD inline RowStats<T> stats_of_maximum(T max) {
  const T nan = static_cast<T>(__builtin_nan(""));
  if (max != max) return {nan, nan, nan, nan, nan};
  return {max, max, nan, nan, nan};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
