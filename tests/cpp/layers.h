// What tests of output layers share: a product that is written out, and arrays.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "corpus.h"
#include "fastsoftmax/linear.hpp"
#include "fastsoftmax/sparse_rows.hpp"
#include "run.h"

namespace tests {

template <class T>
void multiply_as(const fs::Matrix& a, const fs::Matrix& b, const fs::Matrix& out) {
  const auto at = [](const fs::Matrix& m, std::int64_t r, std::int64_t c) -> T& {
    return *reinterpret_cast<T*>(static_cast<char*>(m.data) + r * m.row_stride +
                                 c * m.column_stride);
  };
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t c = 0; c < out.columns; ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < a.columns; ++i)
        sum += static_cast<double>(at(a, r, i)) * static_cast<double>(at(b, i, c));
      at(out, r, c) = static_cast<T>(sum);
    }
  }
}

// For fs::Matmul. An element does not depend on how the product is cut. Checks what is promised of
// operands, and counts: `calls` is an int, or null.
inline void multiply(void* calls, const fs::Matrix& a, const fs::Matrix& b, const fs::Matrix& out) {
  if (calls != nullptr) ++*static_cast<int*>(calls);
  const std::int64_t item = fs::itemsize(out.dtype);
  for (const fs::Matrix* m : {&a, &b, &out}) {
    CHECK(m->dtype == out.dtype);
    const bool by_rows = m->column_stride == item && m->row_stride >= m->columns * item;
    const bool by_columns = m->row_stride == item && m->column_stride >= m->rows * item;
    CHECK((by_rows || by_columns));
    CHECK((m->rows > 0 && m->columns > 0));
  }
  CHECK(out.column_stride == item);
  CHECK(a.rows == out.rows);
  CHECK(a.columns == b.rows);
  CHECK(b.columns == out.columns);
  if (out.dtype == fs::DType::f64)
    multiply_as<double>(a, b, out);
  else
    multiply_as<float>(a, b, out);
}

inline Array random_array(Random& random, fs::DType dtype, const Shape& shape, double scale = 1.0) {
  Array array = dense(dtype, shape);
  std::vector<double> values(array.bytes.size() / item_bytes(dtype));
  for (double& v : values) v = scale * random.normal();
  array.bytes = encode(dtype, values);
  return array;
}

// Without a shape one dimension.
inline Array integers(const std::vector<std::int64_t>& values, Shape shape = {}) {
  if (shape.empty()) shape = {static_cast<std::int64_t>(values.size())};
  Array array = dense(fs::DType::i64, shape);
  if (!values.empty())
    std::memcpy(array.bytes.data(), values.data(), values.size() * sizeof values[0]);
  return array;
}

inline Bytes bytes_of(const fs::SparseRows& rows) {
  const auto* const values = static_cast<const unsigned char*>(rows.values());
  const auto size =
      rows.ids().size() * static_cast<std::size_t>(rows.columns()) * item_bytes(rows.dtype());
  return size == 0 ? Bytes() : Bytes(values, values + size);
}

}  // namespace tests
