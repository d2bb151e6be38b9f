// The filters of sampling (sampling.hpp), and draws from what they leave: a cut by value and one by
// nearness to a centre. Ties are taken in the order of the row, so that where a cut goes through
// equal elements, the ones before decide.
//
// Typical sampling is a cut by nearness to the mean score under the distribution:
//
//   |-log p - entropy| = |mean - z|,   since entropy = log sum - mean.
//
// Bounds that are formed from logarithms are taken in double and rounded up to the element's type.
//
// Here is what is done, for CPUs and GPUs alike. Each has passes of its own (`Work`), to the same
// bits, over a row or its k largest elements in the order in which equal ones are taken, with room
// to list them:
//
//   length, max, exponent           of the row, the last two in the domain
//   draw(uniforms)                  one of all elements
//   draw_listed(remaining, u)       one of what remains, which is listed
//   contains(remaining, index)      whether an element that equals a bound remains
//   find_equal(value, ahead)        the element that equals a value behind so many equal ones
//   deviation()                     of the scores
//   gather(remaining)               lists what remains; how many those are
//   split(bracket)                  as cut.h has it, into the list
//   take_sample()                   kCounted elements from all over, then
//   sampled_above(bound)            how many of them exceed a bound
//   sampled_bracket(share)          as cut.h has it
//   list_mass(count)                and so on: of the list
#pragma once

#include "kernels/cut.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::SampleRow;

// -log of p, 0 < p <= 1, in our own operations; 2^-900 for what is below it.
FASTSOFTMAX_HD inline double negative_log(double p) {
  const double q = 1.0 / (p > 0x1p-900 ? p : 0x1p-900) - 1.0;
  return F64::first(log1p_nonnegative<F64>(F64::set1(q)));
}

// What filters have left of a row.
template <class A>
struct Remaining {
  using T = typename A::T;
  Cut<T> by_value;  // a bound of -inf: everything that is finite
  bool is_typical = false;
  T centre = 0;
  Cut<T> by_nearness;

  // The smaller of two sets that are both cuts of the same order.
  FASTSOFTMAX_HD void shorten(const Cut<T>& cut) {
    if (cut.bound > by_value.bound || (cut.bound == by_value.bound && cut.equal < by_value.equal))
      by_value = cut;
  }
  // Nothing below a score; the first of the largest in any case.
  FASTSOFTMAX_HD void shorten_to(double lowest, T max) {
    T bound = static_cast<T>(lowest);
    if (static_cast<double>(bound) < lowest) bound = next_above(bound);
    if (bound > max)
      shorten({max, 1});
    else if (bound > -infinity<T>())
      shorten({next_below(bound), 0});
  }

 private:
  FASTSOFTMAX_HD static T next_above(T v) { return -next_below(-v); }
};

// Of a list under its softmax, from sums of terms and of terms times their distance to the maximum.
template <class T>
struct MeanScore {
  T mean;
  double mass;

  FASTSOFTMAX_HD MeanScore(T max, double weighted, double mass_)
      : mean(static_cast<T>(static_cast<double>(max) - weighted / mass_)), mass(mass_) {}
};

// Sums of the distances of scores to the maximum, but for those that the exponential clamps, such
// as -inf and masks of -1e9.
struct Moments {
  std::int64_t count = 0;
  double sum = 0.0;
  double squares = 0.0;

  FASTSOFTMAX_HD double deviation() const {
    const double mean = sum / static_cast<double>(count);
    const double variance = squares / static_cast<double>(count) - mean * mean;
    return variance > 0.0 ? __builtin_sqrt(variance) : 0.0;
  }
};

FASTSOFTMAX_HD inline bool is_filtered(const SampleRow& how) {
  return how.top_k > 0 || how.top_p < 1.0 || how.min_p > 0.0 || how.typical_p < 1.0 ||
         how.top_n_sigma > 0.0 || how.max_surprise < __builtin_inf();
}

template <class Work>
struct Filtered {
  using A = typename Work::A;
  using T = typename A::T;

  Work work;
  Remaining<A> remaining{};
  std::int64_t last_equal = -1;  // of the elements that equal the bound by value and remain

  // Those that ask for scores of at least a bound. `log` is the state of log_softmax.
  FASTSOFTMAX_HD void apply_to_scores(const SampleRow& how, const RowState& log) {
    const double max = static_cast<double>(work.max);
    if (how.max_surprise < __builtin_inf()) {
      constexpr double ln2 = 0x1.62e42fefa39efp-1;
      remaining.shorten_to(log.max + log.log_sum - how.max_surprise * ln2, work.max);
    }
    if (how.top_n_sigma > 0.0)
      remaining.shorten_to(max - how.top_n_sigma * work.deviation(), work.max);
  }

  // Those by probability. `mass` is that of the source where nothing was left out before; else 0.
  FASTSOFTMAX_HD void apply(const SampleRow& how, double mass) {
    if (how.top_p < 1.0) remaining.shorten(nucleus(how.top_p, mass));
    if (how.min_p > 0.0)
      remaining.shorten_to(static_cast<double>(work.max) - negative_log(how.min_p), work.max);
    if (how.typical_p < 1.0) keep_typical(how.typical_p);
  }

  // All of them but top_k, on a row of this mass, and a draw from what remains.
  FASTSOFTMAX_HD Drawn<T> draw(const SampleRow& how, const RowState& log, double mass) {
    apply_to_scores(how, log);
    const bool is_whole = remaining.by_value.bound == -infinity<T>();
    apply(how, is_whole ? mass : 0.0);
    return draw_remaining(how.random);
  }

  // An element that is drawn from all of the source and remains is a draw from what remains; where
  // that does not happen soon, what remains is listed.
  FASTSOFTMAX_HD Drawn<T> draw_remaining(const RandomStream& random) {
    constexpr std::uint32_t attempts = 8;
    for (std::uint32_t i = 0; i < attempts; ++i) {
      const Drawn<T> drawn = work.draw(uniforms(random, 2 * i));
      if (is_inside(drawn)) return drawn;
    }
    return work.draw_listed(remaining, uniforms(random, 2 * attempts));
  }

 private:
  FASTSOFTMAX_HD bool is_inside(const Drawn<T>& drawn) {
    const Cut<T>& by_value = remaining.by_value;
    const bool typical = remaining.is_typical;
    const ByNearness<A> nearness{A::set1(remaining.centre)};
    const T distance = A::first(nearness(A::set1(drawn.score)));
    const T nearest = remaining.by_nearness.bound;
    if (drawn.score < by_value.bound || (typical && distance < nearest)) return false;
    if (drawn.score > by_value.bound && (!typical || distance > nearest)) return true;
    if (typical || by_value.equal == 0) return work.contains(remaining, drawn.index);
    if (last_equal < 0) last_equal = work.find_equal(by_value.bound, by_value.equal - 1);
    return drawn.index <= last_equal;
  }

  FASTSOFTMAX_HD Cut<T> nucleus(double p, double mass) {
    if (p == 0.0) return {work.max, 1};
    Remaining<A> candidates = remaining;
    if (mass > 0.0) {
      // All that is below this together weighs less than 1 - p; 1/1000 for rounding.
      const double share = mass / static_cast<double>(work.length) * (1.0 - p);
      const double top = static_cast<double>(
          A::first(ExtExp<A>::term(A::set1(work.max), A::set1(sum_rounder<A>(work.exponent)))));
      if (share < top)
        candidates.shorten_to(static_cast<double>(work.max) - negative_log(share / top) - 1e-3,
                              work.max);
      Cut<T> cut;
      if (work.length > A::block && wide_nucleus(candidates.by_value.bound, p, mass, cut))
        return cut;
    }
    const std::int64_t count = work.gather(candidates);
    if (!(mass > 0.0)) mass = work.list_mass(count);
    return work.list_cut(ByValue<A>{}, count, p * mass, mass);
  }

  // Without a list of the candidates, where they are many and a sample tells right.
  FASTSOFTMAX_HD bool wide_nucleus(T candidate, double p, double mass, Cut<T>& cut) {
    work.take_sample();
    if (work.sampled_above(candidate) < kCounted / 4) return false;
    const Bracket<T> bracket = work.sampled_bracket(p);
    const SplitMass parts = work.split(bracket);
    const double between = work.list_mass(parts.between);
    const double target = p * mass - parts.above;
    if (!(target > 0.0) || between < target) return false;
    if (bracket.high == bracket.low)
      cut = {bracket.high, work.list_position(parts.between, next_below(target)) + 1};
    else
      cut = work.list_cut(ByValue<A>{}, parts.between, target, between);
    return true;
  }

  FASTSOFTMAX_HD void keep_typical(double p) {
    const std::int64_t count = work.gather(remaining);
    const MeanScore<T> list = work.list_mean(count);
    remaining.centre = list.mean;
    // With p = 0 the closest one stays.
    const double target = (p > 0x1p-500 ? p : 0x1p-500) * list.mass;
    remaining.by_nearness =
        work.list_cut(ByNearness<A>{A::set1(remaining.centre)}, count, target, list.mass);
    remaining.is_typical = true;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
