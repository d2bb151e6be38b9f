// One block of a row in the registers of a group of G threads: element (k * G + s) * kPerThread + c
// is v[k][c] of the group's thread s. So in a group of kGroup threads thread s has lanes
// s * kPerThread + c; in a smaller one it has those of threads s, s + G, ... of a whole one. Every
// lane adds its terms in the order of docs/numerics.md, section 3; halving is in a thread as far as
// it has both lanes, then an exchange between threads down to neighbouring lanes, which one has.
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
template <class A, int Steps, int G = kGroup, class Body>
FASTSOFTMAX_HD inline void for_each_pack(int s, int count, Body&& body) {
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    const int at = (k * G + s) * kPerThread<A>;
    body(k, at, count - at);
  }
}

// The first N packs of a thread of the block that begins at `start` and has `count` elements, as
// they are stored; fillers behind them. All loads are issued before any is waited for.
template <int G = kGroup, class Row, int N>
FASTSOFTMAX_HD inline void load_packs(const Row& row, std::int64_t start, int count, int s,
                                      typename Row::Packed (&packs)[N]) {
  using A = typename Row::A;
  if (!row.aligned_x) {
    for_each_pack<A, N, G>(
        s, count, [&](int k, int at, int inside) { packs[k] = row.stored(start + at, inside); });
    return;
  }
  const auto* const from = row.packed(start) + s;
  if (count >= N * G * kPerThread<A>) {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < N; ++k) packs[k] = from[k * G];
    return;
  }
  for_each_pack<A, N, G>(s, count, [&](int k, int, int inside) {
    packs[k] = Row::filler();
    if (inside >= kPerThread<A>) packs[k] = from[k * G];
  });
  // The pack that the row ends in. Assigned by selections, not by an index, which would put all
  // packs into memory.
  const int over = count % kPerThread<A>;
  if (over == 0 || s != count / kPerThread<A> % G) return;
  const auto last = row.stored(start + count - over, over);
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < N; ++k) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < Row::Packed::words; ++i)
      packs[k].v[i] = k == count / (G * kPerThread<A>) ? last.v[i] : packs[k].v[i];
  }
}

// The same from shared memory at `from`, where there is room for a whole block.
template <class Row, int N>
FASTSOFTMAX_HD inline void load_kept_packs(const char* from, int count, int s,
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

template <int G = kGroup, class A, int Steps, class Row>
FASTSOFTMAX_HD inline void load_tile(const Row& row, std::int64_t start, int count, int s,
                                     Tile<A, Steps>& z) {
  if constexpr (Row::has_packs) {
    typename Row::Packed packs[Steps];
    load_packs<G>(row, start, count, s, packs);
    scores_of(row, start, count, s, packs, z);
  } else {
    for_each_pack<A, Steps, G>(
        s, count, [&](int k, int at, int inside) { row.read(start + at, inside, z.v[k]); });
  }
}

template <int G = kGroup, int Steps, class Row>
FASTSOFTMAX_HD inline void write_packs(const Row& row, std::int64_t start, int count, int s,
                                       const Tile<typename Row::A, Steps>& v) {
  using A = typename Row::A;
  if constexpr (Row::has_packs) {
    if (row.aligned_y && count >= Steps * G * kPerThread<A>) {
      auto* const to = row.packed_output(start) + s;
      FASTSOFTMAX_UNROLL
      for (int k = 0; k < Steps; ++k) {
        typename Row::Packed pack;
        pack_up<A>(v.v[k], pack);
        to[k * G] = pack;
      }
      return;
    }
  }
  for_each_pack<A, Steps, G>(s, count, [&](int k, int at, int inside) {
    if (inside > 0) row.write(start + at, inside, v.v[k]);
  });
}

// body(at, inside) likewise, one pack after the other and not unrolled as a whole.
template <class A, int Steps, int G = kGroup, class Body>
FASTSOFTMAX_HD inline void for_each_pack_in_turn(int s, int count, Body&& body) {
  FASTSOFTMAX_UNROLL_BY_4
  for (int k = 0; k < Steps; ++k) {
    const int at = (k * G + s) * kPerThread<A>;
    if (at < count) body(at, count - at);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
