// Mean and deviation of scores, to the bits of score_moments.h.
#pragma once

#include "cuda/sample_passes.h"
#include "kernels/filters.h"
#include "kernels/weighted_term.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Of a list under its softmax.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] MeanScore<typename Crew::T> mean_of(Crew crew,
                                                                     const typename Crew::T* list,
                                                                     std::int64_t count,
                                                                     typename Crew::T max,
                                                                     typename Crew::T exponent) {
  using A = typename Crew::A;
  const auto rounder = sum_rounder<A>(exponent);
  double mass = 0.0;
  double all_weighted = 0.0;
  in_rounds(crew, count, [&](std::int64_t start, int size) {
    if (size > 0) fetch(crew, list, start, size);
    ThreadLanes<A> weighted{};
    for_each_own(crew, size, [&](int at, const auto& pack) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c) {
        if (at + c < size)
          weighted.sum[c] =
              add_weighted<A>(weighted.sum[c], ExtExp<A>::term(pack.v[c], rounder), pack.v[c], max);
      }
    });
    const Sum2 sum = sum_of(crew, size, exponent);
    const double of_group = join_lanes<A, true>(crew, weighted).hi;
    share(crew, {sum.hi + sum.lo, of_group, 0}, [&](int, const SampleNote& note) {
      mass += note.mass;
      all_weighted += note.other;
    });
  });
  return {max, all_weighted, mass};
}

// Of the row.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] double deviation_of(Crew crew, std::int64_t length,
                                                     typename Crew::T max) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  constexpr T lowest = ExpConstants<T>::lowest;
  Moments moments{};
  in_rounds(crew, length, [&](std::int64_t start, int size) {
    if (size > 0) fetch(crew, nullptr, start, size);
    ThreadLanes<A> distances{};
    ThreadLanes<A> squared{};
    int finite = 0;
    for_each_own(crew, size, [&](int at, const auto& pack) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c) {
        if (at + c >= size) continue;
        const T z = pack.v[c];
        finite += z > lowest ? 1 : 0;
        const T distance = A::sub(max, A::select_above(z, lowest, max));
        distances.sum[c] = A::add(distances.sum[c], distance);
        squared.sum[c] = A::fma(distance, distance, squared.sum[c]);
      }
    });
    const double of_distances = join_lanes<A, true>(crew, distances).hi;
    const double of_squares = join_lanes<A, true>(crew, squared).hi;
    for (int mask = kGroup / 2; mask > 0; mask /= 2) finite += crew.exchange(finite, mask);
    share(crew, {of_distances, of_squares, finite}, [&](int, const SampleNote& note) {
      moments.sum += note.mass;
      moments.squares += note.other;
      moments.count += note.count;
    });
  });
  return moments.deviation();
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
