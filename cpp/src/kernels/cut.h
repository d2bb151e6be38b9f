// Where the largest elements of a list reach a given mass: the selection behind top-p and typical
// sampling, without sorting.
//
//   mass = sum of e^z over elements;   order: key(z) descending, then the order of the list
//
// The list is split around two keys between which a sample puts the one looked for; the mass above
// them tells on which part to go on, and the last few are sorted. Linear for every input: where
// samples keep misleading, the key is found bit by bit.
// Error: masses are sums in double of terms as they are everywhere (ext_exp.h).
// Domain: no NaN and no +inf in the list; not empty.
//
// Here is the course of the search, for CPUs and GPUs alike. Each passes over the list in its own
// way, to the same bits:
//
//   bracket(key, v, count, share)          keys between which the cut at that share of the mass
//                                          lies if a sample tells right
//   split(key, v, count, bracket, to)      the mass of what exceeds the bracket; what lies in it,
//                                          its ends included, goes to `to`
//   keep<Above>(key, v, count, bound)      keeps in v, in order, what exceeds a key, or what is
//                                          below it; how many those are
//   mass_of(v, count)
//   position(v, count, target)             where the running mass exceeds the target (draw.h)
//   cut_of_few(key, v, count, target)      the cut of at most kCounted elements
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

// Keys between which the cut lies if a sample tells right.
template <class T>
struct Bracket {
  T high, low;
};

struct SplitMass {
  double above;
  std::int64_t between;  // how many
};

// Largest first.
template <class A>
struct ByValue {
  FASTSOFTMAX_HD typename A::reg operator()(typename A::reg z) const { return z; }
};
// Closest to a centre first.
template <class A>
struct ByNearness {
  typename A::reg centre;
  FASTSOFTMAX_HD typename A::reg operator()(typename A::reg z) const {
    return A::min(A::sub(z, centre), A::sub(centre, z));
  }
};

// Elements in the order of their keys: the position at which the running mass reaches the target,
// or the last one.
template <class T>
FASTSOFTMAX_HD inline int reaching(const T* terms, int count, double target) {
  double mass = 0.0;
  for (int i = 0; i < count; ++i) {
    mass += static_cast<double>(terms[i]);
    if (mass >= target) return i;
  }
  return count - 1;
}

// From kCounted elements in that order.
template <class T>
FASTSOFTMAX_HD inline Bracket<T> bracket_around(const T* keys, int reached) {
  constexpr int margin = 6;
  constexpr int last = static_cast<int>(kCounted) - 1;
  return {keys[reached > margin ? reached - margin : 0],
          keys[reached < last - margin ? reached + margin : last]};
}

// The cut behind such a position.
template <class T>
FASTSOFTMAX_HD inline Cut<T> cut_behind(const T* keys, int last) {
  int first = last;
  while (first > 0 && keys[first - 1] == keys[last]) --first;
  return {keys[last], last - first + 1};
}

// Bit by bit from the highest. NaN where the whole list does not reach the target.
template <class Lists, class Key, class T>
FASTSOFTMAX_HD [[gnu::noinline]] T key_by_bits(Lists lists, Key key, const T* v, std::int64_t count,
                                               T* spare, double target) {
  Ordered<T> found = 0;
  for (Ordered<T> bit = OrderedBits<T>::sign; bit != 0; bit >>= 1) {
    const T bound = next_below(from_ordered(static_cast<Ordered<T>>(found | bit)));
    if (bound != bound) continue;
    const Bracket<T> all_above{bound, infinity<T>()};
    if (lists.split(key, v, count, all_above, spare).above >= target) found |= bit;
  }
  return from_ordered(found);
}

// The smallest cut of the list whose mass reaches `target`, which is positive; all of the list
// where rounding keeps it below. `mass` is that of the list. Overwrites v and spare, both with room
// for a register more.
template <class Lists, class Key, class T>
FASTSOFTMAX_HD [[gnu::noinline]] Cut<T> cut_by_mass(Lists lists, Key key, T* v, std::int64_t count,
                                                    T* spare, double target, double mass) {
  constexpr int most_splits = 24;
  bool by_bits = false;
  for (int round = 0; count > kCounted; ++round) {
    Bracket<T> bracket;
    if (round < most_splits && !by_bits)
      bracket = lists.bracket(key, v, count, target / mass);
    else
      bracket.high = bracket.low = key_by_bits(lists, key, v, count, spare, target);
    const SplitMass parts = lists.split(key, v, count, bracket, spare);
    if (parts.above >= target) {
      count = lists.template keep<true>(key, v, count, bracket.high);
      mass = parts.above;
      continue;
    }
    target -= parts.above;
    const double between = lists.mass_of(spare, parts.between);
    if (between >= target) {
      if (bracket.high == bracket.low)
        return {bracket.high, lists.position(spare, parts.between, next_below(target)) + 1};
      by_bits = parts.between == count;
      T* const inside = spare;
      spare = v;
      v = inside;
      count = parts.between;
      mass = between;
      continue;
    }
    target -= between;
    mass -= parts.above + between;
    count = lists.template keep<false>(key, v, count, bracket.low);
  }
  if (count == 0) return {};
  return lists.cut_of_few(key, v, static_cast<int>(count), target);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
