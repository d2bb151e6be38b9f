// Columns one by one: those that leave the domain of the extended exponential, and elements that
// are put or fetched singly.
#pragma once

#include "kernels/columns_tile.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// One element of row `row` of column c, as a StoreFn takes it.
template <class Tile>
void put_column(const Tile& tile, std::int64_t row, int c, typename Tile::T value) {
  using A = typename Tile::A;
  if (tile.gathered()) {
    tile.job.store(tile.job.context, row, tile.job.first_column + c, 1, &value);
  } else {
    A::store(tile.y_row(row) + c, A::set1(value), 1);
  }
}

template <class Tile>
void fetch_column(const void* context, std::int64_t c, std::int64_t start, int count,
                  void* buffer) {
  using A = typename Tile::A;
  const Tile& tile = *static_cast<const Tile*>(context);
  auto* to = static_cast<typename A::T*>(buffer);
  for (int i = 0; i < count; ++i) {
    if (tile.gathered()) {
      tile.job.fetch(tile.job.context, start + i, tile.job.first_column + c, 1, to + i);
    } else {
      A::store(to + i, A::load(tile.x_row(start + i) + c, 1, A::set1(typename A::T(0))), 1);
    }
  }
}

template <class Tile>
void store_column(const void* context, std::int64_t c, std::int64_t start, int count,
                  const void* buffer) {
  const Tile& tile = *static_cast<const Tile*>(context);
  const auto* from = static_cast<const typename Tile::T*>(buffer);
  for (int i = 0; i < count; ++i) put_column(tile, start + i, static_cast<int>(c), from[i]);
}

// Columns of which one leaves the domain: one after the other, as gathered rows.
template <RowOp O, class Tile>
[[gnu::noinline]] void exceptional_columns(const Tile& tile, int first, int last) {
  RowsJob job{};
  job.op = O;
  job.algorithm = RowAlgorithm::three_pass_recompute;
  job.rows = tile.columns;
  job.length = tile.job.length;
  job.fetch = fetch_column<Tile>;
  job.store = store_column<Tile>;
  job.context = &tile;
  job.temperatures = tile.job.temperatures;
  job.temperature_stride = sizeof(double);
  job.empty_is_zero = tile.job.empty_is_zero;
  for (int c = first; c < last; ++c)
    run_passes<GatheredRows<typename Tile::A>, O, RowAlgorithm::three_pass_recompute>(job, c, 1);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
