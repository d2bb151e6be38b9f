// Rows along a strided axis, copied side by side so that kernels can use them as they lie, and
// back.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>

#include "call.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {

struct TiledCall {
  const Call& call;
  bool writes_y;  // else where y lies is of no concern
};

// Whether rows along a strided axis lie next to each other, and may be used as they lie.
bool in_columns(const TiledCall& tiled);

// Tiles of as many rows as share cache lines.
class RowTiles {
 public:
  // None: rows are used as they lie.
  RowTiles() = default;
  // One tile for each of several calls, whose rows are numbered alike. None where a call is direct,
  // rows of an array are not aligned or not next to each other, or tiles were too large.
  // Tiles hold at most so many elements of each row.
  explicit RowTiles(std::initializer_list<TiledCall> calls,
                    std::int64_t length = std::numeric_limits<std::int64_t>::max());

  explicit operator bool() const { return rows_ > 0; }
  std::int64_t rows() const { return rows_; }             // of a tile, at most
  std::int64_t bytes() const { return rows_ * stride_; }  // of a tile
  std::int64_t stride() const { return stride_; }         // bytes from row to row

  // Makes tasks of whole tiles, if there is at least one for each thread.
  void fit_tasks(Plan& plan, std::int64_t rows) const;

  // Copies x of a job, rows of `call`, to `tile` and points the job there.
  void load(const Call& call, kernels::RowsJob& job, char* tile) const;
  // Copies `tile` to y of a job.
  void store(const Call& call, const kernels::RowsJob& job, const char* tile) const;

 private:
  std::int64_t rows_ = 0;
  std::int64_t stride_ = 0;  // bytes from row to row
};

}  // namespace fastsoftmax
