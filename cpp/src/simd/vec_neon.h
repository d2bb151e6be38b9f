// The Vec layer on AArch64 Advanced SIMD. See vec_scalar.h for what each name promises.
#pragma once

#define FASTSOFTMAX_UNROLL _Pragma("GCC unroll 16")

#include <arm_neon.h>

#include "simd/half.h"
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

struct F32 : F32Contract {
  using reg = float32x4_t;
  static constexpr int width = 4;
  static constexpr int summed_at_once = 8;

  static reg set1(float v) { return vdupq_n_f32(v); }
  static reg load(const float* p) { return vld1q_f32(p); }
  static reg load(const f16* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
  }
  static reg load(const bf16* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
  }
  template <class In>
  static reg load(const In* p, int n, reg fill) {
    if (n == width) return load(p);
    float padded[4];
    vst1q_f32(padded, fill);
    for (int i = 0; i < n; ++i) padded[i] = to_f32(p[i]);
    return vld1q_f32(padded);
  }
  static void store(float* p, reg v) { vst1q_f32(p, v); }
  static void store(f16* p, reg v) {
    vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v)));
  }
  static void store(bf16* p, reg v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(rounded, 16));
  }
  template <class Out>
  static void store(Out* p, reg v, int n) {
    Out all[4];
    store(all, v);
    for (int i = 0; i < n; ++i) p[i] = all[i];
  }
  template <class Out>
  static void stream(Out* p, reg v) {
    store(p, v);
  }

  static reg add(reg a, reg b) { return vaddq_f32(a, b); }
  static reg sub(reg a, reg b) { return vsubq_f32(a, b); }
  static reg mul(reg a, reg b) { return vmulq_f32(a, b); }
  static reg div(reg a, reg b) { return vdivq_f32(a, b); }
  static reg fma(reg a, reg b, reg c) { return vfmaq_f32(c, a, b); }
  static reg fnma(reg a, reg b, reg c) { return vfmsq_f32(c, a, b); }
  static reg max(reg a, reg b) { return vmaxq_f32(a, b); }
  static reg min(reg a, reg b) { return vminq_f32(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return vbslq_f32(vcgtq_f32(v, bound), v, other);
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return vbslq_f32(vceqq_f32(a, b), equal, other);
  }
  static unsigned above(reg v, reg bound) { return bits_of_mask(vmvnq_u32(vcleq_f32(v, bound))); }
  static unsigned at_least(reg v, reg bound) { return bits_of_mask(vcgeq_f32(v, bound)); }
  static void compress(float* p, reg v, unsigned bits) {
    float all[width];
    store(all, v);
    compress_bits(all, p, bits);
  }
  static reg scale_normal(reg v, reg t) {
    const int32x4_t scaled =
        vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vreinterpretq_s32_f32(t), 23));
    const uint32x4_t above = vcgtq_s32(scaled, vdupq_n_s32(0x00800000));
    return vreinterpretq_f32_u32(vandq_u32(above, vreinterpretq_u32_s32(scaled)));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return vreinterpretq_f32_u32(
        vbicq_u32(vreinterpretq_u32_f32(fma(a, b, c)), vcleq_f32(t, least)));
  }
  static reg power(reg t) {
    const uint32x4_t fraction = vreinterpretq_u32_u8(look_up(t, kPowers32));
    return vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 19), fraction));
  }
  static reg power_error(reg t) { return vreinterpretq_f32_u8(look_up(t, kPowerErrors32)); }
  static reg whole(reg t) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(t), vdupq_n_u32(15)));
  }
  static reg fraction(reg t) {
    const uint32x4_t j = vandq_u32(vreinterpretq_u32_f32(t), vdupq_n_u32(15));
    return vreinterpretq_f32_u32(vorrq_u32(j, vdupq_n_u32(127 << 4)));
  }
  static reg scale_down(reg v, reg d) {
    const reg t = add(max(set1(-127.0f), d), set1(127.0f + 0x1.8p23f));
    return mul(v, vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23)));
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return vcvtq_f32_u32(veorq_u32(vld1q_u32(p), vdupq_n_u32(flip)));
  }
  static reg significand(reg v, reg& k) {
    const uint32x4_t up =
        vaddq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0x3f800000 - kLeastSignificand32));
    k = sub(vcvtq_f32_u32(vshrq_n_u32(up, 23)), set1(127.0f));
    return vreinterpretq_f32_u32(
        vaddq_u32(vandq_u32(up, vdupq_n_u32(0x007fffff)), vdupq_n_u32(kLeastSignificand32)));
  }
  static reg sums(const reg* r) {
    reg four[4];
    for (int i = 0; i < 4; ++i, r += 4) four[i] = add(add(r[0], r[2]), add(r[1], r[3]));
    const reg a = pairs(four[0], four[1]);
    const reg b = pairs(four[2], four[3]);
    return add(vuzp1q_f32(a, b), vuzp2q_f32(a, b));
  }
  static float first(reg v) { return vgetq_lane_f32(v, 0); }
  static int first_equal(reg a, reg b) {
    const uint64_t equal = vget_lane_u64(vreinterpret_u64_u16(vmovn_u32(vceqq_f32(a, b))), 0);
    return equal == 0 ? width : __builtin_ctzll(equal) / 16;
  }
  static float reduce_max(reg v) { return vmaxvq_f32(v); }
  static float reduce_min(reg v) { return vminvq_f32(v); }
  struct Wide {
    float64x2_t q[8];
  };
  static Wide widen(const reg* r) {
    Wide w;
    for (int i = 0; i < 4; ++i) {
      w.q[2 * i] = vcvt_f64_f32(vget_low_f32(r[i]));
      w.q[2 * i + 1] = vcvt_high_f64_f32(r[i]);
    }
    return w;
  }
  static Wide widen(const float* p) {
    const reg r[4] = {load(p), load(p + 4), load(p + 8), load(p + 12)};
    return widen(r);
  }
  static void narrow(const Wide& w, reg* hi, reg* lo) {
    for (int i = 0; i < 4; ++i) {
      const float64x2_t a = w.q[2 * i];
      const float64x2_t b = w.q[2 * i + 1];
      hi[i] = vcvt_high_f32_f64(vcvt_f32_f64(a), b);
      lo[i] = vcvt_high_f32_f64(vcvt_f32_f64(vsubq_f64(a, vcvt_f64_f32(vget_low_f32(hi[i])))),
                                vsubq_f64(b, vcvt_high_f64_f32(hi[i])));
    }
  }
  static Wide add(Wide a, Wide b) {
    for (int i = 0; i < 8; ++i) a.q[i] = vaddq_f64(a.q[i], b.q[i]);
    return a;
  }
  static Wide fma(const Wide& a, const Wide& b, Wide c) {
    for (int i = 0; i < 8; ++i) c.q[i] = vfmaq_f64(c.q[i], a.q[i], b.q[i]);
    return c;
  }
  static Wide wide(const double* p) {
    Wide w;
    for (int i = 0; i < 8; ++i) w.q[i] = vld1q_f64(p + 2 * i);
    return w;
  }
  static void store(double* p, const Wide& v) {
    for (int i = 0; i < 8; ++i) vst1q_f64(p + 2 * i, v.q[i]);
  }
  static double sum(Wide v) {
    for (int h = 4; h > 0; h /= 2)
      for (int i = 0; i < h; ++i) v.q[i] = vaddq_f64(v.q[i], v.q[i + h]);
    return vaddvq_f64(v.q[0]);
  }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    split_each<F32>(hi, lo, m_hi, m_lo, q);
  }

 private:
  // Of each, the lower two lanes and the upper two.
  static reg pairs(reg a, reg b) {
    const float64x2_t p = vreinterpretq_f64_f32(a);
    const float64x2_t q = vreinterpretq_f64_f32(b);
    return add(vreinterpretq_f32_f64(vtrn1q_f64(p, q)), vreinterpretq_f32_f64(vtrn2q_f64(p, q)));
  }
  static unsigned bits_of_mask(uint32x4_t mask) {
    constexpr uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(mask, vld1q_u32(weights)));
  }
  // By the low four bits of t: four bytes of the table for each lane.
  static uint8x16_t look_up(reg t, const void* table) {
    const uint32x4_t j = vandq_u32(vreinterpretq_u32_f32(t), vdupq_n_u32(15));
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), j, 0x04040404);
    return vqtbl4q_u8(vld1q_u8_x4(static_cast<const uint8_t*>(table)), vreinterpretq_u8_u32(bytes));
  }
};

struct F64 : F64Contract {
  using reg = float64x2_t;
  static constexpr int width = 2;
  static constexpr int summed_at_once = 8;

  static reg set1(double v) { return vdupq_n_f64(v); }
  static reg load(const double* p) { return vld1q_f64(p); }
  static reg load(const double* p, int n, reg fill) {
    return n == width ? load(p) : n == 1 ? vsetq_lane_f64(*p, fill, 0) : fill;
  }
  static void store(double* p, reg v) { vst1q_f64(p, v); }
  static void store(double* p, reg v, int n) {
    if (n > 0) p[0] = vgetq_lane_f64(v, 0);
    if (n > 1) p[1] = vgetq_lane_f64(v, 1);
  }
  static void stream(double* p, reg v) { vst1q_f64(p, v); }

  static reg add(reg a, reg b) { return vaddq_f64(a, b); }
  static reg sub(reg a, reg b) { return vsubq_f64(a, b); }
  static reg mul(reg a, reg b) { return vmulq_f64(a, b); }
  static reg div(reg a, reg b) { return vdivq_f64(a, b); }
  static reg fma(reg a, reg b, reg c) { return vfmaq_f64(c, a, b); }
  static reg fnma(reg a, reg b, reg c) { return vfmsq_f64(c, a, b); }
  static reg max(reg a, reg b) { return vmaxq_f64(a, b); }
  static reg min(reg a, reg b) { return vminq_f64(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return vbslq_f64(vcgtq_f64(v, bound), v, other);
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return vbslq_f64(vceqq_f64(a, b), equal, other);
  }
  static unsigned above(reg v, reg bound) { return 3u & ~bits_of_mask(vcleq_f64(v, bound)); }
  static unsigned at_least(reg v, reg bound) { return bits_of_mask(vcgeq_f64(v, bound)); }
  static void compress(double* p, reg v, unsigned bits) {
    double all[width];
    store(all, v);
    compress_bits(all, p, bits);
  }
  static reg scale_normal(reg v, reg t) {
    const int64x2_t scaled =
        vaddq_s64(vreinterpretq_s64_f64(v), vshlq_n_s64(vreinterpretq_s64_f64(t), 52));
    const uint64x2_t above = vcgtq_s64(scaled, vdupq_n_s64(0x0010000000000000));
    return vreinterpretq_f64_u64(vandq_u64(above, vreinterpretq_u64_s64(scaled)));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return vreinterpretq_f64_u64(
        vbicq_u64(vreinterpretq_u64_f64(fma(a, b, c)), vcleq_f64(t, least)));
  }
  static reg power(reg t) {
    const uint64x2_t steps = vreinterpretq_u64_f64(t);
    const int64x2_t fraction = {kPowers64[vgetq_lane_u64(steps, 0) & 15],
                                kPowers64[vgetq_lane_u64(steps, 1) & 15]};
    return vreinterpretq_f64_u64(
        vaddq_u64(vshlq_n_u64(steps, 48), vreinterpretq_u64_s64(fraction)));
  }
  static reg power_error(reg t) {
    const uint64x2_t steps = vreinterpretq_u64_f64(t);
    return float64x2_t{kPowerErrors64[vgetq_lane_u64(steps, 0) & 15],
                       kPowerErrors64[vgetq_lane_u64(steps, 1) & 15]};
  }
  static reg whole(reg t) {
    return vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(t), vdupq_n_u64(15)));
  }
  static reg fraction(reg t) {
    const uint64x2_t j = vandq_u64(vreinterpretq_u64_f64(t), vdupq_n_u64(15));
    return vreinterpretq_f64_u64(vorrq_u64(j, vdupq_n_u64(1023 << 4)));
  }
  static reg scale_down(reg v, reg d) {
    const reg t = add(max(set1(-1023.0), d), set1(1023.0 + 0x1.8p52));
    return mul(v, vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(t), 52)));
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return vcvtq_f64_u64(vmovl_u32(veor_u32(vld1_u32(p), vdup_n_u32(flip))));
  }
  static reg significand(reg v, reg& k) {
    const uint64x2_t up =
        vaddq_u64(vreinterpretq_u64_f64(v), vdupq_n_u64(0x3ff0000000000000 - kLeastSignificand64));
    k = sub(vcvtq_f64_u64(vshrq_n_u64(up, 52)), set1(1023.0));
    return vreinterpretq_f64_u64(vaddq_u64(vandq_u64(up, vdupq_n_u64(0x000fffffffffffff)),
                                           vdupq_n_u64(kLeastSignificand64)));
  }
  static reg sums(const reg* r) {
    const reg a = add(add(r[0], r[2]), add(r[1], r[3]));
    const reg b = add(add(r[4], r[6]), add(r[5], r[7]));
    return add(vtrn1q_f64(a, b), vtrn2q_f64(a, b));
  }
  static double first(reg v) { return vgetq_lane_f64(v, 0); }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    split_each<F64>(hi, lo, m_hi, m_lo, q);
  }
  static int first_equal(reg a, reg b) {
    const uint64x2_t equal = vceqq_f64(a, b);
    return vgetq_lane_u64(equal, 0) != 0 ? 0 : vgetq_lane_u64(equal, 1) != 0 ? 1 : width;
  }
  static double reduce_max(reg v) { return vmaxvq_f64(v); }
  static double reduce_min(reg v) { return vminvq_f64(v); }

 private:
  static unsigned bits_of_mask(uint64x2_t mask) {
    return static_cast<unsigned>((vgetq_lane_u64(mask, 0) & 1) | (vgetq_lane_u64(mask, 1) & 2));
  }
};

struct Words {
  using reg = uint32x4_t;
  static constexpr int width = 4;

  static reg set1(std::uint32_t v) { return vdupq_n_u32(v); }
  static reg load(const std::uint32_t* p) { return vld1q_u32(p); }
  static void store(std::uint32_t* p, reg v) { vst1q_u32(p, v); }
  static reg add(reg a, reg b) { return vaddq_u32(a, b); }
  static reg exclusive_or(reg a, reg b) { return veorq_u32(a, b); }
  static reg half(reg v) { return vshrq_n_u32(v, 1); }
  static void multiply(reg a, reg b, reg& high, reg& low) {
    const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vget_low_u32(b)));
    const uint32x4_t last = vreinterpretq_u32_u64(vmull_high_u32(a, b));
    low = vuzp1q_u32(first, last);
    high = vuzp2q_u32(first, last);
  }
};

inline void stream_fence() {}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
