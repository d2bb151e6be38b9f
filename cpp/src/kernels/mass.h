// The passes over lists in memory that cut.h asks for, on a CPU.
#pragma once

#include "kernels/cut.h"
#include "kernels/select.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

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
};

template <class A, class Key>
inline Bracket<typename A::T> bracket_of(Key key, const typename A::T* sample,
                                         typename A::T exponent, double share) {
  const Sorted<A> sorted(key, sample, static_cast<int>(kCounted), exponent);
  return bracket_around(sorted.keys, reaching(sorted.terms, sorted.count,
                                              share * mass_of<A>(sample, kCounted, exponent)));
}

// kCounted elements from all over a source.
template <class A, class Source>
inline void take_sample(Source& source, std::int64_t length, typename A::T* sample) {
  for (std::int64_t i = 0; i < kCounted; ++i) {
    const auto* const x = source.block((2 * i + 1) * length / (2 * kCounted), 1);
    sample[i] = A::first(A::load(x, 1, A::set1(0)));
  }
}

// `between` has room for a register more.
template <class A, class Key, class Source>
[[gnu::noinline]] SplitMass split(Key key, Source& source, std::int64_t length,
                                  const Bracket<typename A::T>& bracket, typename A::T exponent,
                                  typename A::T* between) {
  using T = typename A::T;
  const auto high = A::set1(bracket.high);
  const auto low = A::set1(bracket.low);
  T above[A::block + A::width];
  double mass = 0.0;
  std::int64_t in_between = 0;
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
  return {mass, in_between};
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

// Lists whose terms are those under one exponent.
template <class A>
struct Lists {
  using T = typename A::T;
  T exponent;

  template <class Key>
  Bracket<T> bracket(Key key, const T* v, std::int64_t count, double share) const {
    DirectSource<T> list{v};
    T sample[kCounted];
    take_sample<A>(list, count, sample);
    return bracket_of<A>(key, sample, exponent, share);
  }
  template <class Key>
  SplitMass split(Key key, const T* v, std::int64_t count, const Bracket<T>& around, T* to) const {
    DirectSource<T> list{v};
    return fastsoftmax::FASTSOFTMAX_ISA::split<A>(key, list, count, around, exponent, to);
  }
  template <bool Above, class Key>
  std::int64_t keep(Key key, T* v, std::int64_t count, T bound) const {
    return fastsoftmax::FASTSOFTMAX_ISA::keep<A, Above>(key, v, count, bound);
  }
  double mass_of(const T* v, std::int64_t count) const {
    return fastsoftmax::FASTSOFTMAX_ISA::mass_of<A>(v, count, exponent);
  }
  std::int64_t position(const T* v, std::int64_t count, double target) const {
    return fastsoftmax::FASTSOFTMAX_ISA::position<A>(v, count, exponent, target);
  }
  template <class Key>
  Cut<T> cut_of_few(Key key, const T* v, int count, double target) const {
    const Sorted<A> sorted(key, v, count, exponent);
    return cut_behind(sorted.keys, reaching(sorted.terms, count, target));
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
