// Arrays that own their memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "elements.h"
#include "fastsoftmax/view.hpp"
#include "kernels/kernel_table.h"

namespace tests {

using Shape = std::vector<std::int64_t>;

inline std::size_t item_bytes(fs::DType dtype) {
  return static_cast<std::size_t>(fs::itemsize(dtype));
}

inline std::size_t block_of(fs::DType dtype) {
  return static_cast<std::size_t>(dtype == fs::DType::f64 ? fs::kernels::kBlockF64
                                                          : fs::kernels::kBlockF32);
}

// C-order strides in bytes.
inline Shape dense_strides(const Shape& shape, fs::DType dtype) {
  Shape strides(shape.size());
  std::int64_t step = fs::itemsize(dtype);
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

struct Array {
  fs::DType dtype;
  Shape shape;
  Shape strides;  // bytes
  Bytes bytes;
  std::size_t offset = 0;  // of element (0, ..., 0)
  bool byteswapped = false;

  fs::ConstView view() const { return {bytes.data() + offset, dtype, shape, strides, byteswapped}; }
  fs::View out() { return {bytes.data() + offset, dtype, shape, strides, byteswapped}; }
};

inline Array dense(fs::DType dtype, Shape shape, Bytes bytes) {
  Shape strides = dense_strides(shape, dtype);
  return {dtype, std::move(shape), std::move(strides), std::move(bytes)};
}

inline constexpr unsigned char kUnwritten = 0xa5;  // no result consists of it

inline Array dense(fs::DType dtype, const Shape& shape) {
  std::size_t size = item_bytes(dtype);
  for (const std::int64_t n : shape) size *= static_cast<std::size_t>(n);
  return dense(dtype, shape, Bytes(size, kUnwritten));
}

// f(byte offset) for every element in C order.
template <class F>
void for_each_element(const Array& a, F&& f, std::size_t axis = 0, std::int64_t at = 0) {
  if (axis == a.shape.size()) return f(a.offset + static_cast<std::size_t>(at));
  for (std::int64_t i = 0; i < a.shape[axis]; ++i, at += a.strides[axis]) {
    if (axis + 1 == a.shape.size())
      f(static_cast<std::size_t>(static_cast<std::int64_t>(a.offset) + at));
    else
      for_each_element(a, f, axis + 1, at);
  }
}

inline void copy_element(unsigned char* to, const unsigned char* from, std::size_t item,
                         bool swapped) {
  switch (item) {
    case 8:
      std::memcpy(to, from, 8);
      break;
    case 4:
      std::memcpy(to, from, 4);
      break;
    case 2:
      std::memcpy(to, from, 2);
      break;
    default:
      *to = *from;
  }
  if (swapped) std::reverse(to, to + item);
}

// The elements in C order and in this machine's byte order.
inline Bytes to_dense(const Array& a) {
  const std::size_t item = item_bytes(a.dtype);
  std::size_t size = item;
  for (const std::int64_t n : a.shape) size *= static_cast<std::size_t>(n);
  Bytes bytes(size);
  unsigned char* to = bytes.data();
  for_each_element(a, [&](std::size_t at) {
    copy_element(to, a.bytes.data() + at, item, a.byteswapped);
    to += item;
  });
  return bytes;
}

// Sets the elements; `elements` as to_dense gives them.
inline void from_dense(Array& a, const Bytes& elements) {
  const std::size_t item = item_bytes(a.dtype);
  const unsigned char* from = elements.data();
  for_each_element(a, [&](std::size_t at) {
    copy_element(a.bytes.data() + at, from, item, a.byteswapped);
    from += item;
  });
}

// Memory for any strides (bytes), with `margin` bytes before and behind.
inline Array strided(fs::DType dtype, const Shape& shape, const Shape& strides,
                     std::size_t margin = 0) {
  std::int64_t before = 0;
  std::int64_t behind = fs::itemsize(dtype);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t reach = std::max<std::int64_t>(shape[i] - 1, 0) * strides[i];
    (reach < 0 ? before : behind) += std::abs(reach);
  }
  const std::size_t offset = margin + static_cast<std::size_t>(before);
  return {dtype, shape, strides,
          Bytes(offset + static_cast<std::size_t>(behind) + margin, kUnwritten), offset};
}

// Whether nothing but elements has been written since strided().
inline bool margins_kept(const Array& a) {
  Bytes rest = a.bytes;
  const auto item = static_cast<std::ptrdiff_t>(item_bytes(a.dtype));
  for_each_element(a, [&](std::size_t at) {
    std::fill_n(rest.begin() + static_cast<std::ptrdiff_t>(at), item, kUnwritten);
  });
  return std::count(rest.begin(), rest.end(), kUnwritten) == std::ssize(rest);
}

// Ways in which a matrix of rows x n, reduced along its second axis, may lie in memory.
enum class Layout { rows, every_second, columns, padded_columns };
inline constexpr std::array kLayouts = {Layout::rows, Layout::every_second, Layout::columns,
                                        Layout::padded_columns};
inline const char* name(Layout layout) {
  constexpr const char* names[] = {"rows", "every second", "columns", "padded columns"};
  return names[static_cast<int>(layout)];
}

inline Array matrix(fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout,
                    std::size_t margin = 0) {
  const std::int64_t item = fs::itemsize(dtype);
  switch (layout) {
    case Layout::rows:
      return strided(dtype, {rows, n}, {n * item, item}, margin);
    case Layout::every_second:
      return strided(dtype, {rows, n}, {2 * n * item, 2 * item}, margin);
    case Layout::columns:
      return strided(dtype, {rows, n}, {item, rows * item}, margin);
    default:
      return strided(dtype, {rows, n}, {item, (rows + 3) * item}, margin);
  }
}

}  // namespace tests
