// Sums of a block's elements or products, in the order of kernels/dot.h.
#pragma once

#include "cuda/tile_sum.h"
#include "kernels/dot.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::SumPair;

// The lanes that a thread of a group has: in double for f32,
template <class A, bool F32 = sizeof(typename A::T) == sizeof(float)>
struct DotLanes {
  double sum[kPerThread<A>] = {};

  FASTSOFTMAX_HD void add(int c, float x) { sum[c] = sum[c] + static_cast<double>(x); }
  FASTSOFTMAX_HD void add_product(int c, float x, float y) {
    sum[c] = fused(static_cast<double>(x), static_cast<double>(y), sum[c]);
  }
  template <class Group>
  FASTSOFTMAX_HD SumPair join(const Group& group) const {
    double w[kPerThread<A>];
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      w[c] = sum[c];
      for (int mask = kGroup / 2; mask > 0; mask /= 2) w[c] = w[c] + group.exchange(w[c], mask);
    }
    static_assert(kPerThread<A> == 4);
    return {(w[0] + w[2]) + (w[1] + w[3]), 0.0};
  }
};
// with their errors for f64.
template <class A>
struct DotLanes<A, false> {
  ThreadLanes<A> lanes{};

  FASTSOFTMAX_HD void add(int c, double x) {
    add_carried<A, false>(lanes.sum[c], lanes.error[c], x, x);
  }
  FASTSOFTMAX_HD void add_product(int c, double x, double y) {
    add_carried<A, true>(lanes.sum[c], lanes.error[c], x, y);
  }
  template <class Group>
  FASTSOFTMAX_HD SumPair join(const Group& group) const {
    const Sum2 sum = join_lanes<A, false>(group, lanes);
    return {sum.hi, sum.lo};
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
