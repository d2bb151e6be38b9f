// Where the largest elements of a list reach a given mass: the selection behind top-p and typical
// sampling, without sorting.
//
//   mass = sum of e^z over elements;   order: key(z) descending, then the order of the list
//
// The list is split around two keys between which a sample puts the one looked for; the mass above
// them tells on which part to go on, and the last few are sorted. Linear for every input: where
// samples keep misleading, the key is found bit by bit.
// Error: masses are sums in double of terms as they are everywhere (ext_exp.h).
// Domain: no NaN and no infinity in the list; not empty.
#pragma once

#include "kernels/draw.h"
#include "kernels/select.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The elements whose key exceeds `bound`, and the first `equal` of those that equal it.
template <class T>
struct Cut {
  T bound = -infinity<T>();
  std::int64_t equal = 0;
};

// Largest first.
template <class A>
struct ByValue {
  typename A::reg operator()(typename A::reg z) const { return z; }
};
// Closest to a centre first.
template <class A>
struct ByNearness {
  typename A::reg centre;
  typename A::reg operator()(typename A::reg z) const {
    return A::min(A::sub(z, centre), A::sub(centre, z));
  }
};

template <class A>
inline double mass_of(const typename A::T* v, std::int64_t count, typename A::T exponent) {
  double mass = 0.0;
  for (std::int64_t i = 0; i < count; i += A::block) {
    const std::int64_t left = count - i;
    const Sum2 sum =
        sum_of<A>(v + i, left < A::block ? static_cast<int>(left) : A::block, exponent);
    mass += sum.hi + sum.lo;
  }
  return mass;
}

// At most kCounted elements in the order of their keys.
template <class A>
struct Sorted {
  using T = typename A::T;
  int count;
  T keys[kCounted];
  T terms[kCounted];

  template <class Key>
  Sorted(Key key, const T* v, int count_, T exponent) : count(count_) {
    T in_order[kCounted + A::width];
    T unsorted[kCounted];
    int places[kCounted];
    std::int64_t order[kCounted];
    const auto rounder = A::set1(sum_rounder<A>(exponent));
    const auto fill = A::set1(T(0));
    map_block<A>(in_order, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return key(load<A>(v + i, part, fill));
    });
    map_block<A>(unsorted, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return ExtExp<A>::term(load<A>(v + i, part, fill), rounder);
    });
    for (int i = 0; i < count; ++i) places[i] = i;
    sort_by_counting<A>(in_order, places, count, count, keys, order);
    for (int i = 0; i < count; ++i) terms[i] = unsorted[order[i]];
  }

  // The position at which the running mass reaches the target, or the last one.
  int reaching(double target) const {
    double mass = 0.0;
    for (int i = 0; i < count; ++i) {
      mass += static_cast<double>(terms[i]);
      if (mass >= target) return i;
    }
    return count - 1;
  }
};

// Keys between which the cut lies if a sample tells right.
template <class T>
struct Bracket {
  T high, low;
};

template <class A, class Key>
inline Bracket<typename A::T> bracket_of(Key key, const typename A::T* sample,
                                         typename A::T exponent, double share) {
  constexpr int margin = 6;
  const Sorted<A> sorted(key, sample, static_cast<int>(kCounted), exponent);
  const int reached = sorted.reaching(share * mass_of<A>(sample, kCounted, exponent));
  const int high = reached > margin ? reached - margin : 0;
  const int low = reached + margin < kCounted ? reached + margin : static_cast<int>(kCounted) - 1;
  return {sorted.keys[high], sorted.keys[low]};
}

// kCounted elements from all over a source.
template <class A, class Source>
inline void take_sample(Source& source, std::int64_t length, typename A::T* sample) {
  for (std::int64_t i = 0; i < kCounted; ++i) {
    const auto* const x = source.block((2 * i + 1) * length / (2 * kCounted), 1);
    sample[i] = A::first(A::load(x, 1, A::set1(0)));
  }
}

// The mass of what exceeds the bracket; what lies in it, its ends included, goes to `between`,
// which has room for a register more.
template <class A, class Key, class Source>
[[gnu::noinline]] double split(Key key, Source& source, std::int64_t length,
                               const Bracket<typename A::T>& bracket, typename A::T exponent,
                               typename A::T* between, std::int64_t& in_between) {
  using T = typename A::T;
  const auto high = A::set1(bracket.high);
  const auto low = A::set1(bracket.low);
  T above[A::block + A::width];
  double mass = 0.0;
  in_between = 0;
  for_each_block<A>(length, 0, blocks_of<A>(length), [&](std::int64_t, std::int64_t start, int n) {
    const auto* x = source.block(start, n);
    int in_above = 0;
    for_each_vector<A>(n, [&](int, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      const auto k = key(z);
      const unsigned exceeding = A::above(k, high) & in_use(part);
      const unsigned inside = A::at_least(k, low) & ~exceeding & in_use(part);
      A::compress(above + in_above, z, exceeding);
      in_above += count_bits<A>(exceeding);
      A::compress(between + in_between, z, inside);
      in_between += count_bits<A>(inside);
    });
    const Sum2 sum = sum_of<A>(above, in_above, exponent);
    mass += sum.hi + sum.lo;
  });
  return mass;
}

// Keeps in v, in order, what exceeds a key, or what is below it.
template <class A, bool Above, class Key>
inline std::int64_t keep(Key key, typename A::T* v, std::int64_t count, typename A::T bound_) {
  const auto bound = A::set1(bound_);
  std::int64_t kept = 0;
  for_each_register<A>(v, count, [&](auto z, unsigned used, std::int64_t) {
    const auto k = key(z);
    const unsigned bits = (Above ? A::above(k, bound) : ~A::at_least(k, bound)) & used;
    A::compress(v + kept, z, bits);
    kept += count_bits<A>(bits);
  });
  return kept;
}

// Bit by bit from the highest. NaN where the whole list does not reach the target.
template <class A, class Key>
[[gnu::noinline]] typename A::T key_by_bits(Key key, const typename A::T* v, std::int64_t count,
                                            typename A::T* spare, typename A::T exponent,
                                            double target) {
  using T = typename A::T;
  Ordered<T> found = 0;
  for (Ordered<T> bit = OrderedBits<T>::sign; bit != 0; bit >>= 1) {
    const T bound = next_below(from_ordered(static_cast<Ordered<T>>(found | bit)));
    if (bound != bound) continue;
    std::int64_t none;
    DirectSource<T> list{v};
    if (split<A>(key, list, count, {bound, infinity<T>()}, exponent, spare, none) >= target)
      found |= bit;
  }
  return from_ordered(found);
}

// The smallest cut of the list whose mass reaches `target`, which is positive; all of the list
// where rounding keeps it below. The terms are those under `exponent`. Overwrites v and spare, both
// with room for a register more.
template <class A, class Key>
[[gnu::noinline]] Cut<typename A::T> cut_by_mass(Key key, typename A::T* v, std::int64_t count,
                                                 typename A::T* spare, typename A::T exponent,
                                                 double target, double mass) {
  using T = typename A::T;
  constexpr int most_splits = 24;
  bool by_bits = false;
  for (int round = 0; count > kCounted; ++round) {
    DirectSource<T> list{v};
    Bracket<T> bracket;
    if (round < most_splits && !by_bits) {
      T sample[kCounted];
      take_sample<A>(list, count, sample);
      bracket = bracket_of<A>(key, sample, exponent, target / mass);
    } else {
      bracket.high = bracket.low = key_by_bits<A>(key, v, count, spare, exponent, target);
    }
    std::int64_t in_between = 0;
    const double above = split<A>(key, list, count, bracket, exponent, spare, in_between);
    if (above >= target) {
      count = keep<A, true>(key, v, count, bracket.high);
      mass = above;
      continue;
    }
    target -= above;
    const double between = mass_of<A>(spare, in_between, exponent);
    if (between >= target) {
      if (bracket.high == bracket.low)
        return {bracket.high, position<A>(spare, in_between, exponent, next_below(target)) + 1};
      by_bits = in_between == count;
      T* const inside = spare;
      spare = v;
      v = inside;
      count = in_between;
      mass = between;
      continue;
    }
    target -= between;
    mass -= above + between;
    count = keep<A, false>(key, v, count, bracket.low);
  }
  if (count == 0) return {};
  const Sorted<A> sorted(key, v, static_cast<int>(count), exponent);
  const int last = sorted.reaching(target);
  int first = last;
  while (first > 0 && sorted.keys[first - 1] == sorted.keys[last]) --first;
  return {sorted.keys[last], last - first + 1};
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
