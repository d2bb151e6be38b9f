// Gradients of the elements of a block in memory.
#pragma once

#include "kernels/gradient_element.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;

// dx of g and y, where hi + lo is the sum.
template <class A, RowOp O, bool Divides>
[[gnu::always_inline]] inline typename A::reg gradient(typename A::reg g, typename A::reg y,
                                                       typename A::reg hi, typename A::reg lo,
                                                       typename A::reg divisor,
                                                       typename A::reg nan) {
  auto v = undivided_gradient<A, O>(g, y, hi, lo);
  if constexpr (Divides) v = A::div(v, divisor);
  return A::select_equal(v, v, v, nan);
}

template <class A, RowOp O, bool Divides, class In, class Out>
[[gnu::always_inline]] inline void write_gradient(const In* g, const In* y, Out* out, int count,
                                                  const SumPair& sum, typename A::T temperature,
                                                  bool stream, std::int64_t ahead) {
  using T = typename A::T;
  const ArithmeticPair<T> total(sum);
  const auto hi = A::set1(total.hi);
  const auto lo = A::set1(total.lo);
  const auto divisor = A::set1(temperature);
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  map_block<A>(out, count, stream, [&](int i, auto part) __attribute__((always_inline)) {
    const auto v = load<A>(g + i, part, fill);
    const auto p = load<A>(y + i, part, fill);
    if constexpr (O == RowOp::log_softmax) prefetch(y + i, ahead);
    return gradient<A, O, Divides>(v, p, hi, lo, divisor, nan);
  });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
