// One element of a row with a probability in proportion to e^z, by two uniform numbers in [0, 1):
// one chooses a block by the sums of all blocks, the other an element of that block by running
// sums.
//
// Error: weights are terms as they are summed everywhere (ext_exp.h), running sums are in double.
// What weighs nothing is never chosen; what weighs 2^-53 of its block, in a block that weighs 2^-53
// of the row, can be.
//
// Running sums are taken in the order of the row, so that the choice does not depend on the width
// of registers.
#pragma once

#include "kernels/philox.h"
#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Looks for where a running sum of masses exceeds a target.
struct RunningMass {
  double target;
  double sum = 0.0;
  double before = 0.0;  // of what is at `at`
  std::int64_t at = 0;  // the last that weighs anything

  // True where the search is over.
  FASTSOFTMAX_HD bool add(std::int64_t i, double mass) {
    if (!(mass > 0.0)) return false;
    at = i;
    before = sum;
    sum += mass;
    return sum > target;
  }
};

// The mass of a block under another exponent than its own, which is not above that.
FASTSOFTMAX_HD inline double mass_under(const BlockSum& sum, std::int32_t exponent) {
  return (sum.hi + sum.lo) * power_of_two(std::int64_t{sum.exponent} - exponent);
}

template <class A, class In>
[[gnu::noinline]] Sum2 sum_of(const In* x, int count, typename A::T exponent) {
  return block_sum<A>(x, count, exponent);
}

// The index at which the running sum of the terms exceeds the target; the last one that weighs
// anything where rounding keeps the sum below.
template <class A, class In>
[[gnu::noinline]] std::int64_t position(const In* x, std::int64_t count, typename A::T exponent,
                                        double target) {
  using T = typename A::T;
  RunningMass groups{target};
  for (std::int64_t i = 0; i < count; i += A::lanes) {
    const std::int64_t left = count - i;
    const Sum2 group =
        sum_of<A>(x + i, left < A::lanes ? static_cast<int>(left) : A::lanes, exponent);
    if (groups.add(i, group.hi + group.lo)) break;
  }
  const std::int64_t start = groups.at;
  alignas(64) T terms[A::lanes];
  const std::int64_t left = count - start;
  const int size = left < A::lanes ? static_cast<int>(left) : A::lanes;
  const auto rounder = A::set1(sum_rounder<A>(exponent));
  map_block<A>(terms, size, false, [&](int i, auto part) __attribute__((always_inline)) {
    return ExtExp<A>::term(load<A>(x + start + i, part, A::set1(-infinity<T>())), rounder);
  });
  RunningMass elements{target, groups.before};
  for (int i = 0; i < size; ++i) {
    if (elements.add(i, static_cast<double>(terms[i]))) break;
  }
  return start + elements.at;
}

// A block's sum under its own exponent; its maximum is not above the domain.
template <class A, class In>
inline void sum_block(BlockSum& out, const In* x, int count, typename A::T max) {
  const auto exponent = ExtExp<A>::exponent(max);
  const Sum2 sum = sum_of<A>(x, count, exponent);
  out = {};
  out.hi = sum.hi;
  out.lo = sum.lo;
  out.exponent = static_cast<std::int32_t>(exponent);
}

// Sums of blocks under the largest of their exponents.
struct BlockMasses {
  const BlockSum* sums;
  std::int64_t blocks;
  std::int32_t exponent;
  double total;

  BlockMasses(const BlockSum* sums_, std::int64_t blocks_) : sums(sums_), blocks(blocks_) {
    exponent = sums[0].exponent;
    for (std::int64_t b = 1; b < blocks; ++b)
      exponent = sums[b].exponent > exponent ? sums[b].exponent : exponent;
    total = 0.0;
    for (std::int64_t b = 0; b < blocks; ++b) total += mass(b);
  }
  double mass(std::int64_t b) const { return mass_under(sums[b], exponent); }
  std::int64_t choose(double uniform) const {
    RunningMass running{uniform * total};
    for (std::int64_t b = 0; b < blocks; ++b) {
      if (running.add(b, mass(b))) break;
    }
    return running.at;
  }
};

template <class A, class In>
inline int draw_in_block(const In* x, int count, const BlockSum& sum, double uniform) {
  return static_cast<int>(
      position<A>(x, count, static_cast<typename A::T>(sum.exponent), uniform * (sum.hi + sum.lo)));
}

template <class T>
struct Drawn {
  std::int64_t index;
  T score;
};

// A draw from all of a source, whose blocks have these sums.
template <class A, class Source>
[[gnu::noinline]] Drawn<typename A::T> draw(Source& source, std::int64_t length,
                                            const BlockMasses& masses, const Uniforms& uniform) {
  using T = typename A::T;
  const std::int64_t b = masses.blocks == 1 ? 0 : masses.choose(uniform.first);
  Drawn<T> drawn{};
  for_each_block<A>(length, b, b + 1, [&](std::int64_t, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    const int i = draw_in_block<A>(x, count, masses.sums[b], uniform.second);
    drawn = {start + i, A::first(A::load(x + i, 1, A::set1(T(0))))};
  });
  return drawn;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
