// Philox4x32-10: random numbers as a function of a counter and a key.
//
// Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
#pragma once

#include "simd/vec_common.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::RandomStream;

template <int I>
constexpr std::uint32_t kPhiloxMultiplier = I == 0 ? 0xD2511F53 : 0xCD9E8D57;
template <int I>
constexpr std::uint32_t kPhiloxWeyl = I == 0 ? 0x9E3779B9 : 0xBB67AE85;

struct Philox {
  std::uint32_t word[4];  // the counter, and what becomes of it

  FASTSOFTMAX_HD void encrypt(const std::uint32_t (&key)[2]) {
    std::uint32_t k0 = key[0];
    std::uint32_t k1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t p = std::uint64_t{kPhiloxMultiplier<0>} * word[0];
      const std::uint64_t q = std::uint64_t{kPhiloxMultiplier<1>} * word[2];
      word[0] = static_cast<std::uint32_t>(q >> 32) ^ word[1] ^ k0;
      word[2] = static_cast<std::uint32_t>(p >> 32) ^ word[3] ^ k1;
      word[1] = static_cast<std::uint32_t>(q);
      word[3] = static_cast<std::uint32_t>(p);
      k0 += kPhiloxWeyl<0>;
      k1 += kPhiloxWeyl<1>;
    }
  }
  FASTSOFTMAX_HD std::uint64_t half(int which) const {
    return word[2 * which] | std::uint64_t{word[2 * which + 1]} << 32;
  }
};

FASTSOFTMAX_HD inline Philox random(const RandomStream& stream, std::uint32_t draw) {
  Philox numbers{{draw, stream.position, stream.id[0], stream.id[1]}};
  numbers.encrypt(stream.key);
  return numbers;
}

// Two uniform numbers in [0, 1), of 53 bits each.
struct Uniforms {
  double first, second;
};
FASTSOFTMAX_HD inline Uniforms uniforms(const RandomStream& stream, std::uint32_t draw) {
  const Philox numbers = random(stream, draw);
  return {static_cast<double>(numbers.half(0) >> 11) * 0x1p-53,
          static_cast<double>(numbers.half(1) >> 11) * 0x1p-53};
}
// One in (0, 1).
FASTSOFTMAX_HD inline double open_uniform(const RandomStream& stream, std::uint32_t draw) {
  return (static_cast<double>(random(stream, draw).half(0) >> 12) + 0.5) * 0x1p-52;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
