// What is checked of the arrays of a linear layer, and how results get out.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fastsoftmax/linear.hpp"
#include "linear_tiles.h"
#include "loss_rows.h"

namespace fastsoftmax {

// Classes that may be named, and those that rows of w are: from `start` on, of w alone, or with a
// `size` of a vocabulary that is split over processes.
class Vocabulary {
 public:
  // Throws where `rows` of w do not fit in.
  Vocabulary(std::int64_t start, std::optional<std::int64_t> size, std::int64_t rows);

  std::int64_t start() const { return start_; }
  std::int64_t end() const { return end_; }
  std::int64_t size() const { return end_ - least_; }
  bool has(std::int64_t id) const { return id >= least_ && id < end_; }
  // kNoTarget for a class of another process.
  std::int64_t row_of(std::int64_t id) const {
    return id >= start_ && id - start_ < rows_ ? id - start_ : kNoTarget;
  }
  // Throws InvalidIndex: `what` is not one of the classes.
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  std::int64_t start_, rows_, least_;
  std::int64_t end_ = 0;
};

// Throws unless x and w are matrices.
void check_layer(const LinearLayer& layer);
// Throws unless `out` is dense, of the given type and shape.
void check_dense(const View& out, const char* what, DType dtype,
                 std::span<const std::int64_t> shape);
// Throws unless `out` is dense, of the given type and shape, and apart from the layer and `others`.
void check_linear_output(const View& out, const char* what, DType dtype,
                         std::span<const std::int64_t> shape, const LinearLayer& layer,
                         std::initializer_list<const ConstView*> others);
// Classes that are asked for, (N,) or (N, M), in C order. Throws where there is no such class.
std::vector<std::int64_t> read_ids(const ConstView& ids, std::int64_t rows, std::int64_t classes);
RowSet all_rows(std::int64_t count);

}  // namespace fastsoftmax
