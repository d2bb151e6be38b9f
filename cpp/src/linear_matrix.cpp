#include "linear_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <string>

#include "axis_call.h"
#include "gather.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

// BLAS counts in 32 bits, as a rule.
constexpr std::int64_t kLargestStride = INT32_MAX;

// Whether a product can take a matrix as it lies; strides along axes of length 1 are made up.
template <class T>
bool make_direct(const ConstView& view, const Call& call, Matrix& whole) {
  constexpr std::int64_t item = sizeof(T);
  if (!call.aligned) return false;
  whole = {const_cast<void*>(view.data),
           view.dtype,
           view.shape[0],
           view.shape[1],
           view.strides[0],
           view.strides[1]};
  if (whole.columns <= 1) whole.column_stride = item;
  const bool by_rows = whole.column_stride == item;
  std::int64_t& step = by_rows ? whole.row_stride : whole.column_stride;
  const std::int64_t length = by_rows ? whole.columns : whole.rows;
  if (by_rows && whole.rows <= 1) step = length * item;
  if (!by_rows && whole.row_stride != item) return false;
  return step >= length * item && step % item == 0 && step / item <= kLargestStride;
}

}  // namespace

template <class T>
Call columns_of_matrix(const ConstView& view, const char* what) {
  check_view(view, what);
  check_data(view, what);
  if (view.shape.size() != 2)
    throw InvalidArgument(std::string(what) + " must have 2 dimensions, not shape " +
                          shape_text(view.shape));
  Options options;
  options.dtype = dtype_of_arithmetic<T>;
  return axis_call(view, 1, options);
}

template <class T>
T* convert_row(const Call& call, std::int64_t row, T* to) {
  constexpr std::int64_t most = 1 << 20;  // fetch_row counts in int
  for (std::int64_t start = 0; start < call.row_length; start += most) {
    const std::int64_t count = std::min(most, call.row_length - start);
    fetch_row(&call, row, start, static_cast<int>(count), to + start);
  }
  return to + call.row_length;
}

template Call columns_of_matrix<float>(const ConstView& view, const char* what);
template Call columns_of_matrix<double>(const ConstView& view, const char* what);
template float* convert_row(const Call& call, std::int64_t row, float* to);
template double* convert_row(const Call& call, std::int64_t row, double* to);

void* allocate_aligned(std::size_t bytes) {
  constexpr std::size_t line = 64;
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t alignment = bytes < huge_page ? line : huge_page;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, std::max(rounded, alignment));
  if (memory == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (alignment == huge_page) static_cast<void>(madvise(memory, rounded, MADV_HUGEPAGE));
#endif
  return memory;
}

template <class T>
MatrixRows<T>::MatrixRows(const ConstView& view, const char* what)
    : call_(columns_of_matrix<T>(view, what)),
      rows_(view.shape[0]),
      columns_(view.shape[1]),
      direct_(make_direct<T>(view, call_, whole_)) {}

template <class T>
Matrix MatrixRows<T>::read(std::int64_t first, std::int64_t count) {
  if (direct_) {
    Matrix part = whole_;
    part.data = static_cast<char*>(whole_.data) + first * whole_.row_stride;
    part.rows = count;
    return part;
  }
  T* const buffer = buffer_.reserve(count * columns_);
  if (first != first_ || count != count_) {
    T* to = buffer;
    for (std::int64_t r = first; r < first + count; ++r) to = convert_row(call_, r, to);
    first_ = first;
    count_ = count;
  }
  return matrix_of(buffer, count, columns_, columns_);
}

template <class T>
Matrix MatrixRows<T>::read(std::span<const std::int64_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const bool together = rows.empty() || rows.back() - rows.front() == count - 1;
  if (together) return read(rows.empty() ? 0 : rows.front(), count);
  count_ = 0;
  T* const buffer = buffer_.reserve(count * columns_);
  T* to = buffer;
  for (const std::int64_t r : rows) to = convert_row(call_, r, to);
  return matrix_of(buffer, count, columns_, columns_);
}

template <class T>
void multiply(const Matmul& matmul, const Matrix& a, const Matrix& b, const Matrix& out) {
  if (out.rows == 0 || out.columns == 0) return;
  if (a.columns > 0) return matmul.run(matmul.context, a, b, out);
  for (std::int64_t r = 0; r < out.rows; ++r)
    std::fill_n(reinterpret_cast<T*>(static_cast<char*>(out.data) + r * out.row_stride),
                out.columns, T(0));
}
template void multiply<float>(const Matmul&, const Matrix&, const Matrix&, const Matrix&);
template void multiply<double>(const Matmul&, const Matrix&, const Matrix&, const Matrix&);

template <class T>
std::vector<T> converted_elements(const ConstView& view, const char* what) {
  check_view(view, what);
  check_data(view, what);
  if (view.shape.size() != 1)
    throw InvalidArgument(std::string(what) + " must have 1 dimension, not shape " +
                          shape_text(view.shape));
  Options options;
  options.dtype = dtype_of_arithmetic<T>;
  const Call call = axis_call(view, 0, options);
  std::vector<T> elements(static_cast<std::size_t>(view.shape[0]));
  convert_row(call, 0, elements.data());
  return elements;
}
template std::vector<float> converted_elements(const ConstView& view, const char* what);
template std::vector<double> converted_elements(const ConstView& view, const char* what);

template class MatrixRows<float>;
template class MatrixRows<double>;

}  // namespace fastsoftmax
