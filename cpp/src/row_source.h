// Rows of a matrix of any type and strides for kernels that choose among them: as they lie, or
// converted one by one.
#pragma once

#include <cstdint>

#include "call.h"
#include "kernels/layer_table.h"
#include "linear_matrix.h"

namespace fastsoftmax {

template <class T>
class RowSource {
 public:
  // Throws unless the view has two dimensions.
  RowSource(const ConstView& view, const char* what);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  bool is_direct() const { return direct_; }

  // Rows of numbers ids[i] - first_id, or first_id + i without ids, as kernels take them; where
  // they have to be converted, in `buffer`, which has room for them.
  kernels::ChosenRows choose(const std::int32_t* ids, std::int64_t count, std::int32_t first_id,
                             T* buffer) const;
  // All of them; `memory` keeps what is converted.
  kernels::ChosenRows all(Buffer<T>& memory) const;
  void copy(std::int64_t row, T* to) const;

 private:
  Call call_;
  std::int64_t rows_;
  std::int64_t columns_;
  bool direct_;
  const char* data_;
  std::int64_t stride_;
};

extern template class RowSource<float>;
extern template class RowSource<double>;

}  // namespace fastsoftmax
