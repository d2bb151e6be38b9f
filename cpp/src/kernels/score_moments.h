// Mean and deviation of scores, as filters.h asks for them, on a CPU.
#pragma once

#include "kernels/filters.h"
#include "kernels/select.h"
#include "kernels/stats.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Standard deviation of the scores.
template <class A, class Source>
[[gnu::noinline]] double deviation(Source& source, std::int64_t length, typename A::T max) {
  using T = typename A::T;
  const auto lowest = A::set1(ExpConstants<T>::lowest);
  const auto top = A::set1(max);
  Moments moments;
  const std::int64_t blocks = blocks_of<A>(length);
  for_each_block<A>(length, 0, blocks, [&](std::int64_t, std::int64_t start, int size) {
    const auto* x = source.block(start, size);
    LaneSums<A> distances;
    LaneSums<A> squared;
    for_each_vector<A>(size, [&](int v, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      moments.count += count_bits<A>(A::above(z, lowest) & in_use(part));
      const auto distance = A::sub(top, A::select_above(z, lowest, top));
      distances.sum.r[v] = A::add(distances.sum.r[v], distance);
      squared.sum.r[v] = A::fma(distance, distance, squared.sum.r[v]);
    });
    moments.sum += join<A, true>(distances).hi;
    moments.squares += join<A, true>(squared).hi;
  });
  return moments.deviation();
}

template <class A>
inline MeanScore<typename A::T> mean_score(const typename A::T* list, std::int64_t count,
                                           typename A::T max, typename A::T exponent) {
  double weighted = 0.0;
  double mass = 0.0;
  for (std::int64_t i = 0; i < count; i += A::block) {
    const std::int64_t left = count - i;
    const WeightedSum<A> sum = weighted_sum<A>(
        list + i, left < A::block ? static_cast<int>(left) : A::block, max, exponent);
    mass += sum.sum.hi + sum.sum.lo;
    weighted += sum.weighted;
  }
  return {max, weighted, mass};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
