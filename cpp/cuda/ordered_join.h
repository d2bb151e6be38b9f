// Joins sums of blocks, in their order. The threads of a group first bring sixteen of them to one
// exponent, so that what is left for a single thread, one block after the other, is additions
// without decisions.
//
// Sums of f32 terms are multiples of 2^-149, so that bringing them to an exponent not much larger
// is exact, and adding afterwards rounds as adding before. Other sums are joined as they come.
#pragma once

#include "cuda/row_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Exponents of sums that may be brought together, largest less smallest.
template <class A>
constexpr std::int64_t kApart = sizeof(typename A::T) == sizeof(float) ? 256 : 0;

// What the threads of a group find out about sixteen sums and the total ahead of them.
struct Together {
  std::int32_t largest, smallest;  // exponents
  double max;
  int top;  // the first sum with that maximum, or kGroup

  template <class Group>
  FASTSOFTMAX_HD Together(const Group& group, const ExtSum& total, const BlockSum* mine) {
    largest = smallest = total.exponent;
    const bool weighs = mine != nullptr && (mine->hi != 0.0 || mine->exponent == kOutOfDomain);
    if (total.hi == 0.0) {
      largest = weighs ? mine->exponent : -kOutOfDomain;
      smallest = weighs ? mine->exponent : kOutOfDomain;
    } else if (weighs) {
      largest = mine->exponent > largest ? mine->exponent : largest;
      smallest = mine->exponent < smallest ? mine->exponent : smallest;
    }
    max = mine != nullptr ? mine->max : -__builtin_inf();
    top = group.s();
    for (int mask = kGroup / 2; mask > 0; mask /= 2) {
      const std::int32_t larger = group.exchange(largest, mask);
      const std::int32_t smaller = group.exchange(smallest, mask);
      const double other_max = group.exchange(max, mask);
      const int other_top = group.exchange(top, mask);
      largest = larger > largest ? larger : largest;
      smallest = smaller < smallest ? smaller : smallest;
      if (other_max > max || (other_max == max && other_top < top)) top = other_top;
      max = other_max > max ? other_max : max;
    }
  }

  template <class A>
  FASTSOFTMAX_HD bool can_be_brought() const {
    return largest != kOutOfDomain && largest >= smallest &&
           std::int64_t{largest} - smallest <= kApart<A>;
  }
};

// Of sums that are under the exponent of the total.
template <bool Log, class SumAt>
FASTSOFTMAX_HD inline void add_in_order(RowTotal<Log>& total, int first, int last, int top,
                                        SumAt&& sum_at) {
  ExtSum all = total.all;
  ExtSum rest = total.rest;
  FASTSOFTMAX_UNROLL_BY_4
  for (int i = first; i < last; ++i) {
    const BlockSum& sum = sum_at(i);
    if constexpr (Log) {
      const bool is_top = i == top;
      rest.hi = is_top ? all.hi : rest.hi;
      rest.lo = is_top ? all.lo : rest.lo;
      rest.add(is_top ? sum.rest_hi : sum.hi, is_top ? sum.rest_lo : sum.lo);
    }
    all.add(sum.hi, sum.lo);
  }
  total.all = all;
  total.rest = rest;
}

// By all threads of a group; `total` and sum_at(0), ..., which are lost, are memory that they
// share.
template <class A, bool Log, class Group, class SumAt>
FASTSOFTMAX_HD inline void join_sums(const Group& group, RowTotal<Log>& total, int count,
                                     SumAt&& sum_at) {
  for (int first = 0; first < count; first += kGroup) {
    const int last = first + kGroup < count ? first + kGroup : count;
    const int i = first + group.s();
    BlockSum* const mine = i < last ? &sum_at(i) : nullptr;
    const Together together(group, total.all, mine);
    const bool brought = together.template can_be_brought<A>();
    const bool has_top = Log && together.max > total.max;
    if (brought && mine != nullptr && mine->hi != 0.0) {
      const std::int64_t e = std::int64_t{mine->exponent} - together.largest;
      ExtSum::scale_down(mine->hi, mine->lo, e);
      if constexpr (Log) ExtSum::scale_down(mine->rest_hi, mine->rest_lo, e);
    }
    group.sync_group();
    if (group.s() == 0) {
      RowTotal<Log> joined = total;
      if (brought) {
        joined.all.raise(together.largest);
        if constexpr (Log) {
          joined.rest.raise(together.largest);
          if (has_top) joined.max = together.max;
        }
        add_in_order(joined, first, last, has_top ? first + together.top : last, sum_at);
      } else {
        for (int j = first; j < last; ++j) joined.join(sum_at(j));
      }
      total = joined;
    }
    group.sync_group();
  }
}

template <class A, bool Log, class Group>
FASTSOFTMAX_HD inline void join_in_order(const Group& group, RowTotal<Log>& total, BlockSum* sums,
                                         int count) {
  join_sums<A>(group, total, count, [&](int i) -> BlockSum& { return sums[i]; });
}
// Of any other kind, by one thread.
template <class A, class Group, class Total, class Sum>
FASTSOFTMAX_HD inline void join_in_order(const Group& group, Total& total, const Sum* sums,
                                         int count) {
  if (group.s() != 0) return;
  // Not in registers, which the next round needs.
  Total joined = total;
  for (int i = 0; i < count; ++i) joined.join(sums[i]);
  total = joined;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
