// Integers that compare as numbers do, no NaN among them; -0 equals +0.
#pragma once

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class T>
struct OrderedBits;
template <>
struct OrderedBits<float> {
  using U = std::uint32_t;
  static constexpr U sign = U{1} << 31;
};
template <>
struct OrderedBits<double> {
  using U = std::uint64_t;
  static constexpr U sign = U{1} << 63;
};
template <class T>
using Ordered = typename OrderedBits<T>::U;

// An integer that compares as the number does.
template <class T>
FASTSOFTMAX_HD inline Ordered<T> ordered(T v) {
  constexpr auto sign = OrderedBits<T>::sign;
  const auto u = bits_of(v + T(0));
  return (u & sign) != 0 ? ~u : u | sign;
}
FASTSOFTMAX_HD inline float from_ordered(std::uint32_t u) {
  return float_of((u & OrderedBits<float>::sign) != 0 ? u ^ OrderedBits<float>::sign : ~u);
}
FASTSOFTMAX_HD inline double from_ordered(std::uint64_t u) {
  return double_of((u & OrderedBits<double>::sign) != 0 ? u ^ OrderedBits<double>::sign : ~u);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
