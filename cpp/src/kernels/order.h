// Order statistics of numbers in memory, no NaN among them: the k-th largest, and sorting.
//
// -0 equals +0. Everything is linear in the number of elements whatever they are, and what depends
// on the order of equal elements is stable.
#pragma once

#include "kernels/block.h"
#include "kernels/ordered.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Up to so many elements the position of each is found by counting: no branch depends on them.
constexpr std::int64_t kCounted = 64;
constexpr std::int64_t kSortedByCounting = 192;

template <class A>
inline int count_bits(unsigned bits) {
  if constexpr (A::width == 1)
    return static_cast<int>(bits);
  else
    return __builtin_popcount(bits);
}

// The largest number below v; NaN, which everything is above, for -inf.
template <class T>
FASTSOFTMAX_HD inline T next_below(T v) {
  if (v == -infinity<T>()) return static_cast<T>(__builtin_nan(""));
  const T below = from_ordered(static_cast<Ordered<T>>(ordered(v) - 1));
  return below == T(0) && v == T(0) ? from_ordered(static_cast<Ordered<T>>(ordered(v) - 2)) : below;
}

// body(register, its first elements in use as bits, offset).
template <class A, class Body>
[[gnu::always_inline]] inline void for_each_register(const typename A::T* v, std::int64_t count,
                                                     Body&& body) {
  constexpr unsigned all = A::width == 1 ? 1u : (1u << A::width) - 1u;
  std::int64_t i = 0;
  for (; i + A::width <= count; i += A::width) body(A::load(v + i), all, i);
  if (i < count) {
    const int rest = static_cast<int>(count - i);
    body(A::load(v + i, rest, A::set1(0)), (1u << rest) - 1u, i);
  }
}

// The k-th largest of at most kCounted elements; v has room for a register more. Of those that
// fewer than k exceed it is the one that most exceed.
template <class A>
inline typename A::T kth_of_few(typename A::T* v, int count, int k) {
  A::store(v + count, A::set1(-infinity<typename A::T>()));
  int best = 0;
  for (int i = 0; i < count; ++i) {
    const auto bound = A::set1(v[i]);
    int larger = 0;
    for (int j = 0; j < count; j += A::width)
      larger += count_bits<A>(A::above(A::load(v + j), bound));
    const int candidate = larger < k ? larger << 8 | i : 0;
    best = candidate > best ? candidate : best;
  }
  return v[best & 0xff];
}

// A number near the k-th largest: that of a sample.
template <class A>
inline typename A::T sampled(const typename A::T* v, std::int64_t count, std::int64_t k) {
  constexpr int size = 16;
  typename A::T sample[size + A::width];
  for (int i = 0; i < size; ++i) sample[i] = v[(2 * i + 1) * count / (2 * size)];
  const auto rank = static_cast<int>(static_cast<double>(k) * size / static_cast<double>(count));
  return kth_of_few<A>(sample, size, rank < size ? rank + 1 : size);
}

// Bit by bit from the highest: as many passes as a number has bits, whatever the numbers are.
template <class A>
[[gnu::noinline]] typename A::T kth_by_bits(const typename A::T* v, std::int64_t count,
                                            std::int64_t k) {
  using T = typename A::T;
  Ordered<T> kth = 0;
  for (Ordered<T> bit = OrderedBits<T>::sign; bit != 0; bit >>= 1) {
    std::int64_t reaching = 0;
    for (std::int64_t i = 0; i < count; ++i) reaching += ordered(v[i]) >= (kth | bit) ? 1 : 0;
    if (reaching >= k) kth |= bit;
  }
  return from_ordered(kth);
}

// The k-th largest of v[0 .. count), 1 <= k <= count, of which it makes another order. v and spare
// have room for a register more. By partitions; where samples keep misleading, by bits.
template <class A>
[[gnu::noinline]] typename A::T kth_largest(typename A::T* v, typename A::T* spare,
                                            std::int64_t count, std::int64_t k) {
  using T = typename A::T;
  constexpr int most_partitions = 24;
  for (int round = 0; count > kCounted; ++round) {
    if (round == most_partitions) return kth_by_bits<A>(v, count, k);
    const T pivot = sampled<A>(v, count, k);
    const auto bound = A::set1(pivot);
    std::int64_t above = 0;
    for_each_register<A>(v, count, [&](auto r, unsigned used, std::int64_t) {
      const unsigned bits = A::above(r, bound) & used;
      A::compress(spare + above, r, bits);
      above += count_bits<A>(bits);
    });
    if (above >= k) {
      T* const larger = spare;
      spare = v;
      v = larger;
      count = above;
      continue;
    }
    std::int64_t below = 0;
    for_each_register<A>(v, count, [&](auto r, unsigned used, std::int64_t) {
      const unsigned bits = ~A::at_least(r, bound) & used;
      A::compress(v + below, r, bits);
      below += count_bits<A>(bits);
    });
    if (count - below >= k) return pivot;
    k -= count - below;
    count = below;
  }
  return kth_of_few<A>(v, static_cast<int>(count), static_cast<int>(k));
}

// The first k of at most kSortedByCounting elements in descending order, equal ones as they come;
// `values` has room for a register more.
template <class A, class Index>
[[gnu::always_inline]] inline void sort_by_counting(typename A::T* values, const Index* indices,
                                                    int count, int k, typename A::T* to_values,
                                                    std::int64_t* to_indices) {
  using T = typename A::T;
  T sorted[kSortedByCounting];
  Index moved[kSortedByCounting];
  A::store(values + count, A::set1(-infinity<T>()));
  const auto head = A::load(values);
  for (int i = 0; i < count; ++i) {
    const auto bound = A::set1(values[i]);
    if (count <= A::width) {
      const unsigned before = (1u << i) - 1u;
      const int position =
          count_bits<A>((A::at_least(head, bound) & before) | (A::above(head, bound) & ~before));
      sorted[position] = values[i];
      moved[position] = indices[i];
      continue;
    }
    int position = 0;
    int j = 0;
    for (; j + A::width <= i; j += A::width)
      position += count_bits<A>(A::at_least(A::load(values + j), bound));
    const unsigned before = (1u << (i - j)) - 1u;
    const auto here = A::load(values + j);
    position +=
        count_bits<A>((A::at_least(here, bound) & before) | (A::above(here, bound) & ~before));
    for (j += A::width; j < count; j += A::width)
      position += count_bits<A>(A::above(A::load(values + j), bound));
    sorted[position] = values[i];
    moved[position] = indices[i];
  }
  for (int i = 0; i < k; ++i) {
    to_values[i] = sorted[i];
    to_indices[i] = static_cast<std::int64_t>(moved[i]);
  }
}

template <class T>
struct SortItem {
  Ordered<T> key;
  std::int64_t index;
};

// All of them in descending order, equal ones as they come: by digits of a byte, from the lowest.
template <class T>
[[gnu::noinline]] void sort_by_digits(const T* values, const std::int64_t* indices,
                                      std::int64_t count, SortItem<T>* items, SortItem<T>* spare,
                                      T* to_values, std::int64_t* to_indices) {
  constexpr int digits = static_cast<int>(sizeof(T));
  std::int64_t counts[digits][256] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto key = static_cast<Ordered<T>>(~ordered(values[i]));
    items[i] = {key, indices[i]};
    for (int d = 0; d < digits; ++d) ++counts[d][key >> (8 * d) & 0xff];
  }
  for (int d = 0; d < digits; ++d) {
    std::int64_t* const place = counts[d];
    if (place[items[0].key >> (8 * d) & 0xff] == count) continue;
    std::int64_t before = 0;
    for (int digit = 0; digit < 256; ++digit) {
      const std::int64_t here = place[digit];
      place[digit] = before;
      before += here;
    }
    for (std::int64_t i = 0; i < count; ++i)
      spare[place[items[i].key >> (8 * d) & 0xff]++] = items[i];
    SortItem<T>* const sorted = spare;
    spare = items;
    items = sorted;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    to_values[i] = from_ordered(static_cast<Ordered<T>>(~items[i].key));
    to_indices[i] = items[i].index;
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
