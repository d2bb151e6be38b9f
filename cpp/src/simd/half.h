// Scalar conversions between f32 and the 16-bit formats: widening is exact, narrowing rounds to
// nearest even (subnormals included); a NaN becomes the canonical quiet one.
#pragma once

#include <cstdint>
#include <type_traits>

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

FASTSOFTMAX_HD inline float to_f32(float v) { return v; }
FASTSOFTMAX_HD inline float to_f32(bf16 v) {
  return float_of(static_cast<std::uint32_t>(v.bits) << 16);
}
FASTSOFTMAX_HD inline float to_f32(f16 v) {
#ifdef __CUDA_ARCH__
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(v.bits));
  return wide;
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(v.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = v.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u) return float_of(sign | ((magnitude << 13) + (112u << 23)));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return sign != 0 ? -subnormal : subnormal;
#endif
}

FASTSOFTMAX_HD inline void from_f32(float v, float* out) { *out = v; }
FASTSOFTMAX_HD inline void from_f32(float v, bf16* out) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint16_t rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(v));
#else
  const std::uint32_t u = bits_of(v);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
#endif
  out->bits = static_cast<std::uint16_t>(v != v ? 0x7fc0u : rounded);
}
FASTSOFTMAX_HD inline void from_f32(float v, f16* out) {
#ifdef __CUDA_ARCH__
  std::uint16_t rounded;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(rounded) : "f"(v));
  out->bits = v != v ? std::uint16_t{0x7e00} : rounded;
#else
  const std::uint32_t u = bits_of(v);
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t magnitude = u & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    out->bits = 0x7e00u;
    return;
  }
  if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {
    half = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else {
    // Adding 2^-1 aligns the subnormal's last place with that of the sum, so the addition rounds.
    half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  }
  out->bits = static_cast<std::uint16_t>(sign | half);
#endif
}

// Two at a time, the first in the low half. A device's NaN, 0x7fff, is the largest of signed
// halves.
template <class Half>
FASTSOFTMAX_HD inline std::uint32_t two_from_f32(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  std::uint32_t two;
  if constexpr (std::is_same_v<Half, f16>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(second), "f"(first));
    return __vmins2(two, 0x7e007e00u);
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(second), "f"(first));
    return __vmins2(two, 0x7fc07fc0u);
  }
#else
  Half low;
  Half high;
  from_f32(first, &low);
  from_f32(second, &high);
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
#endif
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
