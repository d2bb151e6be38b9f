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

constexpr int kCanonicalNanBf16 = 0x7fc0;

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
