// Tiles of the scores of a linear layer, and the way of their rows to the kernels.
//
// A tile that only passes by is class-major, since w x^T is the product that BLAS computes fastest:
// the scores of a class for all rows of the tile are side by side. One that stays, for the
// gradients, is row-major: other products take part, and rows need not be transposed. Lines are an
// odd number of cache lines apart, so that a column of the tile does not fall on few places of the
// cache. Kernels get a strip: as many rows as share cache lines, of one block of the reduction
// order, transposed to a buffer or where they are. Tiles begin where a block begins, so that sums
// joined over tiles are those of the whole row, to the last bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernel_table.h"
#include "linear_matrix.h"
#include "tasks.h"

namespace fastsoftmax {

template <class T>
constexpr std::int64_t kBlock = sizeof(T) == 8 ? kernels::kBlockF64 : kernels::kBlockF32;
// Rows of a strip: a cache line of them.
template <class T>
constexpr std::int64_t kStripRows = 64 / sizeof(T);
// Elements from row to row of a strip: an odd number of cache lines.
template <class T>
constexpr std::int64_t kStripStride = kBlock<T> + kStripRows<T>;

// Rows and classes of a tile that stays in cache, as far as products allow: fewer rows make them
// slower.
inline constexpr std::int64_t kTileRows = 512;
inline constexpr std::int64_t kTileClasses = 2048;
inline constexpr std::int64_t kMostTileClasses = 1 << 16;

template <class T>
struct Tile {
  T* data;
  bool by_rows;         // only where products are scores as they are
  std::int64_t stride;  // elements from class to class, or from row to row
  std::int64_t first_class;
  std::int64_t classes;
  std::int64_t first_row;  // in the order of RowSet
  std::int64_t rows;

  T* at(std::int64_t c, std::int64_t row = 0) const {
    const std::int64_t of_tile = c - first_class;
    return data + (by_rows ? row * stride + of_tile : of_tile * stride + row);
  }
  // (classes, rows)
  Matrix matrix() const {
    return by_rows ? transposed(matrix_of(data, rows, classes, stride))
                   : matrix_of(data, classes, rows, stride);
  }
  Tile part(std::int64_t first, std::int64_t count) const {
    return {at(first), by_rows, stride, first, count, first_row, rows};
  }
};

// The stride of a tile whose lines have so many elements. Less than a cache line of them are side
// by side without a gap.
template <class T>
constexpr std::int64_t tile_stride(std::int64_t elements) {
  if (elements < kStripRows<T>) return elements;
  return ((elements + kStripRows<T> - 1) / kStripRows<T> | 1) * kStripRows<T>;
}

// Row after row.
template <class T>
struct Strip {
  T* data;
  std::int64_t stride;  // elements from row to row
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t first_class;
  std::int64_t classes;

  T* row(std::int64_t r) const { return data + r * stride; }
  std::int64_t row_bytes() const { return stride * static_cast<std::int64_t>(sizeof(T)); }
};

// Rows that take part, by their numbers in x, ascending.
using RowSet = std::vector<std::int64_t>;

// What becomes of a product before it is a score.
template <class T>
struct Finish {
  const T* bias = nullptr;  // of all classes, or null
  T temperature = 1;

  bool is_nothing() const { return bias == nullptr && temperature == T(1); }
};

// The strip of a tile's rows from `row` on, copied; `to` has room for it.
template <class T>
Strip<T> strip_of(const Tile<T>& tile, std::int64_t row, std::int64_t block, const Finish<T>& how,
                  T* to);
// The same where it is, in a tile by rows.
template <class T>
Strip<T> strip_at(const Tile<T>& tile, std::int64_t row, std::int64_t block) {
  const std::int64_t first = tile.first_class + block;
  return {tile.at(first, row),
          tile.stride,
          tile.first_row + row,
          std::min(kStripRows<T>, tile.rows - row),
          first,
          std::min(kBlock<T>, tile.classes - block)};
}
// The way back.
template <class T>
void put_strip(const Strip<T>& strip, const Tile<T>& tile);

// write: back to the tile as the body leaves them; read: for a body that only reads, copy: for one
// that may change them.
enum class Strips : std::uint8_t { read, write, copy };

// body(strip, worker) for all strips of a tile, on several threads, each row's in order. `buffers`
// has room for a strip of each thread. The body must not throw.
template <class T, Strips S = Strips::read, class Body>
void for_each_strip(const Tile<T>& tile, const Finish<T>& how, int threads, T* buffers, Body body) {
  const bool in_place = S != Strips::copy && tile.by_rows;
  for_tasks(divide_up(tile.rows, kStripRows<T>), threads, [&](std::int64_t task, int worker) {
    T* const buffer = buffers + worker * kStripRows<T> * kStripStride<T>;
    for (std::int64_t block = 0; block < tile.classes; block += kBlock<T>) {
      Strip<T> strip = strip_at(tile, task * kStripRows<T>, block);
      if (!in_place) strip = strip_of(tile, task * kStripRows<T>, block, how, buffer);
      body(strip, worker);
      if (S == Strips::write && !in_place) put_strip(strip, tile);
    }
  });
}

// The memory of one call. The thread keeps it for the next one, unless it is very large: new pages
// cost as much as a tenth of a product. A call inside a call, by way of the product, has its own.
template <class T>
struct LinearMemory {
  Buffer<T> tile;
  Buffer<T> strips;
  Buffer<T> products;

  LinearMemory();
  ~LinearMemory();
  LinearMemory(const LinearMemory&) = delete;
  LinearMemory& operator=(const LinearMemory&) = delete;
};

// A layer with everything checked.
template <class T>
class LinearScores {
 public:
  LinearScores(const LinearLayer& layer, double temperature, int max_threads);

  std::int64_t rows() const { return x_.rows(); }
  std::int64_t classes() const { return w_.rows(); }
  std::int64_t depth() const { return x_.columns(); }
  int threads() const { return threads_; }
  const Finish<T>& finish() const { return finish_; }
  LinearMemory<T>& memory() { return memory_; }
  T* strip_buffers() { return memory_.strips.reserve(threads_ * kStripRows<T> * kStripStride<T>); }
  // Classes in a tile: whole blocks, as many as fit, and more where rows are few.
  std::int64_t classes_at_once(std::int64_t rows) const;

  Matrix x_rows(const RowSet& rows, std::int64_t first, std::int64_t count) {
    return x_.read(
        std::span(rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
  }
  // Valid until the next ones are read.
  Matrix w_rows(std::int64_t first, std::int64_t count) { return w_.read(first, count); }
  bool w_is_direct() const { return w_.is_direct(); }

  void multiply(const Matrix& a, const Matrix& b, const Matrix& out) const {
    fastsoftmax::multiply<T>(matmul_, a, b, out);
  }

  // All scores of some of the rows, complete ones, row after row.
  void write(const RowSet& rows, std::int64_t first, std::int64_t count, T* to);

  // visit(tile, x of its rows) for tiles that together are all scores of the rows: all rows of some
  // classes before the next ones. Products are in the tile; strips make them scores. The visitor
  // may read other rows of w.
  template <class Visit>
  void sweep(const RowSet& rows, Visit visit) {
    const auto count = static_cast<std::int64_t>(rows.size());
    const std::int64_t stride = tile_stride<T>(std::min(count, kTileRows));
    const std::int64_t most = classes_at_once(std::min(count, kTileRows));
    T* const memory = memory_.tile.reserve(std::min(most, classes()) * stride);
    for (std::int64_t c = 0; c < classes() && count > 0; c += most) {
      const std::int64_t now = std::min(most, classes() - c);
      for (std::int64_t r = 0; r < count; r += kTileRows) {
        const Tile<T> tile{memory, false, stride, c, now, r, std::min(kTileRows, count - r)};
        const Matrix x = x_rows(rows, r, tile.rows);
        multiply(w_rows(c, now), transposed(x), tile.matrix());
        visit(tile, x);
      }
    }
  }

 private:
  MatrixRows<T> x_;
  MatrixRows<T> w_;
  Matmul matmul_;
  int threads_;
  std::vector<T> bias_;
  Finish<T> finish_;
  LinearMemory<T> memory_;
};

extern template class LinearScores<float>;
extern template class LinearScores<double>;

// f<float>() or f<double>(), whichever the layer is computed in, in the default environment.
template <class F>
auto with_arithmetic(const LinearLayer& layer, F f) {
  const baseline::DefaultFloatEnvironment environment;
  if (linear_dtype(layer.x.dtype, layer.w.dtype) == DType::f64)
    return f.template operator()<double>();
  return f.template operator()<float>();
}

}  // namespace fastsoftmax
