// Rows of a matrix of any type and strides as a product takes them, and memory for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "call.h"
#include "fastsoftmax/linear.hpp"

namespace fastsoftmax {

template <class T>
constexpr DType dtype_of_arithmetic = std::is_same_v<T, double> ? DType::f64 : DType::f32;

// Aligned to a cache line, and in huge pages where it is large and the system has them: a product
// that writes to many small ones is slower. Throws std::bad_alloc.
void* allocate_aligned(std::size_t bytes);

// Uninitialised; what it held is lost where it grows.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : memory_(std::move(other.memory_)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  T* reserve(std::int64_t count) {
    if (count > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(static_cast<T*>(allocate_aligned(static_cast<std::size_t>(count) * sizeof(T))));
      size_ = count;
    }
    return memory_.get();
  }
  T* get() const { return memory_.get(); }
  std::int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> memory_;
  std::int64_t size_ = 0;
};

// Row after row, `stride` elements apart.
template <class T>
Matrix matrix_of(T* data, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  constexpr std::int64_t item = sizeof(T);
  return {data, dtype_of_arithmetic<T>, rows, columns, stride * item, item};
}
inline Matrix transposed(const Matrix& m) {
  return {m.data, m.dtype, m.columns, m.rows, m.column_stride, m.row_stride};
}

// out = a b, without asking the product for what is empty, or for sums without terms.
template <class T>
void multiply(const Matmul& matmul, const Matrix& a, const Matrix& b, const Matrix& out);

// Rows of a matrix as rows of type T to fetch. Throws unless the view has two dimensions.
template <class T>
Call columns_of_matrix(const ConstView& view, const char* what);
// Row `row` of such a call, converted; returns where the next one goes.
template <class T>
T* convert_row(const Call& call, std::int64_t row, T* to);

template <class T>
class MatrixRows {
 public:
  // Throws unless the view has two dimensions.
  MatrixRows(const ConstView& view, const char* what);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  // Whether rows are read as they lie, however many.
  bool is_direct() const { return direct_; }

  // Rows [first, first + count), and those with the given numbers. Valid until the next read.
  Matrix read(std::int64_t first, std::int64_t count);
  Matrix read(std::span<const std::int64_t> rows);

 private:
  Call call_;
  std::int64_t rows_;
  std::int64_t columns_;
  Matrix whole_;  // where direct
  bool direct_;
  Buffer<T> buffer_;
  std::int64_t first_ = 0;  // what the buffer holds
  std::int64_t count_ = 0;
};

// The elements of a view of one dimension and any type.
template <class T>
std::vector<T> converted_elements(const ConstView& view, const char* what);

extern template class MatrixRows<float>;
extern template class MatrixRows<double>;

}  // namespace fastsoftmax
