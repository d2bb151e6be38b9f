// Scalar conversions between f32 and the 16-bit formats: widening is exact, narrowing rounds to
// nearest even (subnormals included); a NaN becomes the canonical quiet one.
#pragma once

#include <cstdint>

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

FASTSOFTMAX_HD inline float to_f32(float v) { return v; }
FASTSOFTMAX_HD inline float to_f32(bf16 v) {
  return float_of(static_cast<std::uint32_t>(v.bits) << 16);
}
FASTSOFTMAX_HD inline float to_f32(f16 v) {
  const std::uint32_t sign = static_cast<std::uint32_t>(v.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = v.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u) return float_of(sign | ((magnitude << 13) + (112u << 23)));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return sign != 0 ? -subnormal : subnormal;
}

FASTSOFTMAX_HD inline void from_f32(float v, float* out) { *out = v; }
FASTSOFTMAX_HD inline void from_f32(float v, bf16* out) {
  const std::uint32_t u = bits_of(v);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  out->bits = static_cast<std::uint16_t>(v != v ? 0x7fc0u : rounded);
}
FASTSOFTMAX_HD inline void from_f32(float v, f16* out) {
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
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
