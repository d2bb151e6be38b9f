// Where the largest elements of a list reach a given mass: the selection behind top-p and typical
// sampling, without sorting.
//
//   mass = sum of e^z over elements;   order: key(z) descending, then the order of the list
//
// The list is partitioned around a key near the one looked for, a sample's; the mass above it tells
// on which side to go on, and the last few are sorted. Linear for every input: where samples keep
// misleading, the key is found bit by bit.
// Error: masses are sums in double of terms as they are everywhere (ext_exp.h).
// Domain: no NaN and no infinity in the list; not empty.
#pragma once

#include "kernels/draw.h"
#include "kernels/order.h"

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

// Of at most kCounted elements.
template <class A, class Key>
[[gnu::noinline]] Cut<typename A::T> cut_few(Key key, const typename A::T* v, int count,
                                             typename A::T exponent, double target) {
  using T = typename A::T;
  T keys[kCounted + A::width];
  T sorted[kCounted];
  std::int64_t order[kCounted];
  int places[kCounted];
  T terms[kCounted];
  const auto rounder = A::set1(sum_rounder<A>(exponent));
  map_block<A>(keys, count, false, [&](int i, auto part) __attribute__((always_inline)) {
    return key(load<A>(v + i, part, A::set1(T(0))));
  });
  map_block<A>(terms, count, false, [&](int i, auto part) __attribute__((always_inline)) {
    return ExtExp<A>::term(load<A>(v + i, part, A::set1(T(0))), rounder);
  });
  for (int i = 0; i < count; ++i) places[i] = i;
  sort_by_counting<A>(keys, places, count, count, sorted, order);
  Cut<T> cut;
  double sum = 0.0;
  for (int i = 0; i < count && !(sum >= target && i > 0); ++i) {
    cut.equal = i > 0 && sorted[i] == cut.bound ? cut.equal + 1 : 1;
    cut.bound = sorted[i];
    sum += static_cast<double>(terms[order[i]]);
  }
  return cut;
}

// The key at which a sample reaches such a share of its mass.
template <class A, class Key>
inline typename A::T key_near(Key key, const typename A::T* v, std::int64_t count,
                              typename A::T exponent, double share) {
  typename A::T sample[kCounted];
  for (std::int64_t i = 0; i < kCounted; ++i) sample[i] = v[(2 * i + 1) * count / (2 * kCounted)];
  const double mass = mass_of<A>(sample, kCounted, exponent);
  return cut_few<A>(key, sample, static_cast<int>(kCounted), exponent, share * mass).bound;
}

// What exceeds a key, and what equals it, side by side in `to`.
template <class A, class Key>
inline std::int64_t copy_above(Key key, const typename A::T* v, std::int64_t count,
                               typename A::T bound_, typename A::T* to) {
  const auto bound = A::set1(bound_);
  std::int64_t copied = 0;
  for_each_register<A>(v, count, [&](auto z, unsigned used, std::int64_t) {
    const unsigned bits = A::above(key(z), bound) & used;
    A::compress(to + copied, z, bits);
    copied += count_bits<A>(bits);
  });
  return copied;
}

// Keeps in v what is below a key, and copies what equals it to `equal_to`.
template <class A, class Key>
inline std::int64_t keep_below(Key key, typename A::T* v, std::int64_t count, typename A::T bound_,
                               typename A::T* equal_to, std::int64_t& equal) {
  const auto bound = A::set1(bound_);
  std::int64_t below = 0;
  equal = 0;
  for_each_register<A>(v, count, [&](auto z, unsigned used, std::int64_t) {
    const auto k = key(z);
    const unsigned reaching = A::at_least(k, bound);
    const unsigned same = reaching & ~A::above(k, bound) & used;
    const unsigned less = ~reaching & used;
    if (same != 0) {
      A::compress(equal_to + equal, z, same);
      equal += count_bits<A>(same);
    }
    A::compress(v + below, z, less);
    below += count_bits<A>(less);
  });
  return below;
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
    const std::int64_t reaching = copy_above<A>(key, v, count, bound, spare);
    if (mass_of<A>(spare, reaching, exponent) >= target) found |= bit;
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
  constexpr int most_partitions = 24;
  for (int round = 0; count > kCounted; ++round) {
    const T pivot = round < most_partitions
                        ? key_near<A>(key, v, count, exponent, target / mass)
                        : key_by_bits<A>(key, v, count, spare, exponent, target);
    if (pivot != pivot) return {};
    const std::int64_t above = copy_above<A>(key, v, count, pivot, spare);
    const double mass_above = mass_of<A>(spare, above, exponent);
    if (mass_above >= target) {
      T* const larger = spare;
      spare = v;
      v = larger;
      count = above;
      mass = mass_above;
      continue;
    }
    target -= mass_above;
    std::int64_t equal = 0;
    const std::int64_t below = keep_below<A>(key, v, count, pivot, spare, equal);
    const double mass_equal = mass_of<A>(spare, equal, exponent);
    if (mass_equal >= target || below == 0)
      return {pivot, position<A>(spare, equal, exponent, next_below(target)) + 1};
    target -= mass_equal;
    mass -= mass_above + mass_equal;
    count = below;
  }
  return cut_few<A>(key, v, static_cast<int>(count), exponent, target);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
