// A few rows of a large matrix: the gradient of a layer of which a batch touches few classes. Rows
// that are not there are zero. Nothing here needs memory for the large matrix.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "fastsoftmax/types.hpp"
#include "fastsoftmax/view.hpp"

namespace fastsoftmax {

// Numbers of rows, ascending, and the rows.
class SparseRows {
 public:
  SparseRows() = default;  // no rows
  // Values are not initialised. Throws InvalidIndex for a negative id, InvalidArgument unless ids
  // ascend without repetition and `columns` is not negative, InvalidType unless `dtype` is f32 or
  // f64, std::bad_alloc.
  SparseRows(std::vector<std::int64_t> ids, std::int64_t columns, DType dtype);

  std::span<const std::int64_t> ids() const noexcept { return ids_; }
  std::int64_t columns() const noexcept { return columns_; }
  DType dtype() const noexcept { return dtype_; }
  // Row after row, the first one aligned to 64 bytes.
  void* values() noexcept { return values_.get(); }
  const void* values() const noexcept { return values_.get(); }

  // add_rows of these.
  void add_to(const View& w, double alpha = 1.0, int max_threads = 0) const;

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::vector<std::int64_t> ids_;
  std::int64_t columns_ = 0;
  DType dtype_ = DType::f32;
  std::unique_ptr<void, Free> values_;
};

// w[ids[i]] += alpha * values[i], without a copy of w: a step of gradient descent with alpha the
// negative learning rate.
//
// w: a matrix of a floating type, or one dimension; strides and byte order as they are. ids: i64 of
// shape (U), ascending without repetition. values: (U, columns of w), or (U) where w has one
// dimension; any type. Products and sums are rounded to float64 where w is float64, else to
// float32, and results to the type of w; alpha and values are rounded to it first. So the result
// does not depend on max_threads (as in Options).
// Throws InvalidArgument (or a class derived from it) where a shape, dtype or overlap is not
// acceptable, InvalidIndex for an id that w does not have; w is then untouched.
void add_rows(const View& w, const ConstView& ids, const ConstView& values, double alpha = 1.0,
              int max_threads = 0);

// The sums of rows of equal ids, added in the order in which they appear.
//
// ids: i64 of shape (M), in any order. values: (M, D), or (M) for D = 1; any type. Sums are float64
// where values are float64 or integers, else float32.
// Throws InvalidArgument (or a class derived from it), InvalidIndex for an id outside
// [0, num_rows), std::bad_alloc.
SparseRows coalesce_rows(const ConstView& ids, const ConstView& values, std::int64_t num_rows,
                         int max_threads = 0);

}  // namespace fastsoftmax
