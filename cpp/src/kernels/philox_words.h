// Philox4x32-10 for sixteen counters at a time, in registers.
#pragma once

#include "kernels/philox.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

alignas(64) constexpr std::uint32_t kCountWords[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                       8, 9, 10, 11, 12, 13, 14, 15};

// What random() gives for the sixteen draws from `draw` on, all first words first, then all second
// ones, and so on; of each the upper 31 bits.
inline void random_words(const RandomStream& stream, std::uint32_t draw, std::uint32_t* words) {
  for (int c = 0; c < 16; c += Words::width) {
    Words::reg a = Words::add(Words::set1(draw), Words::load(kCountWords + c));
    Words::reg b = Words::set1(stream.position);
    Words::reg d = Words::set1(stream.id[0]);
    Words::reg e = Words::set1(stream.id[1]);
    std::uint32_t k0 = stream.key[0];
    std::uint32_t k1 = stream.key[1];
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      Words::reg p_high;
      Words::reg p_low;
      Words::reg q_high;
      Words::reg q_low;
      Words::multiply(a, Words::set1(kPhiloxMultiplier<0>), p_high, p_low);
      Words::multiply(d, Words::set1(kPhiloxMultiplier<1>), q_high, q_low);
      a = Words::exclusive_or(Words::exclusive_or(q_high, b), Words::set1(k0));
      d = Words::exclusive_or(Words::exclusive_or(p_high, e), Words::set1(k1));
      b = q_low;
      e = p_low;
      k0 += kPhiloxWeyl<0>;
      k1 += kPhiloxWeyl<1>;
    }
    Words::store(words + c, Words::half(a));
    Words::store(words + 16 + c, Words::half(b));
    Words::store(words + 32 + c, Words::half(d));
    Words::store(words + 48 + c, Words::half(e));
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
