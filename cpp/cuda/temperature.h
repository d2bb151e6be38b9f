// The temperature of a row, which may be an element of an array of any type. Values on a device
// cannot be refused: one that is not positive and finite is NaN, and so makes its row NaN.
#pragma once

#include "cuda/element.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

FASTSOFTMAX_HD [[gnu::noinline]] inline double number_at(const char* p, DType dtype) {
  double number = 0.0;
  with_element(dtype, p, [&](auto element) { number = static_cast<double>(element); });
  return number;
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
