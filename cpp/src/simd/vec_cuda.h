// The Vec layer of one CUDA thread: an element per register, as in vec_scalar.h, where the names'
// promises are. Only what the kernels of cpp/cuda need. Compiled for a host it does the same
// operations, so that those kernels run, slowly, on a CPU.
//
// On a device the tables of powers lie in shared memory, where threads that look up different
// entries do not wait for each other; load_tables() puts them there.
#pragma once

#ifdef __CUDA_ARCH__
#define FASTSOFTMAX_UNROLL _Pragma("unroll")
#define FASTSOFTMAX_UNROLL_BY_4 _Pragma("unroll 4")
#define FASTSOFTMAX_ROLLED _Pragma("unroll 1")
#else
#define FASTSOFTMAX_UNROLL
#define FASTSOFTMAX_UNROLL_BY_4
#define FASTSOFTMAX_ROLLED
#endif

#include "simd/half.h"
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Bits, class T>
struct PowerEntry {
  Bits power;
  T error;
};
template <class Bits, class T>
struct PowerTable {
  PowerEntry<Bits, T> entry[16];

  constexpr PowerTable(const Bits* powers, const T* errors) : entry{} {
    for (int j = 0; j < 16; ++j) entry[j] = {powers[j], errors[j]};
  }
};
#ifdef __CUDACC__
__device__
#endif
    constexpr PowerTable<std::int32_t, float>
        kPowerTable32(kPowers32, kPowerErrors32);
#ifdef __CUDACC__
__device__
#endif
    constexpr PowerTable<std::int64_t, double>
        kPowerTable64(kPowers64, kPowerErrors64);

// Entry t mod 16. Tables lie at multiples of their size, so that a place in one is put together in
// one operation.
template <class Entry>
constexpr int kTableBytes = 16 * static_cast<int>(sizeof(Entry));
template <class Entry>
FASTSOFTMAX_HD inline const Entry& entry_of(const Entry* table, std::uint32_t t) {
#ifdef __CUDA_ARCH__
  const auto first = static_cast<std::uint32_t>(__cvta_generic_to_shared(table));
  const std::uint32_t place =
      t * static_cast<std::uint32_t>(sizeof(Entry)) & (kTableBytes<Entry> - 1);
  return *static_cast<const Entry*>(__cvta_shared_to_generic(first | place));
#else
  return table[t & 15u];
#endif
}

template <class Contract>
struct Thread : Contract {
  using T = typename Contract::T;
  using reg = T;
  static constexpr int width = 1;

  FASTSOFTMAX_HD static reg set1(T v) { return v; }
  FASTSOFTMAX_HD static T first(reg v) { return v; }
  FASTSOFTMAX_HD static reg add(reg a, reg b) { return a + b; }
  FASTSOFTMAX_HD static reg sub(reg a, reg b) { return a - b; }
  FASTSOFTMAX_HD static reg mul(reg a, reg b) { return a * b; }
  FASTSOFTMAX_HD static reg div(reg a, reg b) { return a / b; }
  FASTSOFTMAX_HD static reg fma(reg a, reg b, reg c) { return fused(a, b, c); }
  FASTSOFTMAX_HD static reg fnma(reg a, reg b, reg c) { return fused(-a, b, c); }
  FASTSOFTMAX_HD static reg max(reg a, reg b) { return a > b ? a : b; }
  FASTSOFTMAX_HD static reg min(reg a, reg b) { return a < b ? a : b; }
  FASTSOFTMAX_HD static reg select_above(reg v, reg bound, reg other) {
    return v > bound ? v : other;
  }
  FASTSOFTMAX_HD static reg select_equal(reg a, reg b, reg equal, reg other) {
    return a == b ? equal : other;
  }
  FASTSOFTMAX_HD static unsigned above(reg v, reg bound) { return v <= bound ? 0 : 1; }
  FASTSOFTMAX_HD static unsigned at_least(reg v, reg bound) { return v >= bound ? 1 : 0; }
  // On a device selected, where the compiler would branch and wait for one product after the other.
  FASTSOFTMAX_HD static reg fma_above(reg a, reg b, reg c, reg t, reg least) {
    reg v = fused(a, b, c);
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(T) == sizeof(double))
      asm("{ .reg .pred p; setp.gtu.f64 p, %1, %2; selp.f64 %0, %0, 0d0000000000000000, p; }"
          : "+d"(v)
          : "d"(t), "d"(least));
    else
      asm("{ .reg .pred p; setp.gtu.f32 p, %1, %2; selp.f32 %0, %0, 0f00000000, p; }"
          : "+f"(v)
          : "f"(t), "f"(least));
    return v;
#else
    return t <= least ? T(0) : v;
#endif
  }
  FASTSOFTMAX_HD static void split(const double* hi, const double* lo, reg& m_hi, reg& m_lo,
                                   reg& q) {
    split_one(hi[0], lo[0], m_hi, m_lo, q);
  }
  // An element from memory and to it.
  template <class In>
  FASTSOFTMAX_HD static reg load(const In* p) {
    if constexpr (sizeof(T) == sizeof(double))
      return *p;
    else
      return to_f32(*p);
  }
  template <class Out>
  FASTSOFTMAX_HD static void store(Out* p, reg v) {
    if constexpr (sizeof(T) == sizeof(double))
      *p = v;
    else
      from_f32(v, p);
  }
};

struct F32 : Thread<F32Contract> {
  using Entry = PowerEntry<std::int32_t, float>;

  FASTSOFTMAX_HD static const Entry& entry(reg t) { return entry_of(table(), bits_of(t)); }
  FASTSOFTMAX_HD static reg power(reg t) {
    return float_of((bits_of(t) << 19) + static_cast<std::uint32_t>(entry(t).power));
  }
  FASTSOFTMAX_HD static reg power_error(reg t) { return entry(t).error; }
  FASTSOFTMAX_HD static reg whole(reg t) { return float_of(bits_of(t) & ~15u); }
  FASTSOFTMAX_HD static reg fraction(reg t) { return float_of((bits_of(t) & 15u) | 127u << 4); }
  FASTSOFTMAX_HD static reg scale_normal(reg v, reg t) {
    const std::uint32_t scaled = bits_of(v) + (bits_of(t) << 23);
    return static_cast<std::int32_t>(scaled) > 0x00800000 ? float_of(scaled) : 0.0f;
  }
  FASTSOFTMAX_HD static reg scale_down(reg v, reg d) {
    const reg field = (d > -127.0f ? d : -127.0f) + (127.0f + 0x1.8p23f);
    return v * float_of(bits_of(field) << 23);
  }

#ifdef __CUDA_ARCH__
  __device__ static Entry* table() {
    __shared__ __align__(kTableBytes<Entry>) Entry shared[16];
    return shared;
  }
  __device__ static void load_tables(int thread) {
    if (thread < 16) table()[thread] = kPowerTable32.entry[thread];
  }
#else
  static const Entry* table() { return kPowerTable32.entry; }
  FASTSOFTMAX_HD static void load_tables(int) {}
#endif
};

struct F64 : Thread<F64Contract> {
  using Entry = PowerEntry<std::int64_t, double>;

  FASTSOFTMAX_HD static const Entry& entry(reg t) {
    return entry_of(table(), static_cast<std::uint32_t>(bits_of(t)));
  }
  FASTSOFTMAX_HD static reg power(reg t) {
    return double_of((bits_of(t) << 48) + static_cast<std::uint64_t>(entry(t).power));
  }
  FASTSOFTMAX_HD static reg power_error(reg t) { return entry(t).error; }
  FASTSOFTMAX_HD static reg whole(reg t) { return double_of(bits_of(t) & ~std::uint64_t{15}); }
  FASTSOFTMAX_HD static reg fraction(reg t) { return double_of((bits_of(t) & 15u) | 1023u << 4); }
  FASTSOFTMAX_HD static reg scale_normal(reg v, reg t) {
    const std::uint64_t scaled = bits_of(v) + (bits_of(t) << 52);
    return static_cast<std::int64_t>(scaled) > 0x0010000000000000 ? double_of(scaled) : 0.0;
  }
  FASTSOFTMAX_HD static reg scale_down(reg v, reg d) {
    const reg field = (d > -1023.0 ? d : -1023.0) + (1023.0 + 0x1.8p52);
    return v * double_of(bits_of(field) << 52);
  }

#ifdef __CUDA_ARCH__
  __device__ static Entry* table() {
    __shared__ __align__(kTableBytes<Entry>) Entry shared[16];
    return shared;
  }
  __device__ static void load_tables(int thread) {
    if (thread < 16) table()[thread] = kPowerTable64.entry[thread];
  }
#else
  static const Entry* table() { return kPowerTable64.entry; }
  FASTSOFTMAX_HD static void load_tables(int) {}
#endif
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
