// Tiles of columns: reductions along a strided axis, with vectors across the contiguous one.
//
// A tile's rows are taken segment by segment. A segment is one row of the tile or, in tiles of few
// columns, as many rows as there are lanes, so that registers are full. Each column has its own set
// of lanes, in L1; element i of a column goes to lane i mod A::lanes as everywhere.
#pragma once

#include "kernels/row_entries.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::ColumnsJob;
using kernels::kDenseColumns;
using kernels::kMaxTileColumns;
using kernels::kTileColumns;

template <class A>
struct ColumnsWorkspace {
  using T = typename A::T;
  // Elements of a segment at most.
  static constexpr int width =
      A::lanes * kDenseColumns > kMaxTileColumns ? A::lanes * kDenseColumns : kMaxTileColumns;

  alignas(64) T sum[A::lanes * kTileColumns];  // by lane, then column
  alignas(64) T error[A::lanes * kTileColumns];
  alignas(64) T exponent[A::lanes * kTileColumns];  // two_pass: of each lane
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
  // By column.
  alignas(64) double hi[kMaxTileColumns];
  alignas(64) double lo[kMaxTileColumns];
  alignas(64) T block_max[kMaxTileColumns];
  alignas(64) T block_exponent[kMaxTileColumns];
  alignas(64) T row_exponent[kMaxTileColumns];
  alignas(64) double log_sum[kMaxTileColumns];
  RowScan scan[kMaxTileColumns];
  BlockSum block[kMaxTileColumns];
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

  // Row `row`, unless it is gathered.
  const In* x_row(std::int64_t row) const {
    return reinterpret_cast<const In*>(static_cast<const char*>(job.x) + row * job.x_stride);
  }
  In* y_row(std::int64_t row) const {
    return reinterpret_cast<In*>(static_cast<char*>(job.y) + row * job.y_stride);
  }

  const In* segment(std::int64_t row, int rows) const {
    if (!gathered()) return x_row(row);
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
    return y_row(row);
  }
  void output_done(std::int64_t row, int rows) const {
    if (!gathered()) return;
    for (int r = 0; r < rows; ++r)
      job.store(job.context, row + r, job.first_column, columns, work.output + r * columns);
  }

  // Whether vectors run across whole rows of a tile in memory.
  bool in_strips() const { return !gathered() && segment_rows == 1; }
  // Whether full registers of results bypass the cache.
  bool streams() const {
    constexpr std::uintptr_t alignment = A::width * sizeof(In);
    return job.stream &&
           (reinterpret_cast<std::uintptr_t>(job.y) | static_cast<std::uintptr_t>(job.y_stride)) %
                   alignment ==
               0;
  }
  // Whether the lanes are the terms, none having more than one.
  bool lanes_are_terms() const { return in_strips() && job.length <= A::lanes; }
  // Whether the scores were copied to where the terms go.
  bool copied() const { return in_strips() && job.stored != nullptr && !lanes_are_terms(); }
  template <bool Copied>
  auto scores(std::int64_t row) const {
    if constexpr (Copied)
      return static_cast<const T*>(stored(row));
    else
      return x_row(row);
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

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
