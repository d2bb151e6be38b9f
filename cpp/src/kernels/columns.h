// The algorithms on tiles of columns. The scalars of a column (scan, sums, state) are those of
// row.h, one set per column.
#pragma once

#include "kernels/columns_block.h"
#include "kernels/short_columns.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Tile, class Body>
[[gnu::always_inline]] inline void for_each_tile_block(const Tile& tile, Body&& body) {
  const std::int64_t length = tile.job.length;
  constexpr int size = Tile::A::block;
  for_each_block<typename Tile::A>(length, 0, (length + size - 1) / size, body);
}

template <class Tile>
[[gnu::noinline]] bool scan_columns(const Tile& tile, bool copy) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  const bool with_min = tile.job.length > A::block;
  for (int c = 0; c < tile.columns; ++c) w.scan[c] = {-__builtin_inf(), __builtin_inf(), 0};
  for_each_tile_block(tile, [&](std::int64_t b, std::int64_t start, int count) {
    columns_block_max(tile, start, count, with_min, copy);
    for (int c = 0; c < tile.columns; ++c) {
      const double max = static_cast<double>(w.block_max[c]);
      if (!(max <= w.scan[c].max)) {
        w.scan[c].max = max;
        w.scan[c].first_block = b;
      }
      if (with_min) {
        const double min = static_cast<double>(w.min[c]);
        if (min < w.scan[c].min) w.scan[c].min = min;
      }
    }
  });
  for (int c = 0; c < tile.columns; ++c) w.block_max[c] = static_cast<T>(w.scan[c].max);
  const bool inside = columns_exponents(tile);
  for (int c = 0; c < tile.columns; ++c) w.row_exponent[c] = w.block_exponent[c];
  return inside;
}

// Without totals, the only block's sums stay where they are.
template <bool Log, class Tile>
void add_to_totals(const Tile& tile, RowTotal<Log>* totals, bool rest_only) {
  if (totals == nullptr) return;
  auto& w = tile.work;
  for (int c = 0; c < tile.columns; ++c) {
    BlockSum& out = w.block[c];
    if (!rest_only || !out.has_rest) {
      out.hi = w.hi[c];
      out.lo = w.lo[c];
    }
    out.exponent = static_cast<std::int32_t>(w.block_exponent[c]);
    totals[c].join(out);
  }
}

// Sums of all elements but the first maximum, for the columns that `wanted` admits.
template <class Tile, class Wanted>
void sum_columns_rest(const Tile& tile, std::int64_t start, int count, Wanted&& wanted) {
  auto& w = tile.work;
  columns_find_max(tile, start, count, wanted);
  columns_block_sum<Without::first, false>(tile, start, count);
  for (int c = 0; c < tile.columns; ++c) {
    BlockSum& out = w.block[c];
    out = {};
    if (!wanted(c)) continue;
    out.rest_hi = w.hi[c];
    out.rest_lo = w.lo[c];
    out.max = static_cast<double>(w.block_max[c]);
    out.has_rest = true;
  }
}

template <bool Log, bool Store, class Tile>
void sum_columns_three_pass(const Tile& tile, RowTotal<Log>* totals) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  bool narrow = true;
  for (int c = 0; c < tile.columns; ++c) {
    const T bottom = E::exponent(static_cast<T>(w.scan[c].min));
    narrow &= tile.job.length <= A::block ||
              !(static_cast<double>(w.row_exponent[c]) - static_cast<double>(bottom) > kNarrow<A>);
  }
  for_each_tile_block(tile, [&](std::int64_t b, std::int64_t start, int count) {
    if (!narrow) {
      columns_block_max(tile, start, count, false);
      columns_exponents(tile);
    }
    for (int c = 0; c < tile.columns; ++c) w.block[c] = {};
    bool holds_max = false;
    if constexpr (Log) {
      const auto wanted = [&](int c) { return w.scan[c].first_block == b; };
      for (int c = 0; c < tile.columns; ++c) {
        holds_max |= wanted(c);
        if (narrow || wanted(c)) w.block_max[c] = static_cast<T>(w.scan[c].max);
      }
      if (holds_max) sum_columns_rest(tile, start, count, wanted);
    }
    if (!holds_max) columns_block_sum<Without::nothing, Store && !Log>(tile, start, count, !narrow);
    add_to_totals<Log>(tile, totals, holds_max);
    if constexpr (Store && Log) {
      tile.spread(w.max, [&](int c) { return static_cast<T>(w.scan[c].max); });
      tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
        const auto* x = tile.segment(row, rows);
        map_block<A>(tile.stored(row), rows * tile.columns, false,
                     [&](int i, auto part) __attribute__((always_inline)) {
                       const auto zero = A::set1(T(0));
                       return A::sub(load<A>(x + i, part, zero), load<A>(w.max + i, part, zero));
                     });
      });
    }
  });
}

// False where a column leaves the domain of the extended exponential.
template <bool Log, RowAlgorithm G, class Tile>
bool sum_columns_one_pass(const Tile& tile, RowTotal<Log>* totals) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  bool inside = true;
  T largest[kMaxTileColumns];
  for (int c = 0; c < tile.columns; ++c) largest[c] = -infinity<T>();
  for_each_tile_block(tile, [&](std::int64_t, std::int64_t start, int count) {
    bool summed = false;
    if constexpr (G == RowAlgorithm::two_pass)
      summed = columns_block_sum_two_pass(tile, start, count);
    if (G == RowAlgorithm::online || Log) {
      columns_block_max(tile, start, count, false);
      columns_exponents(tile);
    }
    for (int c = 0; c < tile.columns; ++c) {
      inside &= static_cast<double>(w.block_exponent[c]) <= kMaxExponent;
      w.block[c] = {};
    }
    if (!inside) return;
    if constexpr (Log) {
      bool larger[kMaxTileColumns];
      bool any = false;
      for (int c = 0; c < tile.columns; ++c) {
        larger[c] = w.block_max[c] > largest[c];
        any |= larger[c];
        if (larger[c]) largest[c] = w.block_max[c];
      }
      if (any) {
        sum_columns_rest(tile, start, count, [&](int c) { return larger[c]; });
        summed = false;
      }
    }
    if (!summed) columns_block_sum<Without::nothing, false>(tile, start, count);
    add_to_totals<Log>(tile, totals, false);
  });
  return inside;
}

template <class Tile>
[[gnu::noinline]] void write_columns_softmax(const Tile& tile, bool stored) {
  using A = typename Tile::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  auto& w = tile.work;
  for (int c = tile.columns; c % A::width != 0; ++c) w.hi[c] = w.lo[c] = 1.0;
  for (int c = 0; c < tile.columns; c += A::width)
    normalizers_of<A>(w.hi + c, w.lo + c, w.inverse_hi + c, w.inverse_lo + c, w.scale + c);
  tile.repeat(w.inverse_hi);
  tile.repeat(w.inverse_lo);
  tile.repeat(w.scale);
  if (!stored) tile.spread(w.rounder, [&](int c) { return sum_rounder<A>(w.block_exponent[c]); });
  if (tile.in_strips()) {
    if (!stored) return strips_write_softmax<false, false>(tile);
    return tile.copied() && tile.streams() ? strips_write_softmax<true, true>(tile)
                                           : strips_write_softmax<true, false>(tile);
  }
  const auto zero = A::set1(T(0));
  const auto quotient = [&](int i, auto part, auto term) __attribute__((always_inline)) {
    return Quotient<A>{load<A>(w.inverse_hi + i, part, zero), load<A>(w.inverse_lo + i, part, zero),
                       load<A>(w.scale + i, part, zero)}(term);
  };
  for_each_tile_block(tile, [&](std::int64_t, std::int64_t start, int count) {
    tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
      const int size = rows * tile.columns;
      if (stored) {
        const T* terms = tile.stored(row);
        map_block<A>(tile.output(row), size, false,
                     [&](int i, auto part) __attribute__((always_inline)) {
                       return quotient(i, part, load<A>(terms + i, part, zero));
                     });
      } else {
        const auto* x = tile.segment(row, rows);
        map_block<A>(
            tile.output(row), size, false, [&](int i, auto part) __attribute__((always_inline)) {
              return quotient(
                  i, part, E::term(load<A>(x + i, part, zero), load<A>(w.rounder + i, part, zero)));
            });
      }
      tile.output_done(row, rows);
    });
  });
}

template <class Tile>
[[gnu::noinline]] void write_columns_log_softmax(const Tile& tile, bool stored) {
  using A = typename Tile::A;
  using T = typename A::T;
  auto& w = tile.work;
  tile.spread(w.max, [&](int c) { return w.block_max[c]; });
  tile.spread(w.inverse_hi, [&](int c) { return static_cast<T>(w.log_sum[c]); });
  const auto zero = A::set1(T(0));
  for_each_tile_block(tile, [&](std::int64_t, std::int64_t start, int count) {
    tile.for_each_segment(start, count, [&](std::int64_t row, int rows) {
      const int size = rows * tile.columns;
      const auto finish = [&](int i, auto part, auto shifted) __attribute__((always_inline)) {
        return A::sub(shifted, load<A>(w.inverse_hi + i, part, zero));
      };
      if (stored) {
        const T* shifted = tile.stored(row);
        map_block<A>(tile.output(row), size, false,
                     [&](int i, auto part) __attribute__((always_inline)) {
                       return finish(i, part, load<A>(shifted + i, part, zero));
                     });
      } else {
        const auto* x = tile.segment(row, rows);
        map_block<A>(
            tile.output(row), size, false, [&](int i, auto part) __attribute__((always_inline)) {
              return finish(i, part,
                            A::sub(load<A>(x + i, part, zero), load<A>(w.max + i, part, zero)));
            });
      }
      tile.output_done(row, rows);
    });
  });
}

// The factors of softmax, from the totals or, in tiles of a single block, from its sums. False
// where a column lies below the domain.
template <class Tile>
bool normalize_columns(const Tile& tile, const RowTotal<false>* totals) {
  using T = typename Tile::T;
  auto& w = tile.work;
  bool inside = true;
  for (int c = 0; c < tile.columns; ++c) {
    if (totals != nullptr) {
      w.hi[c] = totals[c].all.hi;
      w.lo[c] = totals[c].all.lo;
      w.block_exponent[c] = static_cast<T>(totals[c].all.exponent);
    }
    inside &= w.block_exponent[c] >= T(-kMaxExponent);
  }
  return inside;
}

// The sums of a softmax of a single block by three passes.
template <bool Store, class Tile>
bool sum_columns_block(const Tile& tile) {
  const int count = static_cast<int>(tile.job.length);
  columns_block_max(tile, 0, count, false, Store && tile.copied());
  if (!columns_exponents(tile)) return false;
  columns_block_sum<Without::nothing, Store>(tile, 0, count);
  return true;
}

// Sums without the maxima, for a logarithm, of a single block.
template <class Tile>
bool sum_columns_block_rest(const Tile& tile) {
  const int count = static_cast<int>(tile.job.length);
  columns_block_max(tile, 0, count, false);
  if (!columns_exponents(tile)) return false;
  if (tile.lanes_are_terms()) {
    columns_block_sum<Without::max, false>(tile, 0, count);
  } else {
    columns_find_max(tile, 0, count, [](int) { return true; });
    columns_block_sum<Without::first, false>(tile, 0, count);
  }
  return true;
}

// hi, lo, block_exponent and block_max of a logarithm from totals. False where a column leaves the
// domain.
template <class Tile>
bool take_totals(const Tile& tile, const RowTotal<true>* totals) {
  using T = typename Tile::T;
  auto& w = tile.work;
  bool inside = true;
  for (int c = 0; c < tile.columns; ++c) {
    const ExtSum& rest = totals[c].rest;
    w.hi[c] = rest.hi;
    w.lo[c] = rest.lo;
    w.block_exponent[c] = static_cast<T>(rest.exponent);
    w.block_max[c] = static_cast<T>(totals[c].max);
    inside &= !totals[c].out_of_domain && rest.exponent >= -static_cast<int>(kMaxExponent);
  }
  return inside;
}

template <RowOp O, RowAlgorithm G, class Tile>
bool sum_columns(const Tile& tile, RowTotal<takes_log<O>>* totals) {
  constexpr bool reload = G == RowAlgorithm::three_pass_reload && O != RowOp::logsumexp;
  if constexpr (G == RowAlgorithm::two_pass || G == RowAlgorithm::online) {
    return sum_columns_one_pass<takes_log<O>, G>(tile, totals);
  } else {
    if constexpr (O == RowOp::softmax) {
      if (totals == nullptr) return sum_columns_block<reload>(tile);
    }
    if (!scan_columns(tile, O == RowOp::softmax && reload && tile.copied())) return false;
    sum_columns_three_pass<takes_log<O>, reload>(tile, totals);
    return true;
  }
}

template <RowOp O, RowAlgorithm G, class Tile>
void run_columns(const Tile& tile) {
  using A = typename Tile::A;
  using T = typename A::T;
  constexpr bool reload = G == RowAlgorithm::three_pass_reload;
  const T nan = static_cast<T>(__builtin_nan(""));
  auto& w = tile.work;
  if constexpr (O == RowOp::softmax) {
    if (reload && tile.lanes_are_terms()) return short_columns_softmax(tile);
    if (tile.job.length <= A::block) {
      if (!sum_columns<O, G>(tile, nullptr) || !normalize_columns(tile, nullptr))
        return exceptional_columns<O>(tile, 0, tile.columns);
    } else {
      RowTotal<takes_log<O>> totals[kMaxTileColumns];
      if (!sum_columns<O, G>(tile, totals) || !normalize_columns(tile, totals))
        return exceptional_columns<O>(tile, 0, tile.columns);
    }
    write_columns_softmax(tile, reload);
    bool any_nan = false;
    for (int c = 0; c < tile.columns; ++c) any_nan |= w.hi[c] != w.hi[c];
    if (!any_nan) return;
    for (int c = 0; c < tile.columns; ++c) {
      if (w.hi[c] == w.hi[c]) continue;
      for (std::int64_t row = 0; row < tile.job.length; ++row) put_column(tile, row, c, nan);
    }
  } else {
    if (tile.job.length <= A::block) {
      if (!sum_columns_block_rest(tile)) return exceptional_columns<O>(tile, 0, tile.columns);
    } else {
      RowTotal<true> totals[kMaxTileColumns];
      if (!sum_columns<O, G>(tile, totals) || !take_totals(tile, totals))
        return exceptional_columns<O>(tile, 0, tile.columns);
    }
    for (int c = 0; c < tile.columns; c += A::width)
      logs_of_sums<A>(w.hi + c, w.lo + c, w.block_exponent + c, w.block_max + c, w.log_sum + c);
    if constexpr (O == RowOp::log_softmax)
      write_columns_log_softmax(tile, reload && tile.job.length > A::block);
    for (int c = 0; c < tile.columns; ++c) {
      const bool all_nan = w.hi[c] != w.hi[c];
      if constexpr (O == RowOp::logsumexp) {
        const double result = static_cast<double>(w.block_max[c]) + w.log_sum[c];
        put_column(tile, 0, c, all_nan ? nan : static_cast<T>(result));
      } else if (all_nan) {
        for (std::int64_t row = 0; row < tile.job.length; ++row) put_column(tile, row, c, nan);
      }
    }
  }
}

template <class A, class In>
void columns_entry(const ColumnsJob& job) {
  const DefaultFloatEnvironment environment;
  const Tile<A, In> tile(job);
  with_case(job.op, job.algorithm, [&](auto c) {
    // There is no online_reload for columns; the plan has three_pass_reload instead.
    if constexpr (c.algorithm != RowAlgorithm::online_reload) run_columns<c.op, c.algorithm>(tile);
  });
  if (job.stream) stream_fence();
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
