// Softmax of columns no longer than the lanes, a strip at a time from its maxima to its output: no
// lane has more than one term, so that a sum is the terms joined in double precision.
#pragma once

#include "kernels/columns_block.h"
#include "kernels/columns_exceptional.h"
#include "kernels/normalizer.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The factors of a few columns.
//
// Sums of no more floats than there are lanes are within [0.97, 2^8) * 2^kSumBias, so that they
// need not be split into mantissa and exponent: quotients by sum * 2^-kSumBias are 2^kSumBias times
// the results, which are normal numbers wherever they are not flushed. Powers of two scale exactly,
// so the bits are those of a mantissa's factors.
template <class A>
[[gnu::always_inline]] inline void factors_of(const Joined<A>& joined, Quotient<A>* quotients) {
  using T = typename A::T;
  if constexpr (sizeof(T) == sizeof(float)) {
    constexpr int registers = Joined<A>::columns / A::width;
    const auto one = A::set1(T(1));
    typename A::reg hi[registers];
    typename A::reg lo[registers];
    A::narrow(joined.sum, hi, lo);
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < registers; ++i) {
      const auto inverse = A::div(one, hi[i]);
      const auto error = A::fnma(inverse, lo[i], A::fnma(inverse, hi[i], one));
      const auto scaled = A::mul(inverse, A::set1(T(0x1p64)));
      static_assert(kSumBias == 64);
      quotients[i] = {scaled, A::mul(error, scaled), A::set1(ExpConstants<T>::magic - T(kSumBias))};
    }
  } else {
    alignas(64) T sum[2][A::width];
    alignas(64) T factors[3][A::width];
    joined.put(sum[0], sum[1]);
    normalizers_of<A>(sum[0], sum[1], factors[0], factors[1], factors[2]);
    *quotients = {A::load(factors[0]), A::load(factors[1]), A::load(factors[2])};
  }
}

// Part of a strip's registers that is register i's.
template <class A>
inline Whole part_of(Whole, int) {
  return {};
}
template <class A>
inline Part part_of(Part strip, int i) {
  const int left = strip.n - i * A::width;
  return {left < 0 ? 0 : left > A::width ? A::width : left};
}

// Columns of a strip whose terms hold a NaN.
template <class Tile>
[[gnu::noinline]] void put_nan(const Tile& tile, int first, const typename Tile::T* terms,
                               int width) {
  using T = typename Tile::T;
  for (int c = 0; c < width && first + c < tile.columns; ++c) {
    bool all_nan = false;
    for (int row = 0; row < tile.job.length; ++row)
      all_nan |= terms[row * width + c] != terms[row * width + c];
    for (int row = 0; all_nan && row < tile.job.length; ++row)
      put_column(tile, row, first + c, static_cast<T>(__builtin_nan("")));
  }
}

// The strip of R registers from column c on.
template <int R, bool Stream, class P, class Tile>
[[gnu::always_inline]] inline void short_strip(const Tile& tile, int c, P strip) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr int width = R * A::width;
  const int rows = static_cast<int>(tile.job.length);
  const auto each = [](auto&& body) __attribute__((always_inline)) {
    for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) { body(i, at); });
  };
  const auto score = [&](int row, int i, int at) __attribute__((always_inline)) {
    return load<A>(tile.x_row(row) + c + at, part_of<A>(strip, i), A::set1(T(0)));
  };

  typename A::reg rounder[R];
  each([&](int i, int) __attribute__((always_inline)) { rounder[i] = A::set1(-infinity<T>()); });
  for (int row = 0; row < rows; ++row) {
    each([&](int i, int at) __attribute__((always_inline)) {
      rounder[i] = A::max(score(row, i, at), rounder[i]);
    });
  }
  constexpr T bias = ExpConstants<T>::field_bias + kSumBias;
  each([&](int i, int)
           __attribute__((always_inline)) { rounder[i] = E::rounder_below(rounder[i], bias); });
  auto highest = rounder[0];
  auto lowest = rounder[0];
  FASTSOFTMAX_UNROLL
  for (int i = 1; i < R; ++i) {
    highest = A::max(rounder[i], highest);
    lowest = A::min(rounder[i], lowest);
  }
  if ((A::above(highest, A::set1(E::rounder(bias + T(kMaxExponent)))) |
       A::above(A::set1(E::rounder(bias - T(kMaxExponent))), lowest)) != 0) {
    const int last = c + width < tile.columns ? c + width : tile.columns;
    return exceptional_columns<RowOp::softmax>(tile, c, last);
  }

  static_assert(width <= kTileColumns);
  T* const __restrict terms = tile.work.sum;
  for (int row = 0; row < rows; ++row) {
    each([&](int i, int at) __attribute__((always_inline)) {
      // Of the next strip: the hardware does not follow that many rows.
      prefetch(tile.x_row(row) + c + at, width * sizeof(typename Tile::Element));
      if constexpr (!Stream) prefetch(tile.y_row(row) + c + at, 0);
      A::store(terms + row * width + at, E::term(score(row, i, at), rounder[i]));
    });
  }

  Quotient<A> quotients[R];
  auto all = A::set1(T(0));
  constexpr int joined = Joined<A>::columns / A::width;
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < R; i += joined) {
    const auto sum = join_terms<A>(terms + i * A::width, rows, width);
    factors_of<A>(sum, quotients + i);
  }
  each([&](int i, int)
           __attribute__((always_inline)) { all = A::add(quotients[i].inverse_hi, all); });
  for (int row = 0; row < rows; ++row) {
    auto* y = tile.y_row(row) + c;
    each([&](int i, int at) __attribute__((always_inline)) {
      const auto result = quotients[i](A::load(terms + row * width + at));
      if constexpr (Stream)
        stream<A>(y + at, result, part_of<A>(strip, i));
      else
        store<A>(y + at, result, part_of<A>(strip, i));
    });
  }
  if (A::above(all, A::set1(infinity<T>())) != 0) put_nan(tile, c, terms, width);
}

template <class Tile>
[[gnu::noinline]] void short_columns_softmax(const Tile& tile) {
  using A = typename Tile::A;
  constexpr int joined = Joined<A>::columns / A::width;
  constexpr int registers = joined > 4 ? joined : 4;
  constexpr int width = registers * A::width;
  int c = 0;
  if (tile.streams()) {
    for (; c + width <= tile.columns; c += width) short_strip<registers, true>(tile, c, Whole{});
  } else {
    for (; c + width <= tile.columns; c += width) short_strip<registers, false>(tile, c, Whole{});
  }
  if (c < tile.columns) short_strip<registers, false>(tile, c, Part{tile.columns - c});
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
