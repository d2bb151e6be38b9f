// Floating-point environments that a host program may have set.
#pragma once

#include <doctest/doctest.h>

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace tests {

#if defined(__x86_64__)
using Environment = unsigned;
inline Environment environment() { return _mm_getcsr(); }
inline void set_environment(Environment e) { _mm_setcsr(e); }
inline constexpr Environment kFlush = 0x8040;  // FTZ and DAZ
#else
using Environment = std::uint64_t;
inline Environment environment() {
  std::uint64_t e;
  __asm__ volatile("mrs %0, fpcr" : "=r"(e));
  return e;
}
inline void set_environment(Environment e) { __asm__ volatile("msr fpcr, %0" : : "r"(e)); }
inline constexpr Environment kFlush = 1u << 24;
#endif

// check(rounding, result, unchanged) for the results of run() in each rounding mode, subnormals
// flushed; `unchanged`: whether it left the environment as it was.
template <class Run, class Check>
void in_each_environment(Run run, Check check) {
  const Environment usual = environment();
  for (const int rounding : {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}) {
    std::fesetround(rounding);
    set_environment(environment() | kFlush);
    const Environment before = environment();
    const auto result = run();
    const Environment after = environment();
    std::fesetround(FE_TONEAREST);
    set_environment(usual);
    check(rounding, result, before == after);
  }
}

// Where results can be compared as they are.
template <class Run>
void check_in_each_environment(Run run) {
  const auto expected = run();
  in_each_environment(run, [&](int rounding, const auto& result, bool unchanged) {
    CAPTURE(rounding);
    CHECK(result == expected);
    CHECK(unchanged);
  });
}

}  // namespace tests
