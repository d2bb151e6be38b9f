// Tiles in memory, strip by strip: as many columns as leave room for what belongs to a column in
// registers, while rows go by. Where terms are stored beside the output, the first pass copies the
// tile there, so that memory is read once and written once however far apart its rows lie.
#pragma once

#include "kernels/columns_tile.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Rows that lie far apart are asked for so many ahead: the hardware's prefetchers do not follow.
constexpr int kRowsAhead = 32;

// A value for each column of a strip of R registers, the last of which may be a Part.
template <class A, int R, class P>
struct Strip {
  using reg = typename A::reg;

  P part;
  reg r[R];

  Strip(P part_, reg v) : part(part_) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < R; ++i) r[i] = v;
  }
  Strip(P part_, const typename A::T* p) : part(part_) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < R; ++i) r[i] = load<A>(p + i * A::width, part, A::set1(0));
  }
  [[gnu::always_inline]] void put(typename A::T* p) const {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < R; ++i) store<A>(p + i * A::width, r[i], part);
  }
};

// body(strip, column) for the strips of a tile; the strip stands for R registers of -inf.
template <class A, class Body>
[[gnu::always_inline]] inline void for_each_strip(int columns, Body&& body) {
  constexpr int most = 4;
  const auto lowest = A::set1(-infinity<typename A::T>());
  int c = 0;
  for (; c + most * A::width <= columns; c += most * A::width)
    body(Strip<A, most, Whole>(Whole{}, lowest), c);
  for (; c + A::width <= columns; c += A::width) body(Strip<A, 1, Whole>(Whole{}, lowest), c);
  if (c < columns) body(Strip<A, 1, Part>(Part{columns - c}, lowest), c);
}
template <class A, int R, class Body>
[[gnu::always_inline]] inline void for_each_register(Body&& body) {
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < R; ++i) body(i, i * A::width);
}

// The maxima of a block, and its minima.
template <bool WithMin, bool Copy, class Tile>
[[gnu::noinline]] void strips_block_max(const Tile& tile, std::int64_t start, int count) {
  using A = typename Tile::A;
  using T = typename A::T;
  const auto lowest = A::set1(-infinity<T>());
  const std::int64_t ahead = kRowsAhead * tile.job.x_stride;
  for_each_strip<A>(tile.columns, [&]<int R, class P>(Strip<A, R, P> largest,
                                                      int c) __attribute__((always_inline)) {
    const P part = largest.part;
    Strip<A, R, P> smallest(part, A::set1(infinity<T>()));
    for (int row = 0; row < count; ++row) {
      const auto* x = tile.x_row(start + row) + c;
      T* copy = Copy ? tile.stored(start + row) + c : nullptr;
      for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) {
        const auto z = load<A>(x + at, part, lowest);
        if constexpr (Copy) {
          prefetch(x + at, ahead);
          store<A>(copy + at, z, part);
        }
        largest.r[i] = A::max(z, largest.r[i]);
        if constexpr (WithMin) smallest.r[i] = A::min(ignore_clamped<A>(z), smallest.r[i]);
      });
    }
    largest.put(tile.work.block_max + c);
    if constexpr (WithMin) smallest.put(tile.work.min + c);
  });
}

// What a sum leaves out of each column: nothing; the row `first`; the first that equals block_max,
// in columns with no more rows than lanes.
enum class Without { nothing, first, max };

// The lanes of each column, ahead of columns_join. With Rescale, stored terms are under another
// exponent than summed ones; with Copied, the scores are where the terms go; with Single, no lane
// has more than one term.
template <Without O, bool Store, bool Rescale, bool Copied, bool Single, class Tile>
[[gnu::noinline]] void strips_block_lanes(const Tile& tile, std::int64_t start, int count) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  const auto fill = A::set1(-infinity<T>());
  const auto zero = A::set1(T(0));
  for_each_strip<A>(tile.columns, [&]<int R, class P>(const Strip<A, R, P>& strip,
                                                      int c) __attribute__((always_inline)) {
    const P part = strip.part;
    const Strip<A, R, P> rounder(part, w.rounder + c);
    Strip<A, R, P> max(part, w.block_max + c);
    for (int lane = 0; lane < A::lanes && lane < count; ++lane) {
      Strip<A, R, P> sum(part, zero);
      Strip<A, R, P> error(part, zero);
      for (int row = lane; row < count; row += A::lanes) {
        const auto* x = tile.template scores<Copied>(start + row) + c;
        T* kept = Store ? tile.stored(start + row) + c : nullptr;
        for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) {
          auto z = load<A>(x + at, part, fill);
          if constexpr (O == Without::first)
            z = A::select_equal(A::set1(static_cast<T>(row)), load<A>(w.first + c + at, part, fill),
                                fill, z);
          if constexpr (O == Without::max) {
            const auto rest = A::select_equal(z, max.r[i], fill, z);
            max.r[i] = A::select_equal(z, max.r[i], A::set1(infinity<T>()), max.r[i]);
            z = rest;
          }
          const auto t = E::round(z, rounder.r[i]);
          const auto q = E::growth(z, t, rounder.r[i]);
          const auto term = E::scaled(q, t);
          if constexpr (Store && !Rescale) store<A>(kept + at, term, part);
          if constexpr (Store && Rescale)
            store<A>(kept + at,
                     E::scaled(q, E::round(z, load<A>(w.stored_rounder + c + at, part, zero))),
                     part);
          if constexpr (Single)
            sum.r[i] = term;
          else
            add_term<A>(sum.r[i], error.r[i], term);
        });
      }
      sum.put(w.sum + lane * tile.columns + c);
      if constexpr (!Single) error.put(w.error + lane * tile.columns + c);
    }
  });
}

template <bool Stored, bool Stream, class Tile>
[[gnu::noinline]] void strips_write_softmax(const Tile& tile) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  const auto zero = A::set1(T(0));
  const std::int64_t ahead = tile.copied() ? kRowsAhead * tile.job.y_stride : 0;
  for_each_strip<A>(tile.columns, [&]<int R, class P>(const Strip<A, R, P>& strip,
                                                      int c) __attribute__((always_inline)) {
    const P part = strip.part;
    const Strip<A, R, P> inverse_hi(part, w.inverse_hi + c);
    const Strip<A, R, P> inverse_lo(part, w.inverse_lo + c);
    const Strip<A, R, P> scale(part, w.scale + c);
    for (std::int64_t row = 0; row < tile.job.length; ++row) {
      auto* y = tile.y_row(row) + c;
      for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) {
        const Quotient<A> quotient{inverse_hi.r[i], inverse_lo.r[i], scale.r[i]};
        typename A::reg term;
        if constexpr (Stored)
          term = load<A>(tile.stored(row) + c + at, part, zero);
        else
          term = ExtExp<A>::term(load<A>(tile.x_row(row) + c + at, part, zero),
                                 load<A>(w.rounder + c + at, part, zero));
        if constexpr (Stream) {
          stream<A>(y + at, quotient(term), part);
        } else {
          store<A>(y + at, quotient(term), part);
          prefetch(y + at, ahead);
        }
      });
    }
  });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
