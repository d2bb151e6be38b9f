#include "row_tiles.h"

#include <algorithm>
#include <cstring>

namespace fastsoftmax {
namespace {

constexpr std::int64_t kTileLine = 64;
constexpr std::int64_t kLargestTile = 8 << 20;  // bytes

template <class Element>
void transpose(const char* x, std::int64_t x_step, std::int64_t length, std::int64_t rows,
               char* tile) {
  for (std::int64_t i = 0; i < length; ++i, x += x_step) {
    for (std::int64_t r = 0; r < rows; ++r)
      std::memcpy(tile + (r * length + i) * static_cast<std::int64_t>(sizeof(Element)),
                  x + r * static_cast<std::int64_t>(sizeof(Element)), sizeof(Element));
  }
}

}  // namespace

std::int64_t tile_rows(const Call& call) {
  if (!call.plain || call.layout == Layout::rows || call.reduced.count != 1) return 0;
  const auto outer = call.outer.view();
  const std::int64_t item = itemsize(call.x_dtype);
  if (outer.empty() || outer.back().x != item) return 0;
  const std::int64_t fitting = kLargestTile / (call.row_length * item);
  const std::int64_t rows = std::min({kTileLine / item, fitting, outer.back().size});
  return rows > 1 ? rows : 0;
}

void copy_tile(const Call& call, kernels::RowsJob& rows, char* tile) {
  const char* const x = static_cast<const char*>(rows.x);
  const std::int64_t step = call.reduced.dims[0].x;
  const std::int64_t item = itemsize(call.x_dtype);
  if (item == 8)
    transpose<double>(x, step, rows.length, rows.rows, tile);
  else if (item == 4)
    transpose<float>(x, step, rows.length, rows.rows, tile);
  else
    transpose<std::uint16_t>(x, step, rows.length, rows.rows, tile);
  rows.x = tile;
  rows.x_stride = rows.length * item;
}

}  // namespace fastsoftmax
