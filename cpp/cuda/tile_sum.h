// The maximum of a block in a tile, and its canonical sum.
#pragma once

#include "cuda/tile.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// NaN where either is. Of zeros of both signs, either.
template <class T>
FASTSOFTMAX_HD inline T larger_or_nan(T a, T b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (sizeof(T) == sizeof(float)) {
    T larger;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
    return larger;
  }
#endif
  return a > b || a != a ? a : b;
}

template <class Group, class T>
FASTSOFTMAX_HD inline T group_max(const Group& group, T v) {
  for (int mask = Group::size / 2; mask > 0; mask /= 2)
    v = larger_or_nan(v, group.exchange(v, mask));
  return v;
}

template <class A, int Steps>
FASTSOFTMAX_HD inline typename A::T thread_max(const Tile<A, Steps>& z) {
  constexpr int n = kPerThread<A>;
  typename A::T max[n];
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < n; ++c) max[c] = z.v[0][c];
  FASTSOFTMAX_UNROLL
  for (int k = 1; k < Steps; ++k) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < n; ++c) max[c] = larger_or_nan(max[c], z.v[k][c]);
  }
  for (int c = 1; c < n; ++c) max[0] = larger_or_nan(max[0], max[c]);
  return max[0];
}

// The same of scores that stay where they are.
template <int Steps, int G = kGroup, class Row>
FASTSOFTMAX_HD inline typename Row::T thread_max_of(const Row& row, std::int64_t start, int count,
                                                    int s) {
  using A = typename Row::A;
  using T = typename A::T;
  T max = -infinity<T>();
  for_each_pack_in_turn<A, Steps, G>(s, count, [&](int at, int inside) {
    T v[kPerThread<A>];
    row.read(start + at, inside, v);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) max = larger_or_nan(max, v[c]);
  });
  return max;
}

// The lanes that a thread has: sums and errors of each. In a group smaller than a whole one,
// several times those of neighbours.
template <class A, int J = 1>
struct ThreadLanes {
  typename A::T sum[J * kPerThread<A>];
  typename A::T error[J * kPerThread<A>];
};

template <class Group, class T>
FASTSOFTMAX_HD inline T exchanged(const Group& group, T v, int mask) {
  return group.exchange(v, mask);
}
template <class Group>
FASTSOFTMAX_HD inline Sum2 exchanged(const Group& group, Sum2 v, int mask) {
  return {group.exchange(v.hi, mask), group.exchange(v.lo, mask)};
}

// Adds those of N lanes each that are Mask threads apart in a whole group. All threads get the same
// numbers, since no operation here has an order.
template <int Mask, int N, class Group, class V, class Add>
FASTSOFTMAX_HD inline void halve(const Group& group, V* w, Add&& add) {
  constexpr int within = Mask / Group::size * N;  // lanes of this thread
  if constexpr (within > 0) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < within; ++i) w[i] = add(w[i], w[i + within]);
  } else {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < N; ++c) w[c] = add(w[c], exchanged(group, w[c], Mask));
  }
}

// join() of block.h. Exact: errors are all zero.
template <class A, bool Exact, class Group, int J>
FASTSOFTMAX_HD inline Sum2 join_lanes(const Group& group, ThreadLanes<A, J> lanes) {
  constexpr int n = kPerThread<A>;
  static_assert(J * Group::size == kGroup);
  static_assert(kGroup == 16);
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    const auto add = [](auto a, auto b) { return a + b; };
    double w[J * n];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < J * n; ++i) {
      w[i] = static_cast<double>(lanes.sum[i]);
      if constexpr (J == 1) w[i] = w[i] + static_cast<double>(group.exchange(lanes.sum[i], 8));
    }
    if constexpr (J > 1) halve<8, n>(group, w, add);
    halve<4, n>(group, w, add);
    if constexpr (!Exact) {
      halve<8, n>(group, lanes.error, add);
      halve<4, n>(group, lanes.error, add);
      constexpr int left = Group::size > 4 ? n : 4 / Group::size * n;
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < left; ++i) w[i] = w[i] + static_cast<double>(lanes.error[i]);
    }
    halve<2, n>(group, w, add);
    halve<1, n>(group, w, add);
    static_assert(n == 4);
    return {(w[0] + w[2]) + (w[1] + w[3]), 0.0};
  } else {
    const auto add = [](Sum2 a, Sum2 b) { return two_sum(a, b); };
    Sum2 w[J * n];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < J * n; ++i) w[i] = {lanes.sum[i], lanes.error[i]};
    halve<8, n>(group, w, add);
    halve<4, n>(group, w, add);
    halve<2, n>(group, w, add);
    halve<1, n>(group, w, add);
    static_assert(n == 2);
    return two_sum(w[0], w[1]);
  }
}

// Where the block's first maximum is; behind the block where there is none, as in blocks with a
// NaN.
template <class A, int Steps, class Group>
FASTSOFTMAX_HD inline int find_first(const Group& group, const Tile<A, Steps>& z,
                                     typename A::T max) {
  int first = A::block;
  FASTSOFTMAX_UNROLL
  for (int k = Steps - 1; k >= 0; --k) {
    FASTSOFTMAX_UNROLL
    for (int c = kPerThread<A> - 1; c >= 0; --c) {
      if (z.v[k][c] == max) first = k * Group::size * kPerThread<A> + c;
    }
  }
  first += group.s() * kPerThread<A>;
  for (int mask = Group::size / 2; mask > 0; mask /= 2) {
    const int other = group.exchange(first, mask);
    first = other < first ? other : first;
  }
  return first;
}

// The canonical sum of a block, with -inf behind its `count` elements. Without Log the scores in z
// become terms under the block's exponent.
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
  constexpr int per_lane = kGroup / Group::size;  // packs from one term of a lane to the next
  ThreadLanes<A, per_lane> all{};
  ThreadLanes<A, per_lane> rest{};
  const auto add = [](auto& lanes, int k, int c, T term) {
    const int i = k % per_lane * kPerThread<A> + c;
    if (k < per_lane)
      lanes.sum[i] = term;
    else
      add_term<A>(lanes.sum[i], lanes.error[i], term);
  };
  constexpr int terms = Steps / per_lane;
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    // What follows is -inf, and adds nothing.
    const int i = k / per_lane;
    if (i > 0 && k % per_lane == 0 && (terms <= 4 || i % 4 == 0) && i * A::lanes >= count) break;
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      const T term = E::term(z.v[k][c], rounder);
      if constexpr (!Log) z.v[k][c] = term;
      add(all, k, c, term);
      if constexpr (Log) {
        const int at = (k * Group::size + group.s()) * kPerThread<A> + c;
        add(rest, k, c, at == first ? T(0) : term);
      }
    }
  }
  const Sum2 sum = join_lanes<A, terms == 1>(group, all);
  out.hi = sum.hi;
  out.lo = sum.lo;
  if constexpr (Log) {
    const Sum2 without = join_lanes<A, terms == 1>(group, rest);
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
