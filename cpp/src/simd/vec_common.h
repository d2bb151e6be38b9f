// What the Vec layers of all instruction sets share: the contract's constants and the environment
// that floating-point code runs in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// 2^(j/16) rounded to nearest, j = 0..15: the bits of the fraction, less j in its top four. Added
// to 16 k + j shifted up to those four, they give the number with exponent field k.
alignas(64) constexpr std::int32_t kPowers32[16] = {
    0,       -152893, -289342, -408621, -509968, -592590, -655657, -698305,
    -719629, -718684, -694486, -646004, -572163, -471841, -343865, -187011};
alignas(64) constexpr std::int64_t kPowers64[16] = {0,
                                                    -82083586668273,
                                                    -155339362315909,
                                                    -219376486358472,
                                                    -273786814220523,
                                                    -318144131222494,
                                                    -352003352548825,
                                                    -374899687795671,
                                                    -386347768529971,
                                                    -385840737222265,
                                                    -372849295843109,
                                                    -346820712337264,
                                                    -307177783110739,
                                                    -253317749583204,
                                                    -184611166772089,
                                                    -100400721784614};

// What rounding took from them, relative to the rounded value.
alignas(64) constexpr float kPowerErrors32[16] = {0.0f,
                                                  0x1.8d96d4p-25f,
                                                  -0x1.9c0c22p-27f,
                                                  0x1.964904p-25f,
                                                  0x1.125002p-25f,
                                                  0x1.370be4p-25f,
                                                  -0x1.0a355p-25f,
                                                  -0x1.00d8acp-27f,
                                                  0x1.26055cp-26f,
                                                  -0x1.05cb44p-25f,
                                                  0x1.67a1cap-28f,
                                                  0x1.a3b5e4p-28f,
                                                  -0x1.f9c304p-27f,
                                                  -0x1.6961b4p-28f,
                                                  -0x1.a5217cp-28f,
                                                  0x1.61428ep-28f};
alignas(64) constexpr double kPowerErrors64[16] = {0.0,
                                                   0x1.79aa65d837b6dp-54,
                                                   -0x1.01b15eaa59348p-55,
                                                   0x1.68efde3a8a894p-54,
                                                   0x1.34d754db0abb6p-55,
                                                   0x1.59f48a72a4c6dp-55,
                                                   0x1.690cebb7aafbp-56,
                                                   0x1.063e1e21c5409p-54,
                                                   -0x1.3b3efbf5e2228p-54,
                                                   -0x1.b32dcb94da51dp-56,
                                                   0x1.db72fc1f0eab4p-55,
                                                   0x1.1affc2b91ce27p-56,
                                                   0x1.c1a7792cb3387p-55,
                                                   0x1.36eae30af0cb3p-56,
                                                   0x1.4a385a63d07a7p-56,
                                                   -0x1.ff7128fd391fp-55};

// The bits of a number just below the square root of 1/2.
constexpr std::uint32_t kLeastSignificand32 = 0x3f3504f3;
constexpr std::uint64_t kLeastSignificand64 = 0x3fe6a09e00000000;

FASTSOFTMAX_HD inline std::uint32_t bits_of(float v) {
  std::uint32_t u;
  __builtin_memcpy(&u, &v, sizeof u);
  return u;
}
FASTSOFTMAX_HD inline float float_of(std::uint32_t u) {
  float v;
  __builtin_memcpy(&v, &u, sizeof v);
  return v;
}

FASTSOFTMAX_HD inline std::uint64_t bits_of(double v) {
  std::uint64_t u;
  __builtin_memcpy(&u, &v, sizeof u);
  return u;
}
FASTSOFTMAX_HD inline double double_of(std::uint64_t u) {
  double v;
  __builtin_memcpy(&v, &u, sizeof v);
  return v;
}

// Asks for the line `ahead` bytes from p, which need not be memory of ours, in L2.
[[gnu::always_inline]] inline void prefetch(const void* p, std::int64_t ahead) {
  const auto at = reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uintptr_t>(ahead);
  __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);  // NOLINT(*-no-int-to-ptr)
}

// a*b + c, rounded once.
FASTSOFTMAX_HD inline float fused(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double; rounding the sum to odd makes the second rounding harmless.
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  double sum = product + addend;
  const double other = sum - product;
  const double error = (product - (sum - other)) + (addend - other);
  std::uint64_t bits = bits_of(sum);
  if (error != 0.0 && error == error && (bits & 1u) == 0) {
    bits += (error > 0.0) == (sum > 0.0) ? 1u : ~std::uint64_t{0};
    sum = double_of(bits);
  }
  return static_cast<float>(sum);
#endif
}
FASTSOFTMAX_HD inline double fused(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

// hi + lo = (m_hi + m_lo) * 2^q, 1 <= m_hi + m_lo < 2, each part rounded to T; hi positive and
// normal, or NaN.
template <class T>
FASTSOFTMAX_HD [[gnu::always_inline]] inline void split_one(double hi, double lo, T& m_hi, T& m_lo,
                                                            T& q) {
  const std::uint64_t field = bits_of(hi) & 0x7ff0000000000000;
  const double down = double_of(0x7fe0000000000000 - field);
  const double m = hi * down;
  m_hi = static_cast<T>(m);
  m_lo = static_cast<T>((m - static_cast<double>(m_hi)) + lo * down);
  q = static_cast<T>(static_cast<int>(field >> 52) - 1023);
}
// One after the other, for a register of them.
template <class A, class Reg>
inline void split_each(const double* hi, const double* lo, Reg& m_hi, Reg& m_lo, Reg& q) {
  typename A::T parts[3][A::width];
  for (int i = 0; i < A::width; ++i) split_one(hi[i], lo[i], parts[0][i], parts[1][i], parts[2][i]);
  m_hi = A::load(parts[0]);
  m_lo = A::load(parts[1]);
  q = A::load(parts[2]);
}

template <class T>
inline void compress_bits(const T* from, T* to, unsigned bits) {
  for (; bits != 0; bits &= bits - 1) *to++ = from[__builtin_ctz(bits)];
}

struct F32Contract {
  using T = float;
  static constexpr int lanes = kernels::kLanesF32;
  static constexpr int block = kernels::kBlockF32;
  static constexpr int join_lanes = 16;  // as many as errors are joined to before they are widened
};

struct F64Contract {
  using T = double;
  static constexpr int lanes = kernels::kLanesF64;
  static constexpr int block = kernels::kBlockF64;
  static constexpr int join_lanes = 8;  // from here on in scalars
};

// Round to nearest even and no flushing of subnormals while a kernel runs, whatever the host set:
// bits must not depend on it. Restored on leaving, exception flags included.
class DefaultFloatEnvironment {
 public:
#if defined(__x86_64__) || defined(_M_X64)
  DefaultFloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloatEnvironment() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  DefaultFloatEnvironment() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  ~DefaultFloatEnvironment() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
  DefaultFloatEnvironment() {}
#endif
 public:
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
