// Losses of few classes along a strided axis: vectors across rows, which lie side by side.
#pragma once

#include "loss_rows.h"
#include "scratch.h"

namespace fastsoftmax {

class LossColumns {
 public:
  static constexpr std::int64_t kMaxColumns = 256;  // of a tile

  // Of calls whose rows are kept in tiles (RowTiles); none where other kernels are to be used.
  LossColumns(const LossRows& rows, bool in_tiles);

  explicit operator bool() const { return columns_ > 0; }
  std::int64_t columns() const { return columns_; }  // of a tile, at most
  std::int64_t bytes() const { return bytes_; }      // of scores

  // The results of `count` rows in one run. False, and nothing is written, where other kernels are
  // needed for one of them.
  bool run(std::int64_t row, std::int64_t count, const std::int64_t* targets, char* scores) const;

 private:
  const LossRows& rows_;
  const kernels::LossColumnsKernels* kernels_ = nullptr;
  std::int64_t columns_ = 0;
  std::int64_t bytes_ = 0;
  bool stream_ = false;
};

}  // namespace fastsoftmax
