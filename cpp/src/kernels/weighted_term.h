// A term times its distance from the maximum, as sums of e^(z - M) (M - z) have it.
#pragma once

#include "kernels/kernel_table.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Where a term is not zero, M - z is below this.
template <class T>
constexpr T kFurthest = T(1024);

template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline typename A::reg add_weighted(typename A::reg sum,
                                                                          typename A::reg term,
                                                                          typename A::reg z,
                                                                          typename A::reg max) {
  const auto furthest = A::set1(kFurthest<typename A::T>);
  return A::fma(term, A::min(furthest, A::sub(max, z)), sum);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
