#include "row_tiles.h"

#include <algorithm>
#include <cstring>

namespace fastsoftmax {
namespace {

constexpr std::int64_t kLine = 64;
constexpr std::int64_t kLargestTiles = 8 << 20;  // bytes of those of all calls
// Several lines of each vector are copied at a time, as long as a tile stays in L2 or nearly so.
constexpr std::int64_t kTileBytes = 1100 << 10;
constexpr std::int64_t kTileRows = 256;

// Lines asked for ahead: the hardware does not follow elements that lie pages apart. Sources in L2,
// because lines a power of two apart share few places in L1.
constexpr int kSourcesAhead = 24;
constexpr int kTargetsAhead = 16;

// Element i of vector v becomes element v of vector i, `from_stride` and `to_stride` bytes from
// vector to vector, Group vectors at a time: as many as fill a line of a target, but few where each
// is a line of its own, because lines that lie pages apart evict each other.
template <class Element, int Group, bool GathersLines>
void transpose(const char* from, std::int64_t from_stride, std::int64_t vectors,
               std::int64_t length, char* to, std::int64_t to_stride) {
  constexpr std::int64_t item = sizeof(Element);
  constexpr std::int64_t in_line = kLine / item;
  std::int64_t v = 0;
  for (; v + Group <= vectors; v += Group, from += Group * from_stride, to += Group * item) {
    const bool ahead = GathersLines && v + kSourcesAhead + Group <= vectors;
    for (std::int64_t i = 0; i < length; ++i) {
      if (ahead && i % in_line == 0) {
        for (int k = 0; k < Group; ++k)
          __builtin_prefetch(from + (k + kSourcesAhead) * from_stride + i * item, 0, 2);
      }
      if (!GathersLines && i + kTargetsAhead < length)
        __builtin_prefetch(to + (i + kTargetsAhead) * to_stride, 1);
      Element group[Group];
      for (int k = 0; k < Group; ++k)
        std::memcpy(&group[k], from + k * from_stride + i * item, sizeof(Element));
      std::memcpy(to + i * to_stride, group, sizeof group);
    }
  }
  for (std::int64_t i = 0; i < length; ++i) {
    for (std::int64_t k = 0; k < vectors - v; ++k)
      std::memcpy(to + i * to_stride + k * item, from + k * from_stride + i * item,
                  sizeof(Element));
  }
}

// f(element) with an element of that size.
template <class F>
void with_element(std::int64_t item, F&& f) {
  if (item == 8)
    f(std::uint64_t{});
  else if (item == 4)
    f(std::uint32_t{});
  else
    f(std::uint16_t{});
}

}  // namespace

bool in_columns(const TiledCall& tiled) {
  const Call& call = tiled.call;
  if (call.direct || !call.aligned || call.reduced.count != 1 || call.outer.count == 0)
    return false;
  const std::int64_t item = itemsize(call.row_dtype);
  const Dim& along = call.outer.view().back();
  return along.x == item && (!tiled.writes_y || along.y == item);
}

RowTiles::RowTiles(std::initializer_list<TiledCall> calls, std::int64_t length) {
  const Call& first = calls.begin()->call;
  const std::int64_t item = itemsize(first.row_dtype);
  // An odd number of lines, so that rows do not compete for the same places in the cache.
  const std::int64_t stride =
      ((std::min(first.row_length, length) * item + kLine - 1) / kLine | 1) * kLine;
  const std::int64_t in_line = kLine / item;
  const auto fitting = [&](std::int64_t bytes) {
    return bytes / (static_cast<std::int64_t>(calls.size()) * stride);
  };
  std::int64_t rows = std::clamp(fitting(kTileBytes) / in_line * in_line, in_line, kTileRows);
  rows = std::min(rows, fitting(kLargestTiles));
  for (const auto& [call, writes_y] : calls) {
    if (!in_columns({call, writes_y})) return;
    rows = std::min(rows, call.outer.view().back().size);
  }
  if (rows < 2) return;
  rows_ = rows;
  stride_ = stride;
}

void RowTiles::fit_tasks(Plan& plan, std::int64_t rows) const {
  if (rows_ == 0 || plan.threads * rows_ > rows) return;
  plan.rows_per_task = (plan.rows_per_task + rows_ - 1) / rows_ * rows_;
}

void RowTiles::load(const Call& call, kernels::RowsJob& job, char* tile) const {
  with_element(itemsize(call.row_dtype), [&](auto element) {
    transpose<decltype(element), 8, true>(static_cast<const char*>(job.x), call.reduced.dims[0].x,
                                          job.length, job.rows, tile, stride_);
  });
  job.x = tile;
  job.x_stride = stride_;
}

void RowTiles::store(const Call& call, const kernels::RowsJob& job, const char* tile) const {
  with_element(itemsize(call.row_dtype), [&](auto element) {
    constexpr int in_line = kLine / sizeof element;
    transpose<decltype(element), in_line, false>(tile, stride_, job.rows, job.length,
                                                 static_cast<char*>(job.y), call.reduced.dims[0].y);
  });
}

}  // namespace fastsoftmax
