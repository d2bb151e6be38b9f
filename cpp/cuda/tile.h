// One block of a row in the registers of a group: element k * A::lanes + s * kPerThread + c is
// v[k][c] of the group's thread s. So thread s has lanes s * kPerThread + c, and every lane adds
// its terms in the order of docs/numerics.md, section 3; halving is an exchange between threads
// down to neighbouring lanes, which one thread has.
#pragma once

#include "cuda/row_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, int Steps>
struct Tile {
  using T = typename A::T;
  T v[Steps][kPerThread<A>];
};

// body(k, at, inside) for the packs of thread s in a block of `count` elements.
template <class A, int Steps, class Body>
FASTSOFTMAX_HD inline void for_each_pack(int s, int count, Body&& body) {
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    const int at = k * A::lanes + s * kPerThread<A>;
    body(k, at, count - at);
  }
}

template <class A, int Steps, class Row>
FASTSOFTMAX_HD inline void load_tile(const Row& row, std::int64_t start, int count, int s,
                                     Tile<A, Steps>& z) {
  for_each_pack<A, Steps>(s, count,
                          [&](int k, int at, int inside) { row.read(start + at, inside, z.v[k]); });
}

// body(at, inside) likewise, one pack after the other and not unrolled as a whole.
template <class A, int Steps, class Body>
FASTSOFTMAX_HD inline void for_each_pack_in_turn(int s, int count, Body&& body) {
  FASTSOFTMAX_UNROLL_BY_4
  for (int k = 0; k < Steps; ++k) {
    const int at = k * A::lanes + s * kPerThread<A>;
    if (at < count) body(at, count - at);
  }
}

// NaN where either is.
template <class T>
FASTSOFTMAX_HD inline T larger_or_nan(T a, T b) {
  return a > b || a != a ? a : b;
}

template <class Group, class T>
FASTSOFTMAX_HD inline T group_max(const Group& group, T v) {
  for (int mask = kGroup / 2; mask > 0; mask /= 2) v = larger_or_nan(v, group.exchange(v, mask));
  return v;
}

template <class A, int Steps>
FASTSOFTMAX_HD inline typename A::T thread_max(const Tile<A, Steps>& z) {
  typename A::T max = -infinity<typename A::T>();
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) max = larger_or_nan(max, z.v[k][c]);
  }
  return max;
}

// The same of scores that stay where they are.
template <int Steps, class Row>
FASTSOFTMAX_HD inline typename Row::T thread_max_of(const Row& row, std::int64_t start, int count,
                                                    int s) {
  using A = typename Row::A;
  using T = typename A::T;
  T max = -infinity<T>();
  for_each_pack_in_turn<A, Steps>(s, count, [&](int at, int inside) {
    T v[kPerThread<A>];
    row.read(start + at, inside, v);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) max = larger_or_nan(max, v[c]);
  });
  return max;
}

// The lanes of a group: sums and errors of each thread's.
template <class A>
struct ThreadLanes {
  typename A::T sum[kPerThread<A>];
  typename A::T error[kPerThread<A>];
};

// join() of block.h. All threads get the same numbers, since no operation here has an order.
// Exact: errors are all zero.
template <class A, bool Exact, class Group>
FASTSOFTMAX_HD inline Sum2 join_lanes(const Group& group, const ThreadLanes<A>& lanes) {
  constexpr int n = kPerThread<A>;
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    double w[n];
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < n; ++c) {
      w[c] =
          static_cast<double>(lanes.sum[c]) + static_cast<double>(group.exchange(lanes.sum[c], 8));
      w[c] = w[c] + group.exchange(w[c], 4);
      if constexpr (!Exact) {
        float error = lanes.error[c] + group.exchange(lanes.error[c], 8);
        error = error + group.exchange(error, 4);
        w[c] = w[c] + static_cast<double>(error);
      }
      w[c] = w[c] + group.exchange(w[c], 2);
      w[c] = w[c] + group.exchange(w[c], 1);
    }
    static_assert(n == 4);
    return {(w[0] + w[2]) + (w[1] + w[3]), 0.0};
  } else {
    Sum2 w[n];
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < n; ++c) {
      w[c] = {lanes.sum[c], lanes.error[c]};
      for (int mask = kGroup / 2; mask > 0; mask /= 2)
        w[c] = two_sum(w[c], Sum2{group.exchange(w[c].hi, mask), group.exchange(w[c].lo, mask)});
    }
    static_assert(n == 2);
    return two_sum(w[0], w[1]);
  }
}

// Where the block's first maximum is; A::block where there is none, as in blocks with a NaN.
template <class A, int Steps, class Group>
FASTSOFTMAX_HD inline int find_first(const Group& group, const Tile<A, Steps>& z,
                                     typename A::T max) {
  int first = A::block;
  for_each_pack<A, Steps>(group.s(), 0, [&](int k, int at, int) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (z.v[k][c] == max && at + c < first) first = at + c;
    }
  });
  for (int mask = kGroup / 2; mask > 0; mask /= 2) {
    const int other = group.exchange(first, mask);
    first = other < first ? other : first;
  }
  return first;
}

// The canonical sum of a block. Without Log the scores in z become terms under the block's
// exponent.
template <class A, bool Log, int Steps, class Group>
FASTSOFTMAX_HD inline BlockSum sum_tile(const Group& group, Tile<A, Steps>& z, int count) {
  using T = typename A::T;
  using E = ExtExp<A>;
  BlockSum out{};
  const T max = group_max(group, thread_max(z));
  const T exponent = E::exponent(max);
  const int first = Log ? find_first(group, z, max) : 0;
  // The sums of a block outside the domain mean nothing; columns stay together.
  const bool inside = static_cast<double>(exponent) <= kMaxExponent;
  out.exponent = inside ? static_cast<std::int32_t>(exponent) : kOutOfDomain;
  const T rounder = sum_rounder<A>(exponent);
  ThreadLanes<A> all{};
  ThreadLanes<A> rest{};
  const auto add = [](ThreadLanes<A>& lanes, int k, int c, T term) {
    if (k == 0)
      lanes.sum[c] = term;
    else
      add_term<A>(lanes.sum[c], lanes.error[c], term);
  };
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    if (k * A::lanes >= count) break;
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      const T term = E::term(z.v[k][c], rounder);
      if constexpr (!Log) z.v[k][c] = term;
      add(all, k, c, term);
      if constexpr (Log) {
        const bool is_first = k * A::lanes + group.s() * kPerThread<A> + c == first;
        add(rest, k, c, is_first ? T(0) : term);
      }
    }
  }
  const Sum2 sum = join_lanes<A, Steps == 1>(group, all);
  out.hi = sum.hi;
  out.lo = sum.lo;
  if constexpr (Log) {
    const Sum2 without = join_lanes<A, Steps == 1>(group, rest);
    out.rest_hi = without.hi;
    out.rest_lo = without.lo;
    out.max = static_cast<double>(max);
    out.has_rest = true;
  }
  return out;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
