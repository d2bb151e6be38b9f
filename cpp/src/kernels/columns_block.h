// What is done to one block of a tile; columns.h puts it together.
#pragma once

#include "kernels/column_strips.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// values[c] = op over r of values[r * columns + c], by halving.
template <class Tile, class Op>
inline void fold(const Tile& tile, typename Tile::T* values, int rows, Op&& op) {
  for (int h = Tile::A::lanes / 2; h > 0; h /= 2) {
    if (rows <= h) continue;
    const int up = h * tile.columns;
    for (int i = 0; i < (rows - h) * tile.columns; ++i) values[i] = op(values[i], values[i + up]);
    rows = h;
  }
}

template <class Tile>
[[gnu::noinline]] void columns_block_max(const Tile& tile, std::int64_t start, int count,
                                         bool with_min, bool copy = false) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  if (tile.in_strips()) {
    if (copy)
      return with_min ? strips_block_max<true, true>(tile, start, count)
                      : strips_block_max<false, true>(tile, start, count);
    return with_min ? strips_block_max<true, false>(tile, start, count)
                    : strips_block_max<false, false>(tile, start, count);
  }
  const auto lowest = A::set1(-infinity<T>());
  const auto highest = A::set1(infinity<T>());
  for (int i = 0; i < tile.width(); ++i) {
    w.max[i] = -infinity<T>();
    w.min[i] = infinity<T>();
  }
  tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
    const auto* x = tile.segment(row, rows);
    for_each_vector<A>(rows * tile.columns, [&](int, int i,
                                                auto part) __attribute__((always_inline)) {
      const auto v = load<A>(x + i, part, lowest);
      store<A>(w.max + i, A::max(v, load<A>(w.max + i, part, lowest)), part);
      if (with_min)
        store<A>(w.min + i, A::min(ignore_clamped<A>(v), load<A>(w.min + i, part, highest)), part);
    });
  });
  const int rows = tile.segment_rows < count ? tile.segment_rows : count;
  fold(tile, w.max, rows, [](T a, T b) { return b > a || b != b ? b : a; });
  if (with_min) fold(tile, w.min, rows, [](T a, T b) { return b < a ? b : a; });
  for (int c = 0; c < tile.columns; ++c) w.block_max[c] = w.max[c];
}

// block_exponent of each column, from block_max. False where one leaves the domain of the extended
// exponential.
template <class Tile>
[[gnu::noinline]] bool columns_exponents(const Tile& tile) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  for (int c = tile.columns; c % A::width != 0; ++c) w.block_max[c] = w.block_max[0];
  for (int c = 0; c < tile.columns; c += A::width)
    A::store(w.block_exponent + c, ExtExp<A>::exponents(A::load(w.block_max + c)));
  bool inside = true;
  for (int c = 0; c < tile.columns; ++c) {
    const T n = w.block_exponent[c];
    inside &= n <= T(kMaxExponent) && n >= T(-kMaxExponent);
  }
  return inside;
}

// The row of each column's first maximum, block_max, into `first`; only for columns that `wanted`
// admits, -1 for others.
template <class Tile, class Wanted>
inline void columns_find_max(const Tile& tile, std::int64_t start, int count, Wanted&& wanted) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  const auto none = A::set1(infinity<T>());
  tile.spread(w.max, [&](int c) { return w.block_max[c]; });
  for (int i = 0; i < tile.width(); ++i) w.first[i] = infinity<T>();
  tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
    const auto* x = tile.segment(row, rows);
    const auto base = A::set1(static_cast<T>(row - start));
    for_each_vector<A>(
        rows * tile.columns, [&](int, int i, auto part) __attribute__((always_inline)) {
          const auto here = A::add(base, load<A>(w.row_of + i, part, none));
          const auto first = load<A>(w.first + i, part, none);
          store<A>(w.first + i,
                   A::select_equal(load<A>(x + i, part, none), load<A>(w.max + i, part, none),
                                   A::min(here, first), first),
                   part);
        });
  });
  fold(tile, w.first, tile.segment_rows < count ? tile.segment_rows : count,
       [](T a, T b) { return b < a ? b : a; });
  tile.spread(w.first, [&](int c) { return wanted(c) ? w.first[c] : T(-1); });
}

// The lanes of a few columns on their way to being one, by lane, then column.
template <class A>
struct JoinBuffer {
  using T = typename A::T;
  static constexpr int columns = 16;
  static_assert(columns >= kDenseColumns);

  alignas(64) double hi[A::lanes * columns];
  alignas(64) double lo[A::lanes * columns];  // f64
  alignas(64) T error[A::lanes * columns];

  // As join does; `exact` where no lane has more than one term, and so no errors.
  [[gnu::always_inline]] void join(int lanes, int width, bool exact) {
    for (int h = A::lanes / 2; h > 0; h /= 2) {
      const int up = h * width;
      const int size = lanes <= h ? 0 : (lanes - h) * width;
      if constexpr (sizeof(T) == sizeof(float)) {
        if (h == A::join_lanes / 2 && !exact) {
          for (int i = 0; i < lanes * width; ++i) hi[i] += static_cast<double>(error[i]);
        }
        for (int i = 0; i < size; ++i) hi[i] += hi[i + up];
        if (h >= A::join_lanes && !exact) {
          for (int i = 0; i < size; ++i) error[i] += error[i + up];
        }
      } else {
        for (int i = 0; i < size; ++i) {
          const Sum2 s = two_sum(Sum2{hi[i], lo[i]}, Sum2{hi[i + up], lo[i + up]});
          hi[i] = s.hi;
          lo[i] = s.lo;
        }
      }
      if (lanes > h) lanes = h;
    }
  }
};

// Joins the lanes of the columns [c, c + width) into hi[c] and lo[c].
template <class Tile>
[[gnu::always_inline]] inline void join_columns_from(const Tile& tile, int c, int width, int lanes,
                                                     bool exact) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  JoinBuffer<A> buffer;
  // Whole tiles have their lanes side by side.
  const bool whole = width == tile.columns;
  const int run = whole ? lanes * width : width;
  for (int from = c, to = 0; to < lanes * width; from += tile.columns, to += run) {
    for (int i = 0; i < run; ++i) buffer.hi[to + i] = static_cast<double>(w.sum[from + i]);
    if constexpr (sizeof(T) == sizeof(double)) {
      for (int i = 0; i < run; ++i) buffer.lo[to + i] = exact ? 0.0 : w.error[from + i];
    } else if (!exact) {
      for (int i = 0; i < run; ++i) buffer.error[to + i] = w.error[from + i];
    }
  }
  buffer.join(lanes, width, exact);
  for (int i = 0; i < width; ++i) {
    w.hi[c + i] = buffer.hi[i];
    w.lo[c + i] = sizeof(T) == sizeof(double) ? buffer.lo[i] : 0.0;
  }
}

template <class Tile>
[[gnu::noinline]] void columns_join(const Tile& tile, int count) {
  using A = typename Tile::A;
  constexpr int step = JoinBuffer<A>::columns;
  const bool exact = count <= A::lanes;
  const int lanes = exact ? count : A::lanes;
  int c = 0;
  for (; c + step <= tile.columns && tile.columns > step; c += step)
    join_columns_from(tile, c, step, lanes, exact);
  if (c < tile.columns) join_columns_from(tile, c, tile.columns - c, lanes, exact);
}

// hi[c], lo[c] = sum of a block of column c under block_exponent[c]. With Exclude, without the row
// `first`; with Store, the terms are kept: under row_exponent[c] if `rescale`, else as summed.
template <bool Exclude, bool Store, class Tile>
[[gnu::noinline]] void columns_block_sum(const Tile& tile, std::int64_t start, int count,
                                         bool rescale = false) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  const int columns = tile.columns;
  tile.spread(w.rounder, [&](int c) { return sum_rounder<A>(w.block_exponent[c]); });
  if (rescale)
    tile.spread(w.stored_rounder, [&](int c) { return sum_rounder<A>(w.row_exponent[c]); });
  if (tile.in_strips()) {
    const auto lanes = [&]<bool Copied, bool Single>() {
      if (Store && rescale)
        strips_block_lanes<Exclude, Store, Store, Copied, Single>(tile, start, count);
      else
        strips_block_lanes<Exclude, Store, false, Copied, Single>(tile, start, count);
    };
    const bool copied = Store && tile.copied();
    if (count <= A::lanes)
      copied ? lanes.template operator()<true, true>() : lanes.template operator()<false, true>();
    else
      copied ? lanes.template operator()<true, false>() : lanes.template operator()<false, false>();
    return columns_join(tile, count);
  }
  const auto zero = A::set1(T(0));
  const auto fill = A::set1(-infinity<T>());
  tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
    const auto* x = tile.segment(row, rows);
    const auto lane = (row - start) % A::lanes * columns;
    T* sum = w.sum + lane;
    T* error = w.error + lane;
    const bool first = row - start < A::lanes;
    for_each_vector<A>(rows * columns, [&](int, int i, auto part) __attribute__((always_inline)) {
      auto z = load<A>(x + i, part, fill);
      if constexpr (Exclude) {
        const auto here =
            A::add(A::set1(static_cast<T>(row - start)), load<A>(w.row_of + i, part, fill));
        z = A::select_equal(here, load<A>(w.first + i, part, fill), fill, z);
      }
      const auto rounder = load<A>(w.rounder + i, part, zero);
      const auto t = E::round(z, rounder);
      const auto q = E::growth(z, t, rounder);
      if constexpr (Store) {
        const auto kept = rescale ? E::round(z, load<A>(w.stored_rounder + i, part, zero)) : t;
        store<A>(tile.stored(row) + i, E::scaled(q, kept), part);
      }
      auto sum_here = E::scaled(q, t);
      auto error_here = zero;
      if (!first) {
        const auto term = sum_here;
        sum_here = load<A>(sum + i, part, zero);
        error_here = load<A>(error + i, part, zero);
        add_term<A>(sum_here, error_here, term);
      }
      store<A>(sum + i, sum_here, part);
      store<A>(error + i, error_here, part);
    });
  });
  columns_join(tile, count);
}

// As block_sum_two_pass; block_exponent is a result here. False where a column is wide.
template <class Tile>
[[gnu::noinline]] bool columns_block_sum_two_pass(const Tile& tile, std::int64_t start, int count) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  const int columns = tile.columns;
  const auto zero = A::set1(T(0));
  const auto fill = A::set1(-infinity<T>());
  const auto highest = A::set1(infinity<T>());
  const int used = (count < A::lanes ? count : A::lanes) * columns;
  for (int i = 0; i < used; ++i) {
    w.sum[i] = w.error[i] = T(0);
    w.exponent[i] = kBelowEveryExponent<T>;
  }
  for (int i = 0; i < tile.width(); ++i) w.min[i] = infinity<T>();
  const auto lane_at = [&](std::int64_t i, auto part) __attribute__((always_inline)) {
    return TwoPassLane<A>{load<A>(w.sum + i, part, zero), load<A>(w.error + i, part, zero),
                          load<A>(w.exponent + i, part, fill)};
  };
  const auto keep = [&](std::int64_t i, const TwoPassLane<A>& lane, auto part)
                        __attribute__((always_inline)) {
                          store<A>(w.sum + i, lane.sum, part);
                          store<A>(w.error + i, lane.error, part);
                          store<A>(w.exponent + i, lane.exponent, part);
                        };
  tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
    const auto* x = tile.segment(row, rows);
    const auto lane = (row - start) % A::lanes * columns;
    for_each_vector<A>(rows * columns, [&](int, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, fill);
      auto here = lane_at(lane + i, part);
      here.add(E::pair(E::clamp(z)));
      keep(lane + i, here, part);
      store<A>(w.min + i, A::min(ignore_clamped<A>(z), load<A>(w.min + i, part, highest)), part);
    });
  });
  fold(tile, w.min, tile.segment_rows < count ? tile.segment_rows : count,
       [](T a, T b) { return b < a ? b : a; });
  bool narrow = true;
  for (int c = 0; c < columns; ++c) {
    T top = w.exponent[c];
    for (int i = c + columns; i < used; i += columns)
      top = w.exponent[i] > top || w.exponent[i] != w.exponent[i] ? w.exponent[i] : top;
    w.block_exponent[c] = top;
    narrow &= top - E::exponent(w.min[c]) <= kWidestTwoPass<T>;
  }
  for (int lane = 0; lane < used; lane += columns) {
    for_each_vector<A>(columns, [&](int, int i, auto part) __attribute__((always_inline)) {
      auto here = lane_at(lane + i, part);
      here.rescale(load<A>(w.block_exponent + i, part, zero));
      keep(lane + i, here, part);
    });
  }
  columns_join(tile, count);
  return narrow;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
