// The Vec layer on AVX-512 (F, BW, DQ, VL). See vec_scalar.h for what each name promises.
#pragma once

#define FASTSOFTMAX_UNROLL _Pragma("GCC unroll 16")

#include <immintrin.h>

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

alignas(64) constexpr std::int32_t kWordsApart[16] = {
    0 << 16, 1 << 16, 2 << 16,  3 << 16,  4 << 16,  5 << 16,  6 << 16,  7 << 16,
    8 << 16, 9 << 16, 10 << 16, 11 << 16, 12 << 16, 13 << 16, 14 << 16, 15 << 16};
alignas(64) constexpr std::int16_t kHighWords[32] = {1,  3,  5,  7,  9,  11, 13, 15,
                                                     17, 19, 21, 23, 25, 27, 29, 31};

inline __mmask16 first_lanes(int count) { return static_cast<__mmask16>((1u << count) - 1u); }

// hi + lo, scaled by 2^-q into [1, 2).
struct Mantissas {
  __m512d hi, lo;
  __m512i q;
};
inline Mantissas mantissas(__m512d hi, __m512d lo) {
  const __m512i field =
      _mm512_and_si512(_mm512_castpd_si512(hi), _mm512_set1_epi64(0x7ff0000000000000));
  const __m512d down =
      _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_set1_epi64(0x7fe0000000000000), field));
  return {_mm512_mul_pd(hi, down), _mm512_mul_pd(lo, down),
          _mm512_sub_epi64(_mm512_srli_epi64(field, 52), _mm512_set1_epi64(1023))};
}

struct F32 : F32Contract {
  using reg = __m512;
  static constexpr int width = 16;
  static constexpr int summed_at_once = 4;

  static reg set1(float v) { return _mm512_set1_ps(v); }
  static reg load(const float* p) { return _mm512_loadu_ps(p); }
  static reg load(const f16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static reg load(const bf16* p) {
    return from_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static reg load(const float* p, int n, reg fill) {
    return _mm512_mask_loadu_ps(fill, first_lanes(n), p);
  }
  static reg load(const f16* p, int n, reg fill) {
    const __mmask16 k = first_lanes(n);
    return _mm512_mask_cvtph_ps(fill, k, _mm256_maskz_loadu_epi16(k, p));
  }
  static reg load(const bf16* p, int n, reg fill) {
    const __mmask16 k = first_lanes(n);
    return _mm512_mask_mov_ps(fill, k, from_bf16(_mm256_maskz_loadu_epi16(k, p)));
  }
  static void store(float* p, reg v) { _mm512_storeu_ps(p, v); }
  static void store(f16* p, reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(bf16* p, reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v));
  }
  static void store(float* p, reg v, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
  static void store(f16* p, reg v, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(bf16* p, reg v, int n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrow(v));
  }
  static void stream(float* p, reg v) { _mm512_stream_ps(p, v); }
  static void stream(f16* p, reg v) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void stream(bf16* p, reg v) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(v));
  }

  static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm512_div_ps(a, b); }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  static reg fnma(reg a, reg b, reg c) { return _mm512_fnmadd_ps(a, b, c); }
  static reg max(reg a, reg b) { return _mm512_max_ps(a, b); }
  static reg min(reg a, reg b) { return _mm512_min_ps(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask(v, bound, _CMP_GT_OQ), v);
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), equal);
  }
  static unsigned above(reg v, reg bound) { return _mm512_cmp_ps_mask(v, bound, _CMP_NLE_UQ); }
  static unsigned at_least(reg v, reg bound) { return _mm512_cmp_ps_mask(v, bound, _CMP_GE_OQ); }
  // Through a register: the instruction that compresses to memory is slow.
  static void compress(float* p, reg v, unsigned bits) {
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(static_cast<__mmask16>(bits), v));
  }
  static reg scale_normal(reg v, reg t) {
    const __m512i shift = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    const __m512i least = _mm512_sub_epi32(_mm512_set1_epi32(0x00800000), shift);
    const __mmask16 k = _mm512_cmpgt_epi32_mask(_mm512_castps_si512(v), least);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(k, _mm512_castps_si512(v), shift));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return _mm512_maskz_fmadd_ps(_mm512_cmp_ps_mask(t, least, _CMP_NLE_UQ), a, b, c);
  }
  static reg power(reg t) {
    const __m512i steps = _mm512_castps_si512(t);
    const __m512i fraction = _mm512_permutexvar_epi32(steps, _mm512_load_si512(kPowers32));
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(steps, 19), fraction));
  }
  static reg power_error(reg t) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(t), _mm512_load_ps(kPowerErrors32));
  }
  static reg whole(reg t) { return _mm512_and_ps(t, bits(~15)); }
  static reg fraction(reg t) { return _mm512_or_ps(_mm512_and_ps(t, bits(15)), bits(127 << 4)); }
  static reg scale_down(reg v, reg d) { return _mm512_scalef_ps(v, d); }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return _mm512_cvtepi32_ps(_mm512_xor_si512(_mm512_loadu_si512(p),
                                               _mm512_set1_epi32(static_cast<std::int32_t>(flip))));
  }
  static reg significand(reg v, reg& k) {
    const __m512i up = _mm512_add_epi32(_mm512_castps_si512(v),
                                        _mm512_set1_epi32(0x3f800000 - kLeastSignificand32));
    k = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_srli_epi32(up, 23), _mm512_set1_epi32(127)));
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_and_si512(up, _mm512_set1_epi32(0x007fffff)),
                                                _mm512_set1_epi32(kLeastSignificand32)));
  }
  static reg sums(const reg* r) {
    reg four[4];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < 4; ++i) {
      const reg a = halves(r[i], r[i + 4]);
      const reg b = halves(r[i + 8], r[i + 12]);
      four[i] = add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    const reg a =
        add(_mm512_shuffle_ps(four[0], four[1], 0x44), _mm512_shuffle_ps(four[0], four[1], 0xee));
    const reg b =
        add(_mm512_shuffle_ps(four[2], four[3], 0x44), _mm512_shuffle_ps(four[2], four[3], 0xee));
    return add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  }
  static float first(reg v) { return _mm512_cvtss_f32(v); }
  static int first_equal(reg a, reg b) {
    return __builtin_ctz(1 << 16 | _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ));
  }
  static float reduce_max(reg v) { return _mm512_reduce_max_ps(v); }
  static float reduce_min(reg v) { return _mm512_reduce_min_ps(v); }
  struct Wide {
    __m512d low, high;
  };
  static Wide widen(const reg* r) {
    return {_mm512_cvtps_pd(_mm512_castps512_ps256(r[0])),
            _mm512_cvtps_pd(_mm512_extractf32x8_ps(r[0], 1))};
  }
  static Wide widen(const float* p) {
    return {_mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))};
  }
  static void narrow(Wide w, reg* hi, reg* lo) {
    const __m256 low = _mm512_cvtpd_ps(w.low);
    const __m256 high = _mm512_cvtpd_ps(w.high);
    hi[0] = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    const __m256 rest = _mm512_cvtpd_ps(_mm512_sub_pd(w.high, _mm512_cvtps_pd(high)));
    lo[0] = _mm512_insertf32x8(
        _mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_sub_pd(w.low, _mm512_cvtps_pd(low)))), rest,
        1);
  }
  static Wide add(Wide a, Wide b) {
    return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
  }
  static Wide fma(Wide a, Wide b, Wide c) {
    return {_mm512_fmadd_pd(a.low, b.low, c.low), _mm512_fmadd_pd(a.high, b.high, c.high)};
  }
  static Wide wide(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
  static void store(double* p, const Wide& v) {
    _mm512_storeu_pd(p, v.low);
    _mm512_storeu_pd(p + 8, v.high);
  }
  static double sum(Wide v) {
    const __m512d by8 = _mm512_add_pd(v.low, v.high);
    const __m256d by4 = _mm256_add_pd(_mm512_castpd512_pd256(by8), _mm512_extractf64x4_pd(by8, 1));
    const __m128d by2 = _mm_add_pd(_mm256_castpd256_pd128(by4), _mm256_extractf128_pd(by4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(by2, _mm_unpackhi_pd(by2, by2)));
  }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    const Parts a = parts(hi, lo);
    const Parts b = parts(hi + 8, lo + 8);
    m_hi = _mm512_insertf32x8(_mm512_castps256_ps512(a.m_hi), b.m_hi, 1);
    m_lo = _mm512_insertf32x8(_mm512_castps256_ps512(a.m_lo), b.m_lo, 1);
    q = _mm512_cvtepi32_ps(_mm512_inserti32x8(_mm512_castsi256_si512(a.q), b.q, 1));
  }

 private:
  // Of each, the lower eight lanes and the upper eight.
  static reg halves(reg a, reg b) {
    return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  struct Parts {
    __m256 m_hi, m_lo;
    __m256i q;
  };
  static Parts parts(const double* hi, const double* lo) {
    const Mantissas s = mantissas(_mm512_loadu_pd(hi), _mm512_loadu_pd(lo));
    const __m256 m_hi = _mm512_cvtpd_ps(s.hi);
    const __m512d rest = _mm512_add_pd(_mm512_sub_pd(s.hi, _mm512_cvtps_pd(m_hi)), s.lo);
    return {m_hi, _mm512_cvtpd_ps(rest), _mm512_cvtepi64_epi32(s.q)};
  }
  static reg bits(std::int32_t v) { return _mm512_castsi512_ps(_mm512_set1_epi32(v)); }
  // Word i to word 2 i + 1, and back.
  static reg from_bf16(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(
        0xaaaaaaaa, _mm512_load_si512(kWordsApart), _mm512_castsi256_si512(halves)));
  }
  // The instruction of AVX512_BF16 flushes subnormals: other bits.
  static __m256i narrow(reg v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(1 << 16));
    const __m512i half =
        _mm512_mask_mov_epi32(_mm512_set1_epi32(0x7fff), odd, _mm512_set1_epi32(0x8000));
    return _mm512_castsi512_si256(
        _mm512_permutexvar_epi16(_mm512_load_si512(kHighWords), _mm512_add_epi32(bits, half)));
  }
};

struct F64 : F64Contract {
  using reg = __m512d;
  static constexpr int width = 8;
  static constexpr int summed_at_once = 4;

  static __mmask8 head(int count) { return static_cast<__mmask8>((1u << count) - 1u); }
  static reg set1(double v) { return _mm512_set1_pd(v); }
  static reg load(const double* p) { return _mm512_loadu_pd(p); }
  static reg load(const double* p, int n, reg fill) {
    return _mm512_mask_loadu_pd(fill, head(n), p);
  }
  static void store(double* p, reg v) { _mm512_storeu_pd(p, v); }
  static void store(double* p, reg v, int n) { _mm512_mask_storeu_pd(p, head(n), v); }
  static void stream(double* p, reg v) { _mm512_stream_pd(p, v); }

  static reg add(reg a, reg b) { return _mm512_add_pd(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_pd(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_pd(a, b); }
  static reg div(reg a, reg b) { return _mm512_div_pd(a, b); }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_pd(a, b, c); }
  static reg fnma(reg a, reg b, reg c) { return _mm512_fnmadd_pd(a, b, c); }
  static reg max(reg a, reg b) { return _mm512_max_pd(a, b); }
  static reg min(reg a, reg b) { return _mm512_min_pd(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return _mm512_mask_mov_pd(other, _mm512_cmp_pd_mask(v, bound, _CMP_GT_OQ), v);
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return _mm512_mask_mov_pd(other, _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ), equal);
  }
  static unsigned above(reg v, reg bound) { return _mm512_cmp_pd_mask(v, bound, _CMP_NLE_UQ); }
  static unsigned at_least(reg v, reg bound) { return _mm512_cmp_pd_mask(v, bound, _CMP_GE_OQ); }
  static void compress(double* p, reg v, unsigned bits) {
    _mm512_storeu_pd(p, _mm512_maskz_compress_pd(static_cast<__mmask8>(bits), v));
  }
  static reg scale_normal(reg v, reg t) {
    const __m512i shift = _mm512_slli_epi64(_mm512_castpd_si512(t), 52);
    const __m512i least = _mm512_sub_epi64(_mm512_set1_epi64(0x0010000000000000), shift);
    const __mmask8 k = _mm512_cmpgt_epi64_mask(_mm512_castpd_si512(v), least);
    return _mm512_castsi512_pd(_mm512_maskz_add_epi64(k, _mm512_castpd_si512(v), shift));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return _mm512_maskz_fmadd_pd(_mm512_cmp_pd_mask(t, least, _CMP_NLE_UQ), a, b, c);
  }
  static reg power(reg t) {
    const __m512i steps = _mm512_castpd_si512(t);
    const __m512i fraction = _mm512_permutex2var_epi64(_mm512_load_si512(kPowers64), steps,
                                                       _mm512_load_si512(kPowers64 + 8));
    return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_slli_epi64(steps, 48), fraction));
  }
  static reg power_error(reg t) {
    return _mm512_permutex2var_pd(_mm512_load_pd(kPowerErrors64), _mm512_castpd_si512(t),
                                  _mm512_load_pd(kPowerErrors64 + 8));
  }
  static reg whole(reg t) { return _mm512_and_pd(t, bits(~15)); }
  static reg fraction(reg t) { return _mm512_or_pd(_mm512_and_pd(t, bits(15)), bits(1023 << 4)); }
  static reg scale_down(reg v, reg d) { return _mm512_scalef_pd(v, d); }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return _mm512_cvtepi32_pd(
        _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                         _mm256_set1_epi32(static_cast<std::int32_t>(flip))));
  }
  static reg significand(reg v, reg& k) {
    const __m512i up = _mm512_add_epi64(
        _mm512_castpd_si512(v), _mm512_set1_epi64(0x3ff0000000000000 - kLeastSignificand64));
    k = _mm512_cvtepi64_pd(_mm512_sub_epi64(_mm512_srli_epi64(up, 52), _mm512_set1_epi64(1023)));
    return _mm512_castsi512_pd(
        _mm512_add_epi64(_mm512_and_si512(up, _mm512_set1_epi64(0x000fffffffffffff)),
                         _mm512_set1_epi64(kLeastSignificand64)));
  }
  static reg sums(const reg* r) {
    reg two[2];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < 2; ++i) {
      const reg a = halves(r[i], r[i + 2]);
      const reg b = halves(r[i + 4], r[i + 6]);
      two[i] = add(_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd));
    }
    return add(_mm512_unpacklo_pd(two[0], two[1]), _mm512_unpackhi_pd(two[0], two[1]));
  }
  static double first(reg v) { return _mm512_cvtsd_f64(v); }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    const Mantissas s = mantissas(_mm512_loadu_pd(hi), _mm512_loadu_pd(lo));
    m_hi = s.hi;
    m_lo = s.lo;
    q = _mm512_cvtepi64_pd(s.q);
  }
  static int first_equal(reg a, reg b) {
    return __builtin_ctz(1 << 8 | _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ));
  }
  static double reduce_max(reg v) { return _mm512_reduce_max_pd(v); }
  static double reduce_min(reg v) { return _mm512_reduce_min_pd(v); }

 private:
  static reg halves(reg a, reg b) {
    return add(_mm512_shuffle_f64x2(a, b, 0x44), _mm512_shuffle_f64x2(a, b, 0xee));
  }
  static reg bits(std::int64_t v) { return _mm512_castsi512_pd(_mm512_set1_epi64(v)); }
};

struct Words {
  using reg = __m512i;
  static constexpr int width = 16;

  static reg set1(std::uint32_t v) { return _mm512_set1_epi32(static_cast<std::int32_t>(v)); }
  static reg load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
  static void store(std::uint32_t* p, reg v) { _mm512_storeu_si512(p, v); }
  static reg add(reg a, reg b) { return _mm512_add_epi32(a, b); }
  static reg exclusive_or(reg a, reg b) { return _mm512_xor_si512(a, b); }
  static reg half(reg v) { return _mm512_srli_epi32(v, 1); }
  static void multiply(reg a, reg b, reg& high, reg& low) {
    const __m512i even = _mm512_mul_epu32(a, b);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    low = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
  }
};

inline void stream_fence() { _mm_sfence(); }

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
