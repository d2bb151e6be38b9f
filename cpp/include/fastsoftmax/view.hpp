// Non-owning views of N-dimensional arrays, as NumPy describes them: shape in elements, strides in
// bytes (any sign, zero included). A view borrows its shape and strides.
#pragma once

#include <cstdint>
#include <span>

#include "fastsoftmax/types.hpp"

namespace fastsoftmax {

struct ConstView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;  // bytes; same length as shape
  bool byteswapped = false;               // elements are in the other byte order
};

struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;
  bool byteswapped = false;
};

}  // namespace fastsoftmax
