#include "fastsoftmax/blas.hpp"

#include <cblas.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace fastsoftmax {
namespace {

// The integer that this BLAS counts in.
template <class Result, class Order, class Transpose, class Count, class... Rest>
Count counts_in(Result (*)(Order, Transpose, Transpose, Count, Rest...));
using Int = decltype(counts_in(&cblas_sgemm));

Int counted(std::int64_t n) {
  if (n > std::numeric_limits<Int>::max())
    throw InvalidArgument("a matrix of length or stride " + std::to_string(n) +
                          " is too large for this BLAS");
  return static_cast<Int>(n);
}

// A factor in the terms of BLAS: row after row, or transposed.
struct Factor {
  CBLAS_TRANSPOSE transpose;
  Int leading;
};

Factor factor(const Matrix& m) {
  const std::int64_t item = itemsize(m.dtype);
  const bool by_rows = m.column_stride == item;
  const std::int64_t least = std::max<std::int64_t>(1, by_rows ? m.columns : m.rows);
  const std::int64_t stride = (by_rows ? m.row_stride : m.column_stride) / item;
  return {by_rows ? CblasNoTrans : CblasTrans, counted(std::max(stride, least))};
}

void multiply(void*, const Matrix& a, const Matrix& b, const Matrix& out) {
  if (out.rows == 0 || out.columns == 0) return;
  const Factor fa = factor(a);
  const Factor fb = factor(b);
  const Int m = counted(out.rows);
  const Int n = counted(out.columns);
  const Int k = counted(a.columns);
  const Int leading = factor(out).leading;
  if (out.dtype == DType::f64) {
    cblas_dgemm(CblasRowMajor, fa.transpose, fb.transpose, m, n, k, 1.0,
                static_cast<const double*>(a.data), fa.leading, static_cast<const double*>(b.data),
                fb.leading, 0.0, static_cast<double*>(out.data), leading);
  } else {
    cblas_sgemm(CblasRowMajor, fa.transpose, fb.transpose, m, n, k, 1.0f,
                static_cast<const float*>(a.data), fa.leading, static_cast<const float*>(b.data),
                fb.leading, 0.0f, static_cast<float*>(out.data), leading);
  }
}

}  // namespace

Matmul blas_matmul() noexcept { return {multiply, nullptr}; }

}  // namespace fastsoftmax
