// The temperature of a row, which may be an element of an array of any type. Values on a device
// cannot be refused: one that is not positive and finite is NaN, and so makes its row NaN.
#pragma once

#include "cuda/interface.h"
#include "simd/half.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class In>
FASTSOFTMAX_HD inline double number_at(const char* p) {
  return static_cast<double>(*reinterpret_cast<const In*>(p));
}

FASTSOFTMAX_HD [[gnu::noinline]] inline double number_at(const char* p, DType dtype) {
  switch (dtype) {
    case DType::f16:
      return static_cast<double>(to_f32(*reinterpret_cast<const f16*>(p)));
    case DType::bf16:
      return static_cast<double>(to_f32(*reinterpret_cast<const bf16*>(p)));
    case DType::f32:
      return number_at<float>(p);
    case DType::f64:
      return number_at<double>(p);
    case DType::i8:
      return number_at<std::int8_t>(p);
    case DType::i16:
      return number_at<std::int16_t>(p);
    case DType::i32:
      return number_at<std::int32_t>(p);
    case DType::i64:
      return number_at<std::int64_t>(p);
    case DType::u16:
      return number_at<std::uint16_t>(p);
    case DType::u32:
      return number_at<std::uint32_t>(p);
    case DType::u64:
      return number_at<std::uint64_t>(p);
    case DType::u8:
    case DType::boolean:
      return number_at<std::uint8_t>(p);
  }
  return 0.0;
}

// `call` has a `temperature`, and `temperatures` with their `temperature_dtype`, or null. With
// zero_is_one an element of 0 stands for 1.
template <class T, class Call>
FASTSOFTMAX_HD inline T temperature_of(const Call& call, std::int64_t offset,
                                       bool zero_is_one = false) {
  if (call.temperatures == nullptr) return static_cast<T>(call.temperature);
  const double number = number_at(call.temperatures + offset, call.temperature_dtype);
  if (zero_is_one && number == 0.0) return T(1);
  const T t = static_cast<T>(number);
  return t > T(0) && t - t == T(0) ? t : static_cast<T>(__builtin_nan(""));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
