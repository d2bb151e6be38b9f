// The filters of sampling (sampling.hpp), and draws from what they leave.
//
// Typical sampling is a cut by nearness to the mean score under the distribution:
//
//   |-log p - entropy| = |mean - z|,   since entropy = log sum - mean.
//
// Bounds that are formed from logarithms are taken in double and rounded up to the element's type.
#pragma once

#include "kernels/remaining.h"
#include "kernels/stats.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::SampleRow;

// -log of p, 0 < p <= 1, in our own operations; 2^-900 for what is below it.
inline double negative_log(double p) {
  const double q = 1.0 / (p > 0x1p-900 ? p : 0x1p-900) - 1.0;
  return F64::first(log1p_nonnegative<F64>(F64::set1(q)));
}

// Standard deviation of the scores, without those that the exponential clamps, such as -inf and
// masks of -1e9; from their distances to the maximum.
template <class A, class Source>
[[gnu::noinline]] double deviation(Source& source, std::int64_t length, typename A::T max) {
  using T = typename A::T;
  const auto lowest = A::set1(ExpConstants<T>::lowest);
  const auto top = A::set1(max);
  std::int64_t finite = 0;
  double sum = 0.0;
  double squares = 0.0;
  const std::int64_t blocks = blocks_of<A>(length);
  for_each_block<A>(length, 0, blocks, [&](std::int64_t, std::int64_t start, int size) {
    const auto* x = source.block(start, size);
    LaneSums<A> distances;
    LaneSums<A> squared;
    for_each_vector<A>(size, [&](int v, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      finite += count_bits<A>(A::above(z, lowest) & in_use(part));
      const auto distance = A::sub(top, A::select_above(z, lowest, top));
      distances.sum.r[v] = A::add(distances.sum.r[v], distance);
      squared.sum.r[v] = A::fma(distance, distance, squared.sum.r[v]);
    });
    sum += join<A, true>(distances).hi;
    squares += join<A, true>(squared).hi;
  });
  const double mean = sum / static_cast<double>(finite);
  const double variance = squares / static_cast<double>(finite) - mean * mean;
  return variance > 0.0 ? __builtin_sqrt(variance) : 0.0;
}

// The mean score of a list under its softmax, and the list's mass.
template <class A>
inline typename A::T mean_score(const typename A::T* list, std::int64_t count, typename A::T max,
                                typename A::T exponent, double& mass) {
  double weighted = 0.0;
  mass = 0.0;
  for (std::int64_t i = 0; i < count; i += A::block) {
    const std::int64_t left = count - i;
    const WeightedSum<A> sum = weighted_sum<A>(
        list + i, left < A::block ? static_cast<int>(left) : A::block, max, exponent);
    mass += sum.sum.hi + sum.sum.lo;
    weighted += sum.weighted;
  }
  return static_cast<typename A::T>(static_cast<double>(max) - weighted / mass);
}

// A row, or its k largest elements, in the order in which equal ones are taken; and room to work.
template <class A, class Source>
struct Filtered {
  using T = typename A::T;

  Source& source;
  std::int64_t length;
  const T* block_max;  // or null
  T max;
  T* list;  // room for the source and a register more, as for `spare`
  T* spare;
  Remaining<A> remaining{};
  T exponent = ExtExp<A>::exponent(max);
  std::int64_t last_equal = -1;  // of the elements that equal the bound by value and remain

  // The mass of the source where nothing was left out before; else 0.
  void apply(const SampleRow& how, double mass) {
    if (how.top_p < 1.0) remaining.shorten(nucleus(how.top_p, mass));
    if (how.min_p > 0.0)
      remaining.shorten_to(static_cast<double>(max) - negative_log(how.min_p), max);
    if (how.typical_p < 1.0) keep_typical(how.typical_p);
  }

  // A draw from what remains. An element that is drawn from all of the source and remains is a draw
  // from what remains; where that does not happen soon, what remains is listed.
  Drawn<T> draw_from(const BlockMasses& masses, const RandomStream& random, BlockSum* sums) {
    constexpr std::uint32_t attempts = 8;
    for (std::uint32_t i = 0; i < attempts; ++i) {
      const Drawn<T> drawn = draw<A>(source, length, masses, uniforms(random, 2 * i));
      if (is_inside(drawn)) return drawn;
    }
    return draw_listed(uniforms(random, 2 * attempts), sums);
  }

  // Overwrites sums.
  Drawn<T> draw_listed(const Uniforms& uniform, BlockSum* sums) {
    const std::int64_t count = gather<A>(source, length, block_max, remaining, list);
    DirectSource<T> from{list};
    for_each_block<A>(count, 0, blocks_of<A>(count),
                      [&](std::int64_t b, std::int64_t start, int n) {
                        const T top = fastsoftmax::FASTSOFTMAX_ISA::block_max<A>(list + start, n);
                        sum_block<A>(sums[b], list + start, n, top);
                      });
    Drawn<T> drawn = draw<A>(from, count, BlockMasses(sums, blocks_of<A>(count)), uniform);
    const std::int64_t ahead = count_equal<A>(list, drawn.index, drawn.score);
    drawn.index = find_equal<A>(source, length, block_max, drawn.score, ahead);
    return drawn;
  }

 private:
  bool is_inside(const Drawn<T>& drawn) {
    const Cut<T>& cut = remaining.by_value;
    if (remaining.is_typical || drawn.score != cut.bound || cut.equal == 0)
      return contains<A>(source, length, block_max, remaining, drawn.index, drawn.score);
    if (last_equal < 0)
      last_equal = find_equal<A>(source, length, block_max, cut.bound, cut.equal - 1);
    return drawn.index <= last_equal;
  }

  Cut<T> nucleus(double p, double mass) {
    if (p == 0.0) return {max, 1};
    Remaining<A> candidates = remaining;
    if (mass > 0.0) {
      // All that is below this together weighs less than 1 - p; 1/1000 for rounding.
      const double share = mass / static_cast<double>(length) * (1.0 - p);
      const double top = mass_of<A>(&max, 1, exponent);
      if (share < top)
        candidates.shorten_to(static_cast<double>(max) - negative_log(share / top) - 1e-3, max);
      Cut<T> cut;
      if (length > A::block && wide_nucleus(candidates.by_value.bound, p, mass, cut)) return cut;
    }
    const std::int64_t count = gather<A>(source, length, block_max, candidates, list);
    if (!(mass > 0.0)) mass = mass_of<A>(list, count, exponent);
    return cut_by_mass<A>(ByValue<A>{}, list, count, spare, exponent, p * mass, mass);
  }

  // Without a list of the candidates, where they are many and a sample tells right.
  bool wide_nucleus(T candidate, double p, double mass, Cut<T>& cut) {
    T sample[kCounted];
    take_sample<A>(source, length, sample);
    std::int64_t candidates = 0;
    for (const T v : sample) candidates += v > candidate ? 1 : 0;
    if (candidates < kCounted / 4) return false;
    const auto bracket = bracket_of<A>(ByValue<A>{}, sample, exponent, p);
    std::int64_t count = 0;
    const double above = split<A>(ByValue<A>{}, source, length, bracket, exponent, list, count);
    const double between = mass_of<A>(list, count, exponent);
    const double target = p * mass - above;
    if (!(target > 0.0) || between < target) return false;
    if (bracket.high == bracket.low) {
      cut = {bracket.high, position<A>(list, count, exponent, next_below(target)) + 1};
      return true;
    }
    cut = cut_by_mass<A>(ByValue<A>{}, list, count, spare, exponent, target, between);
    return true;
  }

  void keep_typical(double p) {
    const std::int64_t count = gather<A>(source, length, block_max, remaining, list);
    double mass;
    remaining.centre = mean_score<A>(list, count, max, exponent, mass);
    // With p = 0 the closest one stays.
    const double target = (p > 0x1p-500 ? p : 0x1p-500) * mass;
    remaining.by_nearness = cut_by_mass<A>(ByNearness<A>{A::set1(remaining.centre)}, list, count,
                                           spare, exponent, target, mass);
    remaining.is_typical = true;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
