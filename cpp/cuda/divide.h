// Scores over the temperature of their row, as IEEE division rounds them.
//
//   q = z r,  then twice  q += (z - q t) r     with r = 1/t, rounded, and each step fused
//
// Domain: f32, 2^-96 <= |z| <= 2^96, 2^-20 <= t <= 2^20, where nothing over- or underflows; what is
// outside is divided, as a whole. The first step brings q within a unit in the last place, from
// where the second is rounded as the quotient is. Five operations that do not wait for one another,
// instead of a division each.
//
// Source: Markstein (1990), Computation of elementary functions on the IBM RISC System/6000.
#pragma once

#include "cuda/interface.h"
#include "simd/vec_cuda.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Twice the bits of a number, without its sign, grow with its magnitude.
FASTSOFTMAX_HD inline bool divides_in_steps(float z) {
  constexpr std::uint32_t least = (127u - 96u) << 24;
  constexpr std::uint32_t most = (127u + 96u) << 24;
  return (bits_of(z) << 1) - least <= most - least;
}
FASTSOFTMAX_HD inline float divided_in_steps(float z, float t, float r) {
  float q = z * r;
  q = fused(fused(-q, t, z), r, q);
  return fused(fused(-q, t, z), r, q);
}

template <class A, int N>
FASTSOFTMAX_HD inline void divide(typename A::T* v, typename A::T t) {
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    bool in_steps = t >= 0x1p-20f && t <= 0x1p20f;
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < N; ++i) in_steps = in_steps & divides_in_steps(v[i]);
    if (in_steps) {
      const float r = A::div(1.0f, t);
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < N; ++i) v[i] = divided_in_steps(v[i], t, r);
      return;
    }
  }
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < N; ++i) v[i] = A::div(v[i], t);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
