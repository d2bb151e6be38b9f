// Sums beside an exponent: (hi + lo) * 2^(exponent - bias). Rescaling by a power of two is exact,
// so a sum does not depend on which exponent it was kept under.
#pragma once

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Terms are kept 2^64 above their true scale, so that those down to 2^-190 of the largest stay
// normal numbers; smaller ones are exact zeros.
constexpr int kSumBias = 64;

struct Sum2 {
  double hi, lo;
};

FASTSOFTMAX_HD inline Sum2 two_sum(double a, double b) {
  const double sum = a + b;
  const double other = sum - a;
  return {sum, (a - (sum - other)) + (b - other)};
}

// 2^e, and 0 below 2^-1022.
FASTSOFTMAX_HD inline double power_of_two(std::int64_t e) {
  const std::int64_t field = e < -1022 ? 0 : (e > 1023 ? 1023 : e) + 1023;
  return double_of(static_cast<std::uint64_t>(field) << 52);
}

// Exponent of a positive normal number: 2^e <= v < 2^(e+1).
FASTSOFTMAX_HD inline int exponent_of(double v) {
  return static_cast<int>(bits_of(v) >> 52) - 1023;
}

// Joins block sums, in the order of the blocks, with the rounding errors carried in `lo`.
struct ExtSum {
  double hi = 0.0;
  double lo = 0.0;
  std::int32_t exponent = -(1 << 28);

  FASTSOFTMAX_HD [[gnu::always_inline]] void join(double block_hi, double block_lo,
                                                  std::int32_t block_exponent) {
    if (block_exponent > exponent)
      raise(block_exponent);
    else if (block_exponent < exponent)
      scale_down(block_hi, block_lo, std::int64_t{block_exponent} - exponent);
    add(block_hi, block_lo);
  }
  // To an exponent that is not below its own.
  FASTSOFTMAX_HD [[gnu::always_inline]] void raise(std::int32_t to) {
    scale_down(hi, lo, std::int64_t{exponent} - to);
    exponent = to;
  }
  // Of a block with the same exponent.
  FASTSOFTMAX_HD [[gnu::always_inline]] void add(double block_hi, double block_lo) {
    const Sum2 s = two_sum(hi, block_hi);
    hi = s.hi;
    lo += s.lo + block_lo;
  }

  // Times 2^e, in two steps: sums are kept 2^kSumBias above their scale, so that f64 terms weigh
  // something down to e = -1022 - kSumBias.
  FASTSOFTMAX_HD [[gnu::always_inline]] static void scale_down(double& hi_, double& lo_,
                                                               std::int64_t e) {
    constexpr std::int64_t far = -900;
    const double f = power_of_two(e < far ? far : e);
    const double g = power_of_two(e < far ? e - far : 0);
    hi_ = hi_ * f * g;
    lo_ = lo_ * f * g;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
