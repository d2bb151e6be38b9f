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
  auto highest = A::set1(-infinity<T>());
  for (int c = 0; c < tile.columns; c += A::width) {
    const auto n = ExtExp<A>::exponents(A::load(w.block_max + c));
    A::store(w.block_exponent + c, n);
    const auto too_low = A::set1(T(-kMaxExponent) - T(1));
    highest = A::max(A::select_above(n, too_low, A::set1(infinity<T>())), highest);
  }
  return A::reduce_max(highest) <= T(kMaxExponent);
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

// A few columns' sum of lanes that are a power of two apart.
template <class A, class T = typename A::T>
struct Joined;

template <class A>
struct Joined<A, float> {
  static constexpr int columns = A::join_lanes;
  typename A::Wide sum;

  static Joined of(const float* lane) { return {A::widen(lane)}; }
  // The errors of four lanes that have become one.
  static Joined of_errors(const float* lane, int apart) {
    constexpr int registers = columns / A::width;
    typename A::reg r[registers];
    for (int i = 0; i < registers; ++i) {
      const auto at = [&](int k) { return A::load(lane + k * apart + i * A::width); };
      r[i] = A::add(A::add(at(0), at(2)), A::add(at(1), at(3)));
    }
    return {A::widen(r)};
  }
  Joined operator+(const Joined& other) const { return {A::add(sum, other.sum)}; }
  void put(double* hi, double* lo) const {
    A::store(hi, sum);
    for (int i = 0; i < columns; ++i) lo[i] = 0.0;
  }
};

template <class A>
struct Joined<A, double> {
  static constexpr int columns = A::width;
  typename A::reg hi, lo;

  Joined operator+(const Joined& other) const {
    const auto both = A::add(hi, other.hi);
    const auto rest = A::sub(both, hi);
    const auto lost = A::add(A::sub(hi, A::sub(both, rest)), A::sub(other.hi, rest));
    return {both, A::add(lost, A::add(lo, other.lo))};
  }
  void put(double* hi_, double* lo_) const {
    A::store(hi_, hi);
    A::store(lo_, lo);
  }
};

// Joins lanes as block.h does, for the columns from one on: those that are H apart from lane j.
// Exact: no lane has more than one term; then there may be fewer than A::lanes, but no more than
// Most.
template <class A, bool Exact, int Most>
struct LaneJoin {
  using T = typename A::T;
  const T* sum;
  const T* error;
  int lanes;
  int stride;  // from lane to lane

  template <int H>
  [[gnu::always_inline]] Joined<A> from(int j) const {
    if constexpr (H == Most) {
      const int at = j * stride;
      if constexpr (sizeof(T) == sizeof(float))
        return Joined<A>::of(sum + at);
      else
        return {A::load(sum + at), Exact ? A::set1(T(0)) : A::load(error + at)};
    } else {
      Joined<A> joined = from<2 * H>(j);
      if (!Exact || j + H < lanes) joined = joined + from<2 * H>(j + H);
      if constexpr (!Exact && sizeof(T) == sizeof(float) && H == A::join_lanes)
        joined = joined + Joined<A>::of_errors(error + j * stride, H * stride);
      return joined;
    }
  }
};

// Of `rows` terms, no more than there are lanes.
template <class A>
[[gnu::always_inline]] inline Joined<A> join_terms(const typename A::T* terms, int rows,
                                                   int stride) {
  if (rows <= 4) return LaneJoin<A, true, 4>{terms, nullptr, rows, stride}.template from<1>(0);
  return LaneJoin<A, true, A::lanes>{terms, nullptr, rows, stride}.template from<1>(0);
}

template <bool Exact, int Most, class Tile>
[[gnu::noinline]] void join_columns(const Tile& tile, int lanes) {
  using A = typename Tile::A;
  auto& w = tile.work;
  for (int c = 0; c < tile.columns; c += Joined<A>::columns)
    LaneJoin<A, Exact, Most>{w.sum + c, w.error + c, lanes, tile.columns}.template from<1>(0).put(
        w.hi + c, w.lo + c);
}

// The lanes of each column become hi[c] and lo[c].
template <class Tile>
void columns_join(const Tile& tile, int count) {
  constexpr int lanes = Tile::A::lanes;
  if (count > lanes)
    join_columns<false, lanes>(tile, lanes);
  else if (count > 4)
    join_columns<true, lanes>(tile, count);
  else
    join_columns<true, 4>(tile, count);
}

// hi[c], lo[c] = sum of a block of column c under block_exponent[c], without what O says. With
// Store, the terms are kept: under row_exponent[c] if `rescale`, else as summed.
template <Without O, bool Store, class Tile>
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
        strips_block_lanes<O, Store, Store, Copied, Single>(tile, start, count);
      else
        strips_block_lanes<O, Store, false, Copied, Single>(tile, start, count);
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
      if constexpr (O == Without::first) {
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
