// Sums of numbers of either sign, and of products: sum_i x_i, or sum_i x_i y_i (Products).
//
// Lanes and their join are those of block.h. In f32 lanes are doubles, in which a product of two
// elements is exact; in f64 they carry the errors of products and sums along.
//
// Error: of a block, relative to the sum of |x_i| or |x_i y_i|: 22 * 2^-53 in f32, where nothing
// over- or underflows; 2^10 * 2^-106 in f64, as long as no product or sum does.
// Special values: the first part of the sum is that of plain additions; the errors beside it may be
// NaN where it is not finite.
//
// Source: Ogita, Rump and Oishi, Accurate Sum and Dot Product (2005).
#pragma once

#include "kernels/block.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// A::join_lanes elements in registers.
template <class A>
struct WideElements {
  static constexpr int count = A::join_lanes / A::width;
  typename A::reg r[count];

  template <class In>
  [[gnu::always_inline]] WideElements(const In* p, Whole) {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < count; ++k) r[k] = A::load(p + k * A::width);
  }
  template <class In>
  [[gnu::always_inline]] WideElements(const In* p, Part part) {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < count; ++k) {
      const int left = part.n - k * A::width;
      r[k] = A::set1(0);
      if (left > 0) r[k] = A::load(p + k * A::width, left < A::width ? left : A::width, r[k]);
    }
  }
};

template <class A, class In, class Count>
[[gnu::always_inline]] inline typename A::Wide load_wide(const In* p, Count count) {
  return A::widen(WideElements<A>(p, count).r);
}
template <class A>
[[gnu::always_inline]] inline typename A::Wide load_wide(const float* p, Whole) {
  return A::widen(p);
}

// Whether products of two elements are exact in f32.
template <class In>
constexpr bool kExactProducts = false;
template <>
constexpr bool kExactProducts<f16> = true;

// sum + x y, rounded once.
template <class A, class In, class Count>
[[gnu::always_inline]] inline typename A::Wide add_product(typename A::Wide sum, const In* x,
                                                           const In* y, Count count) {
  if constexpr (kExactProducts<In>) {
    WideElements<A> products(x, count);
    const WideElements<A> factors(y, count);
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < products.count; ++k) products.r[k] = A::mul(products.r[k], factors.r[k]);
    return A::add(A::widen(products.r), sum);
  } else {
    return A::fma(load_wide<A>(x, count), load_wide<A>(y, count), sum);
  }
}

// The lanes of an f32 block in double, some of them at a time.
template <class A, bool Products, int First = 0, class In>
[[gnu::always_inline]] inline void sum_wide(typename A::Wide* lanes, const In* x, const In* y,
                                            int count) {
  using Wide = typename A::Wide;
  constexpr int width = A::join_lanes;
  constexpr int at_once = A::summed_at_once * A::width / width;
  constexpr std::int64_t kAhead = 2 * A::block * sizeof(In);
  const typename A::reg zeros[width / A::width] = {};
  Wide sum[at_once];
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < at_once; ++v) sum[v] = A::widen(zeros);
  const auto take = [&](int v, int i, auto part) __attribute__((always_inline)) {
    if constexpr (Products)
      sum[v] = add_product<A>(sum[v], x + i, y + i, part);
    else
      sum[v] = A::add(load_wide<A>(x + i, part), sum[v]);
  };
  int i = First * width;
  for (; i - First * width + A::lanes <= count; i += A::lanes) {
    if constexpr (First == 0) {
      prefetch(x + i, kAhead);
      if constexpr (Products) prefetch(y + i, kAhead);
    }
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < at_once; ++v) take(v, i + v * width, Whole{});
  }
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < at_once; ++v, i += width) {
    if (i + width <= count)
      take(v, i, Whole{});
    else if (i < count)
      take(v, i, Part{count - i});
  }
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < at_once; ++v) lanes[First + v] = sum[v];
  if constexpr ((First + at_once) * width < A::lanes)
    sum_wide<A, Products, First + at_once>(lanes, x, y, count);
}

// s + x or s + x y, with the errors added to e. Any of a sum and a term may be the larger.
template <class A, bool Products>
FASTSOFTMAX_HD [[gnu::always_inline]] inline void add_carried(typename A::reg& s,
                                                              typename A::reg& e, typename A::reg x,
                                                              typename A::reg y) {
  auto term = x;
  if constexpr (Products) {
    term = A::mul(x, y);
    e = A::sub(e, A::fnma(x, y, term));
  }
  const auto larger = A::add(s, term);
  const auto other = A::sub(larger, s);
  e = A::add(e, A::add(A::sub(s, A::sub(larger, other)), A::sub(term, other)));
  s = larger;
}

// The lanes of an f64 block with their errors.
template <class A, bool Products, int First = 0>
[[gnu::always_inline]] inline void sum_carried(LaneSums<A>& lanes, const double* x, const double* y,
                                               int count) {
  constexpr int at_once = A::summed_at_once;
  const auto zero = A::set1(0);
  typename A::reg sum[at_once];
  typename A::reg error[at_once];
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < at_once; ++v) sum[v] = error[v] = zero;
  for_each_vector<A, First, at_once>(count, [&](int v, int i,
                                                auto part) __attribute__((always_inline)) {
    const auto factor = Products ? load<A>(y + i, part, zero) : zero;
    add_carried<A, Products>(sum[v - First], error[v - First], load<A>(x + i, part, zero), factor);
  });
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < at_once; ++v) {
    lanes.sum.r[First + v] = sum[v];
    lanes.error.r[First + v] = error[v];
  }
  if constexpr (First + at_once < Lanes<A>::count)
    sum_carried<A, Products, First + at_once>(lanes, x, y, count);
}

template <class A, bool Products, class In>
[[gnu::always_inline]] inline Sum2 sum_of_block(const In* x, const In* y, int count) {
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    static_assert(A::lanes == 4 * A::join_lanes);
    typename A::Wide lanes[4];
    sum_wide<A, Products>(lanes, x, y, count);
    return {A::sum(A::add(A::add(lanes[0], lanes[2]), A::add(lanes[1], lanes[3]))), 0.0};
  } else {
    LaneSums<A> lanes;
    sum_carried<A, Products>(lanes, x, y, count);
    return join<A>(lanes);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
