// Tiles of columns: reductions along a strided axis, with vectors across the contiguous one. This
// file has what is done to one block of a tile; columns.h puts it together.
//
// A tile's rows are taken segment by segment. A segment is one row of the tile or, in tiles of few
// columns, as many rows as there are lanes, so that registers are full. Each column has its own set
// of lanes, in L1; element i of a column goes to lane i mod A::lanes as everywhere.
#pragma once

#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::ColumnsJob;
using kernels::kDenseColumns;
using kernels::kMaxTileColumns;

template <class A>
struct ColumnsWorkspace {
  using T = typename A::T;
  // Elements of a segment at most.
  static constexpr int width =
      A::lanes * kDenseColumns > kMaxTileColumns ? A::lanes * kDenseColumns : kMaxTileColumns;

  alignas(64) T sum[A::lanes * kMaxTileColumns];  // by lane, then column
  alignas(64) T error[A::lanes * kMaxTileColumns];
  alignas(64) T exponent[A::lanes * kMaxTileColumns];  // two_pass: of each lane
  alignas(64) T max[width];
  alignas(64) T min[width];
  alignas(64) T first[width];   // row, in its block, of the first maximum
  alignas(64) T row_of[width];  // row of each element in its segment
  alignas(64) T rounder[width];
  alignas(64) T stored_rounder[width];
  alignas(64) T scale[width];
  alignas(64) T inverse_hi[width];
  alignas(64) T inverse_lo[width];
  alignas(64) T temperature[width];
  alignas(64) T segment[width];
  alignas(64) T output[width];
  double hi[A::lanes * kMaxTileColumns];
  double lo[A::lanes * kMaxTileColumns];
  // By column.
  alignas(64) T block_max[kMaxTileColumns];
  alignas(64) T block_exponent[kMaxTileColumns];
  alignas(64) T row_exponent[kMaxTileColumns];
  RowScan scan[kMaxTileColumns];
  BlockSum block[kMaxTileColumns];
  RowState state[kMaxTileColumns];
};

// What a tile's elements are and how they are cut into segments.
template <class Arithmetic, class In>
struct Tile {
  using A = Arithmetic;
  using T = typename A::T;
  using Element = In;

  const ColumnsJob& job;
  ColumnsWorkspace<A>& work;
  int columns;
  int segment_rows = 1;

  Tile(const ColumnsJob& job_)
      : job(job_), work(*static_cast<ColumnsWorkspace<A>*>(job_.workspace)), columns(job_.columns) {
    const std::int64_t row_bytes = columns * static_cast<std::int64_t>(sizeof(In));
    const bool dense =
        job.x_stride == row_bytes && (job.op == RowOp::logsumexp || job.y_stride == row_bytes);
    if (columns < kDenseColumns && (dense || gathered())) segment_rows = A::lanes;
    if (job.op != RowOp::softmax) {
      for (int r = 0; r < segment_rows; ++r)
        for (int c = 0; c < columns; ++c) work.row_of[r * columns + c] = static_cast<T>(r);
    }
    if (job.temperatures != nullptr)
      spread(work.temperature, [&](int c) { return static_cast<T>(job.temperatures[c]); });
  }

  bool gathered() const { return job.fetch != nullptr; }
  int width() const { return segment_rows * columns; }

  const In* segment(std::int64_t row, int rows) const {
    if (!gathered())
      return reinterpret_cast<const In*>(static_cast<const char*>(job.x) + row * job.x_stride);
    if constexpr (sizeof(In) == sizeof(T)) {
      for (int r = 0; r < rows; ++r)
        job.fetch(job.context, row + r, job.first_column, columns, work.segment + r * columns);
      if (job.temperatures != nullptr) {
        map_block<A>(work.segment, rows * columns, false,
                     [&](int i, auto part) __attribute__((always_inline)) {
                       const auto one = A::set1(T(1));
                       return A::div(load<A>(work.segment + i, part, one),
                                     load<A>(work.temperature + i, part, one));
                     });
      }
      return work.segment;
    }
    return nullptr;
  }

  In* output(std::int64_t row) const {
    if (gathered()) {
      if constexpr (sizeof(In) == sizeof(T)) return work.output;
    }
    return reinterpret_cast<In*>(static_cast<char*>(job.y) + row * job.y_stride);
  }
  void output_done(std::int64_t row, int rows) const {
    if (!gathered()) return;
    for (int r = 0; r < rows; ++r)
      job.store(job.context, row + r, job.first_column, columns, work.output + r * columns);
  }

  // Row `row` of stored values.
  T* stored(std::int64_t row) const {
    if (job.stored != nullptr) return static_cast<T*>(job.stored) + row * columns;
    return reinterpret_cast<T*>(static_cast<char*>(job.y) + row * job.y_stride);
  }

  // body(row, rows) for the segments of rows [start, start + count).
  template <class Body>
  [[gnu::always_inline]] void for_each_segment(std::int64_t start, int count, Body&& body) const {
    for (int r = 0; r < count; r += segment_rows)
      body(start + r, segment_rows < count - r ? segment_rows : count - r);
  }

  // values[r * columns + c] = f(c), for all rows of a segment.
  template <class F>
  void spread(T* values, F&& f) const {
    for (int c = 0; c < columns; ++c) values[c] = f(c);
    repeat(values);
  }
  // Of values known for the first row.
  void repeat(T* values) const {
    for (int done = columns; done < width(); done *= 2) {
      const int left = width() - done;
      __builtin_memcpy(values + done, values,
                       static_cast<std::size_t>(left < done ? left : done) * sizeof(T));
    }
  }
};

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
                                         bool with_min) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
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

// Joins the lanes of each column into hi[c] and lo[c], as join does.
template <class Tile>
[[gnu::noinline]] void columns_join(const Tile& tile, int count) {
  using A = typename Tile::A;
  auto& w = tile.work;
  const int columns = tile.columns;
  const bool exact = count <= A::lanes;
  int lanes = count < A::lanes ? count : A::lanes;
  for (int i = 0; i < lanes * columns; ++i) w.hi[i] = static_cast<double>(w.sum[i]);
  if constexpr (sizeof(typename A::T) == sizeof(double)) {
    for (int i = 0; i < lanes * columns; ++i) w.lo[i] = exact ? 0.0 : w.error[i];
  } else {
    for (int i = 0; i < columns; ++i) w.lo[i] = 0.0;
  }
  for (int h = A::lanes / 2; h > 0; h /= 2) {
    const int up = h * columns;
    const int size = lanes <= h ? 0 : (lanes - h) * columns;
    if constexpr (sizeof(typename A::T) == sizeof(float)) {
      if (h == A::join_lanes / 2 && !exact) {
        for (int i = 0; i < lanes * columns; ++i) w.hi[i] += static_cast<double>(w.error[i]);
      }
      for (int i = 0; i < size; ++i) w.hi[i] += w.hi[i + up];
      if (h >= A::join_lanes && !exact) {
        for (int i = 0; i < size; ++i) w.error[i] += w.error[i + up];
      }
    } else {
      for (int i = 0; i < size; ++i) {
        const Sum2 s = two_sum(Sum2{w.hi[i], w.lo[i]}, Sum2{w.hi[i + up], w.lo[i + up]});
        w.hi[i] = s.hi;
        w.lo[i] = s.lo;
      }
    }
    if (lanes > h) lanes = h;
  }
}

// hi[c], lo[c] = sum of a block of column c under block_exponent[c]. With Exclude, without the row
// `first`; with Store, the terms are kept under row_exponent[c].
template <bool Exclude, bool Store, class Tile>
[[gnu::noinline]] void columns_block_sum(const Tile& tile, std::int64_t start, int count) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  const int columns = tile.columns;
  tile.spread(w.rounder, [&](int c) { return sum_rounder<A>(w.block_exponent[c]); });
  if constexpr (Store)
    tile.spread(w.stored_rounder, [&](int c) { return sum_rounder<A>(w.row_exponent[c]); });
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
      const auto q = E::remainder_expm1(z, A::sub(t, rounder));
      if constexpr (Store) {
        const auto kept = E::round(z, load<A>(w.stored_rounder + i, part, zero));
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
