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
  static constexpr int steps = Steps;
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

// The first N packs of a thread of the block that begins at `start` and has `count` elements, as
// they are stored; fillers behind them. All loads are issued before any is waited for.
template <class Row, int N>
FASTSOFTMAX_HD inline void load_packs(const Row& row, std::int64_t start, int count, int s,
                                      typename Row::Packed (&packs)[N]) {
  using A = typename Row::A;
  if (!row.aligned_x) {
    for_each_pack<A, N>(
        s, count, [&](int k, int at, int inside) { packs[k] = row.stored(start + at, inside); });
    return;
  }
  const auto* const from = row.packed(start) + s;
  if (count >= N * A::lanes) {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < N; ++k) packs[k] = from[k * kGroup];
    return;
  }
  for_each_pack<A, N>(s, count, [&](int k, int, int inside) {
    packs[k] = Row::filler();
    if (inside >= kPerThread<A>) packs[k] = from[k * kGroup];
  });
  // The pack that the row ends in. Assigned by selections, not by an index, which would put all
  // packs into memory.
  const int over = count % kPerThread<A>;
  if (over == 0 || s != count / kPerThread<A> % kGroup) return;
  const auto last = row.stored(start + count - over, over);
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < N; ++k) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < Row::Packed::words; ++i)
      packs[k].v[i] = k == count / A::lanes ? last.v[i] : packs[k].v[i];
  }
}

// The same from shared memory at `from`, where there is room for a whole block.
template <class Row, int N>
FASTSOFTMAX_HD inline void load_packs(const char* from, int count, int s,
                                      typename Row::Packed (&packs)[N]) {
  using A = typename Row::A;
  const auto* const mine = reinterpret_cast<const typename Row::Packed*>(from) + s;
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < N; ++k) packs[k] = mine[k * kGroup];
  if (count >= N * A::lanes) return;
  for_each_pack<A, N>(s, count, [&](int k, int, int inside) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (c >= inside) packs[k].set(c, negative_infinity<typename Row::In>());
    }
  });
}

// The scores of packs of a block that begins at `start`.
template <class A, int Steps, class Row>
FASTSOFTMAX_HD inline void scores_of(const Row& row, std::int64_t start, int count, int s,
                                     const typename Row::Packed (&packs)[Steps],
                                     Tile<A, Steps>& z) {
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) unpack<A>(packs[k], z.v[k]);
  row.adjust(start, count, s, z);
}

template <class A, int Steps, class Row>
FASTSOFTMAX_HD inline void load_tile(const Row& row, std::int64_t start, int count, int s,
                                     Tile<A, Steps>& z) {
  if constexpr (Row::has_packs) {
    typename Row::Packed packs[Steps];
    load_packs(row, start, count, s, packs);
    scores_of(row, start, count, s, packs, z);
  } else {
    for_each_pack<A, Steps>(
        s, count, [&](int k, int at, int inside) { row.read(start + at, inside, z.v[k]); });
  }
}

template <int Steps, class Row>
FASTSOFTMAX_HD inline void write_packs(const Row& row, std::int64_t start, int count, int s,
                                       const Tile<typename Row::A, Steps>& v) {
  using A = typename Row::A;
  if constexpr (Row::has_packs) {
    if (row.aligned_y && count >= Steps * A::lanes) {
      auto* const to = row.packed_output(start) + s;
      FASTSOFTMAX_UNROLL
      for (int k = 0; k < Steps; ++k) {
        typename Row::Packed pack;
        pack_up<A>(v.v[k], pack);
        to[k * kGroup] = pack;
      }
      return;
    }
  }
  for_each_pack<A, Steps>(s, count, [&](int k, int at, int inside) {
    if (inside > 0) row.write(start + at, inside, v.v[k]);
  });
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
  for (int mask = kGroup / 2; mask > 0; mask /= 2) v = larger_or_nan(v, group.exchange(v, mask));
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
      if (z.v[k][c] == max) first = k * A::lanes + c;
    }
  }
  first += group.s() * kPerThread<A>;
  for (int mask = kGroup / 2; mask > 0; mask /= 2) {
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
    // What follows is -inf, and adds nothing.
    if (k > 0 && (Steps <= 4 || k % 4 == 0) && k * A::lanes >= count) break;
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
