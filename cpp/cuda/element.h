// An element of an array of any type.
#pragma once

#include "fastsoftmax/types.hpp"
#include "simd/half.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// body(element), which is a number of C++: halves become float, booleans 0 or 1.
template <class Body>
FASTSOFTMAX_HD inline void with_element(DType dtype, const char* at, Body&& body) {
  switch (dtype) {
    case DType::f16:
      return body(to_f32(*reinterpret_cast<const f16*>(at)));
    case DType::bf16:
      return body(to_f32(*reinterpret_cast<const bf16*>(at)));
    case DType::f32:
      return body(*reinterpret_cast<const float*>(at));
    case DType::f64:
      return body(*reinterpret_cast<const double*>(at));
    case DType::i8:
      return body(*reinterpret_cast<const std::int8_t*>(at));
    case DType::i16:
      return body(*reinterpret_cast<const std::int16_t*>(at));
    case DType::i32:
      return body(*reinterpret_cast<const std::int32_t*>(at));
    case DType::i64:
      return body(*reinterpret_cast<const std::int64_t*>(at));
    case DType::u16:
      return body(*reinterpret_cast<const std::uint16_t*>(at));
    case DType::u32:
      return body(*reinterpret_cast<const std::uint32_t*>(at));
    case DType::u64:
      return body(*reinterpret_cast<const std::uint64_t*>(at));
    default:
      return body(*reinterpret_cast<const std::uint8_t*>(at));
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
