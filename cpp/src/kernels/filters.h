// What the filters of sampling leave of a row (sampling.hpp): a cut by value and, for typical
// sampling, one by nearness to the mean score under the distribution,
//
//   |-log p - entropy| = |mean - z|,   since entropy = log sum - mean.
//
// Bounds that are formed from logarithms are taken in double and rounded up to the element's type.
#pragma once

#include "kernels/mass.h"
#include "kernels/stats.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::SampleRow;

template <class A>
struct Remaining {
  using T = typename A::T;
  Cut<T> by_value;  // a bound of -inf: everything that is finite
  bool is_typical = false;
  T centre = 0;
  Cut<T> by_nearness;

  // The smaller of two sets that are both cuts of the same order.
  void shorten(const Cut<T>& cut) {
    if (cut.bound > by_value.bound || (cut.bound == by_value.bound && cut.equal < by_value.equal))
      by_value = cut;
  }
  // Nothing below a score; the first of the largest in any case.
  void shorten_to(double lowest, T max) {
    T bound = static_cast<T>(lowest);
    if (static_cast<double>(bound) < lowest) bound = next_above(bound);
    if (bound > max)
      shorten({max, 1});
    else if (bound > -infinity<T>())
      shorten({next_below(bound), 0});
  }

 private:
  static T next_above(T v) { return -next_below(-v); }
};

// Tells register by register, in the order of the row, what remains.
template <class A>
struct Membership {
  explicit Membership(const Remaining<A>& r)
      : value_bound(A::set1(r.by_value.bound)),
        value_equal(r.by_value.equal),
        is_typical(r.is_typical),
        key{A::set1(r.centre)},
        nearness_bound(A::set1(r.by_nearness.bound)),
        nearness_equal(r.by_nearness.equal) {}

  [[gnu::always_inline]] unsigned operator()(typename A::reg z, unsigned used) {
    unsigned bits = inside(z, value_bound, value_equal, used);
    if (is_typical && bits != 0) bits = inside(key(z), nearness_bound, nearness_equal, bits);
    return bits;
  }

 private:
  typename A::reg value_bound;
  std::int64_t value_equal;  // still to come
  bool is_typical;
  ByNearness<A> key;
  typename A::reg nearness_bound;
  std::int64_t nearness_equal;

  static unsigned inside(typename A::reg k, typename A::reg bound, std::int64_t& equal,
                         unsigned used) {
    const unsigned above = A::above(k, bound) & used;
    if (equal == 0) return above;
    unsigned same = A::at_least(k, bound) & ~A::above(k, bound) & used;
    unsigned kept = 0;
    for (; same != 0 && equal > 0; same &= same - 1, --equal) kept |= same & (0u - same);
    return above | kept;
  }
};

// Copies what remains to `list`, which has room for a register more. Blocks whose maximum is below
// the bound are not read; block_max null: all are.
template <class A, class Source>
[[gnu::noinline]] std::int64_t gather(Source& source, std::int64_t length,
                                      const typename A::T* block_max, const Remaining<A>& remaining,
                                      typename A::T* list) {
  using T = typename A::T;
  Membership<A> membership(remaining);
  std::int64_t count = 0;
  const std::int64_t blocks = blocks_of<A>(length);
  for_each_block<A>(length, 0, blocks, [&](std::int64_t b, std::int64_t start, int size) {
    if (block_max != nullptr && block_max[b] < remaining.by_value.bound) return;
    const auto* x = source.block(start, size);
    for_each_vector<A>(size, [&](int, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      const unsigned bits = membership(z, in_use(part));
      if (bits == 0) return;
      A::compress(list + count, z, bits);
      count += count_bits<A>(bits);
    });
  });
  return count;
}

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

// Elements in the order in which equal ones are taken, with room to work: a row, or its k largest.
// Applies top_p, min_p and typical_p.
template <class A, class Source>
inline void apply_filters(const SampleRow& how, Source& source, std::int64_t length,
                          const typename A::T* block_max, typename A::T max, double row_mass,
                          typename A::T* list, typename A::T* spare, Remaining<A>& remaining) {
  using T = typename A::T;
  const T exponent = ExtExp<A>::exponent(max);
  if (how.top_p == 0.0) {
    remaining.shorten({max, 1});
  } else if (how.top_p < 1.0) {
    Remaining<A> candidates = remaining;
    double mass = row_mass;
    if (row_mass > 0.0) {
      // All that is below this together weighs less than 1 - p; 1/1000 for rounding.
      const double share = mass / static_cast<double>(length) * (1.0 - how.top_p);
      const double top = mass_of<A>(&max, 1, exponent);
      if (share < top)
        candidates.shorten_to(static_cast<double>(max) - negative_log(share / top) - 1e-3, max);
    }
    const std::int64_t count = gather<A>(source, length, block_max, candidates, list);
    if (!(row_mass > 0.0)) mass = mass_of<A>(list, count, exponent);
    remaining.shorten(
        cut_by_mass<A>(ByValue<A>{}, list, count, spare, exponent, how.top_p * mass, mass));
  }
  if (how.min_p > 0.0)
    remaining.shorten_to(static_cast<double>(max) - negative_log(how.min_p), max);
  if (how.typical_p < 1.0) {
    const std::int64_t count = gather<A>(source, length, block_max, remaining, list);
    double mass;
    remaining.centre = mean_score<A>(list, count, max, exponent, mass);
    // With p = 0 the closest one stays.
    const double target = how.typical_p > 0x1p-500 ? how.typical_p * mass : mass * 0x1p-500;
    remaining.by_nearness = cut_by_mass<A>(ByNearness<A>{A::set1(remaining.centre)}, list, count,
                                           spare, exponent, target, mass);
    remaining.is_typical = true;
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
