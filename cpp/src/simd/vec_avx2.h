// The Vec layer on AVX2 with FMA and F16C. See vec_scalar.h for what each name promises.
#pragma once

#define FASTSOFTMAX_UNROLL _Pragma("GCC unroll 16")

#include <immintrin.h>

#include "simd/half.h"
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Sliding windows over these give masks of the first n elements.
alignas(64) constexpr std::int32_t kWindow32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
alignas(64) constexpr std::int64_t kWindow64[8] = {-1, -1, -1, -1};

struct F32 : F32Contract {
  using reg = __m256;
  static constexpr int width = 8;
  static constexpr int summed_at_once = 4;

  static __m256i head(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kWindow32 + 8 - n));
  }
  static reg set1(float v) { return _mm256_set1_ps(v); }
  static reg load(const float* p) { return _mm256_loadu_ps(p); }
  static reg load(const f16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static reg load(const bf16* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
  }
  static reg load(const float* p, int n, reg fill) {
    const __m256i k = head(n);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, k), _mm256_castsi256_ps(k));
  }
  template <class Half>
  static reg load(const Half* p, int n, reg fill) {
    if (n == width) return load(p);
    Half padded[8] = {};
    for (int i = 0; i < n; ++i) padded[i] = p[i];
    return _mm256_blendv_ps(fill, load(padded), _mm256_castsi256_ps(head(n)));
  }
  static void store(float* p, reg v) { _mm256_storeu_ps(p, v); }
  static void store(f16* p, reg v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(v, p));
  }
  static void store(bf16* p, reg v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(v, p));
  }
  static void store(float* p, reg v, int n) { _mm256_maskstore_ps(p, head(n), v); }
  template <class Half>
  static void store(Half* p, reg v, int n) {
    if (n == width) return store(p, v);
    Half all[8];
    store(all, v);
    for (int i = 0; i < n; ++i) p[i] = all[i];
  }
  static void stream(float* p, reg v) { _mm256_stream_ps(p, v); }
  template <class Half>
  static void stream(Half* p, reg v) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow(v, p));
  }

  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm256_div_ps(a, b); }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  static reg fnma(reg a, reg b, reg c) { return _mm256_fnmadd_ps(a, b, c); }
  static reg max(reg a, reg b) { return _mm256_max_ps(a, b); }
  static reg min(reg a, reg b) { return _mm256_min_ps(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return _mm256_blendv_ps(other, v, _mm256_cmp_ps(v, bound, _CMP_GT_OQ));
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return _mm256_blendv_ps(other, equal, _mm256_cmp_ps(a, b, _CMP_EQ_OQ));
  }
  static unsigned above(reg v, reg bound) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, bound, _CMP_NLE_UQ)));
  }
  static unsigned at_least(reg v, reg bound) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(v, bound, _CMP_GE_OQ)));
  }
  static void compress(float* p, reg v, unsigned bits) {
    float all[width];
    store(all, v);
    compress_bits(all, p, bits);
  }
  static reg scale_normal(reg v, reg t) {
    const __m256i scaled =
        _mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(t), 23));
    const __m256i above = _mm256_cmpgt_epi32(scaled, _mm256_set1_epi32(0x00800000));
    return _mm256_castsi256_ps(_mm256_and_si256(scaled, above));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return _mm256_and_ps(_mm256_cmp_ps(t, least, _CMP_NLE_UQ), fma(a, b, c));
  }
  static reg power(reg t) {
    const auto* powers = reinterpret_cast<const __m256i*>(kPowers32);
    const reg fraction = look_up(t, _mm256_castsi256_ps(_mm256_load_si256(powers)),
                                 _mm256_castsi256_ps(_mm256_load_si256(powers + 1)));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 19),
                                                _mm256_castps_si256(fraction)));
  }
  static reg power_error(reg t) {
    return look_up(t, _mm256_load_ps(kPowerErrors32), _mm256_load_ps(kPowerErrors32 + 8));
  }
  static reg whole(reg t) { return _mm256_and_ps(t, bits(~15)); }
  static reg fraction(reg t) { return _mm256_or_ps(_mm256_and_ps(t, bits(15)), bits(127 << 4)); }
  static reg scale_down(reg v, reg d) {
    const reg clamped = max(set1(-127.0f), d);
    return mul(v, exponent_field(add(clamped, set1(127.0f + 0x1.8p23f))));
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return _mm256_cvtepi32_ps(
        _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                         _mm256_set1_epi32(static_cast<std::int32_t>(flip))));
  }
  static reg significand(reg v, reg& k) {
    const __m256i up = _mm256_add_epi32(_mm256_castps_si256(v),
                                        _mm256_set1_epi32(0x3f800000 - kLeastSignificand32));
    k = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(up, 23), _mm256_set1_epi32(127)));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_and_si256(up, _mm256_set1_epi32(0x007fffff)),
                                                _mm256_set1_epi32(kLeastSignificand32)));
  }
  static reg sums(const reg* r) {
    reg four[4];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < 4; ++i) {
      const reg a = add(r[2 * i], r[2 * i + 1]);
      const reg b = add(r[2 * i + 8], r[2 * i + 9]);
      four[i] = add(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    const reg a =
        add(_mm256_shuffle_ps(four[0], four[1], 0x44), _mm256_shuffle_ps(four[0], four[1], 0xee));
    const reg b =
        add(_mm256_shuffle_ps(four[2], four[3], 0x44), _mm256_shuffle_ps(four[2], four[3], 0xee));
    return add(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
  }
  static float first(reg v) { return _mm256_cvtss_f32(v); }
  static int first_equal(reg a, reg b) {
    return __builtin_ctz(1 << 8 | _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
  }
  static float reduce_max(reg v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  static float reduce_min(reg v) {
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
  }
  struct Wide {
    __m256d q[4];
  };
  static Wide widen(const reg* r) { return {{lower(r[0]), upper(r[0]), lower(r[1]), upper(r[1])}}; }
  static Wide widen(const float* p) {
    const auto at = [p](int i) { return _mm256_cvtps_pd(_mm_loadu_ps(p + i)); };
    return {{at(0), at(4), at(8), at(12)}};
  }
  static void narrow(const Wide& w, reg* hi, reg* lo) {
    __m128 rounded[4];
    __m128 rest[4];
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < 4; ++i) {
      rounded[i] = _mm256_cvtpd_ps(w.q[i]);
      rest[i] = _mm256_cvtpd_ps(_mm256_sub_pd(w.q[i], _mm256_cvtps_pd(rounded[i])));
    }
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < 2; ++i) {
      hi[i] = _mm256_set_m128(rounded[2 * i + 1], rounded[2 * i]);
      lo[i] = _mm256_set_m128(rest[2 * i + 1], rest[2 * i]);
    }
  }
  static Wide add(Wide a, Wide b) {
    return {{_mm256_add_pd(a.q[0], b.q[0]), _mm256_add_pd(a.q[1], b.q[1]),
             _mm256_add_pd(a.q[2], b.q[2]), _mm256_add_pd(a.q[3], b.q[3])}};
  }
  static Wide fma(Wide a, Wide b, Wide c) {
    const auto at = [&](int i) { return _mm256_fmadd_pd(a.q[i], b.q[i], c.q[i]); };
    return {{at(0), at(1), at(2), at(3)}};
  }
  static Wide wide(const double* p) {
    return {{_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8),
             _mm256_loadu_pd(p + 12)}};
  }
  static void store(double* p, const Wide& v) {
    for (int i = 0; i < 4; ++i) _mm256_storeu_pd(p + 4 * i, v.q[i]);
  }
  static double sum(Wide v) {
    const __m256d low = _mm256_add_pd(v.q[0], v.q[2]);
    const __m256d high = _mm256_add_pd(v.q[1], v.q[3]);
    const __m256d by4 = _mm256_add_pd(low, high);
    const __m128d by2 = _mm_add_pd(_mm256_castpd256_pd128(by4), _mm256_extractf128_pd(by4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(by2, _mm_unpackhi_pd(by2, by2)));
  }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    split_each<F32>(hi, lo, m_hi, m_lo, q);
  }

 private:
  static reg exponent_field(reg t) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
  }
  // By the low four bits of t.
  static reg look_up(reg t, reg low, reg high) {
    const __m256i index = _mm256_castps_si256(t);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                            _mm256_permutevar8x32_ps(high, index),
                            _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
  }
  static reg bits(std::int32_t v) { return _mm256_castsi256_ps(_mm256_set1_epi32(v)); }
  static __m256d lower(reg v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
  static __m256d upper(reg v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
  static __m128i narrow(reg v, const f16*) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
  static __m128i narrow(reg v, const bf16*) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i words = _mm256_srli_epi32(
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  }
};

struct F64 : F64Contract {
  using reg = __m256d;
  static constexpr int width = 4;
  static constexpr int summed_at_once = 4;

  static __m256i head(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kWindow64 + 4 - n));
  }
  static reg set1(double v) { return _mm256_set1_pd(v); }
  static reg load(const double* p) { return _mm256_loadu_pd(p); }
  static reg load(const double* p, int n, reg fill) {
    const __m256i k = head(n);
    return _mm256_blendv_pd(fill, _mm256_maskload_pd(p, k), _mm256_castsi256_pd(k));
  }
  static void store(double* p, reg v) { _mm256_storeu_pd(p, v); }
  static void store(double* p, reg v, int n) { _mm256_maskstore_pd(p, head(n), v); }
  static void stream(double* p, reg v) { _mm256_stream_pd(p, v); }

  static reg add(reg a, reg b) { return _mm256_add_pd(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_pd(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_pd(a, b); }
  static reg div(reg a, reg b) { return _mm256_div_pd(a, b); }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_pd(a, b, c); }
  static reg fnma(reg a, reg b, reg c) { return _mm256_fnmadd_pd(a, b, c); }
  static reg max(reg a, reg b) { return _mm256_max_pd(a, b); }
  static reg min(reg a, reg b) { return _mm256_min_pd(a, b); }
  static reg select_above(reg v, reg bound, reg other) {
    return _mm256_blendv_pd(other, v, _mm256_cmp_pd(v, bound, _CMP_GT_OQ));
  }
  static reg select_equal(reg a, reg b, reg equal, reg other) {
    return _mm256_blendv_pd(other, equal, _mm256_cmp_pd(a, b, _CMP_EQ_OQ));
  }
  static unsigned above(reg v, reg bound) {
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(v, bound, _CMP_NLE_UQ)));
  }
  static unsigned at_least(reg v, reg bound) {
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(v, bound, _CMP_GE_OQ)));
  }
  static void compress(double* p, reg v, unsigned bits) {
    double all[width];
    store(all, v);
    compress_bits(all, p, bits);
  }
  static reg scale_normal(reg v, reg t) {
    const __m256i scaled =
        _mm256_add_epi64(_mm256_castpd_si256(v), _mm256_slli_epi64(_mm256_castpd_si256(t), 52));
    const __m256i above = _mm256_cmpgt_epi64(scaled, _mm256_set1_epi64x(0x0010000000000000));
    return _mm256_castsi256_pd(_mm256_and_si256(scaled, above));
  }
  static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    return _mm256_and_pd(_mm256_cmp_pd(t, least, _CMP_NLE_UQ), fma(a, b, c));
  }
  static reg power(reg t) {
    const __m256i steps = _mm256_castpd_si256(t);
    const __m256i j = _mm256_and_si256(steps, _mm256_set1_epi64x(15));
    const __m256i fraction =
        _mm256_i64gather_epi64(reinterpret_cast<const long long*>(kPowers64), j, 8);
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_slli_epi64(steps, 48), fraction));
  }
  static reg power_error(reg t) {
    const __m256i j = _mm256_and_si256(_mm256_castpd_si256(t), _mm256_set1_epi64x(15));
    return _mm256_i64gather_pd(kPowerErrors64, j, 8);
  }
  static reg whole(reg t) { return _mm256_and_pd(t, bits(~15)); }
  static reg fraction(reg t) { return _mm256_or_pd(_mm256_and_pd(t, bits(15)), bits(1023 << 4)); }
  static reg scale_down(reg v, reg d) {
    const reg clamped = max(set1(-1023.0), d);
    return mul(v, exponent_field(add(clamped, set1(1023.0 + 0x1.8p52))));
  }
  static reg numbers(const std::uint32_t* p, std::uint32_t flip) {
    return _mm256_cvtepi32_pd(_mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                                            _mm_set1_epi32(static_cast<std::int32_t>(flip))));
  }
  static reg significand(reg v, reg& k) {
    const __m256i up = _mm256_add_epi64(
        _mm256_castpd_si256(v), _mm256_set1_epi64x(0x3ff0000000000000 - kLeastSignificand64));
    // The exponent field becomes the fraction of a number from 2^52 on.
    const __m256i field =
        _mm256_or_si256(_mm256_srli_epi64(up, 52), _mm256_set1_epi64x(0x4330000000000000));
    k = sub(_mm256_castsi256_pd(field), set1(0x1p52 + 1023.0));
    return _mm256_castsi256_pd(
        _mm256_add_epi64(_mm256_and_si256(up, _mm256_set1_epi64x(0x000fffffffffffff)),
                         _mm256_set1_epi64x(kLeastSignificand64)));
  }
  static reg sums(const reg* r) {
    const auto two = [r](int i) {
      const reg a = add(r[2 * i], r[2 * i + 1]);
      const reg b = add(r[2 * i + 4], r[2 * i + 5]);
      return add(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
    };
    const reg a = two(0);
    const reg b = two(1);
    return add(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
  }
  static double first(reg v) { return _mm256_cvtsd_f64(v); }
  static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo, reg& q) {
    split_each<F64>(hi, lo, m_hi, m_lo, q);
  }
  static int first_equal(reg a, reg b) {
    return __builtin_ctz(1 << 4 | _mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_EQ_OQ)));
  }
  static double reduce_max(reg v) {
    const __m128d m = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(m, _mm_unpackhi_pd(m, m)));
  }
  static double reduce_min(reg v) {
    const __m128d m = _mm_min_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_min_sd(m, _mm_unpackhi_pd(m, m)));
  }

 private:
  static reg exponent_field(reg t) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(t), 52));
  }
  static reg bits(std::int64_t v) { return _mm256_castsi256_pd(_mm256_set1_epi64x(v)); }
};

struct Words {
  using reg = __m256i;
  static constexpr int width = 8;

  static reg set1(std::uint32_t v) { return _mm256_set1_epi32(static_cast<std::int32_t>(v)); }
  static reg load(const std::uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(std::uint32_t* p, reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static reg add(reg a, reg b) { return _mm256_add_epi32(a, b); }
  static reg exclusive_or(reg a, reg b) { return _mm256_xor_si256(a, b); }
  static reg half(reg v) { return _mm256_srli_epi32(v, 1); }
  static void multiply(reg a, reg b, reg& high, reg& low) {
    const __m256i even = _mm256_mul_epu32(a, b);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  }
};

inline void stream_fence() { _mm_sfence(); }

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
