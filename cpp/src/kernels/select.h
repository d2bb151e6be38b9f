// The k largest elements of a row whose blocks have been seen once.
//
// In the one read of a row each block leaves its maximum and the maxima of its lanes. These belong
// to different elements, so the k-th largest of them is a lower bound for the row's k-th largest
// element. Only blocks whose maximum reaches the bound are looked at again: no more than k of them,
// but for ties. What exceeds the bound there goes to a reservoir in the order of the row; when it
// is full it is cut down to its k best, the least of which is the new bound.
//
// Linear in the length of the row, whatever its elements are: each cut throws away most of a
// reservoir.
// Source: Milakov and Gimelshein (2018), softmax and top-k in one pass; the pruning by maxima of
// groups is our own.
#pragma once

#include "kernels/order.h"
#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What is remembered of a row, and room to select.
template <class A>
struct SelectionMemory {
  using T = typename A::T;
  static constexpr int few_lanes = A::lanes / 4;

  std::int64_t k;
  std::int64_t blocks;
  std::int64_t capacity;  // of the reservoir
  int kept_lanes;         // maxima kept of each block: of its lanes, or of every fourth together
  T* block_max;
  T* lane_max;
  T* values;  // the reservoir
  std::int64_t* indices;
  T* copy;
  T* spare;
  SortItem<T>* items[2];
  std::size_t bytes;

  SelectionMemory(void* memory, std::int64_t length, std::int64_t k_) : k(k_) {
    blocks = blocks_of<A>(length);
    // Where neighbours are alike the k largest lie in few blocks, and a bound from few groups is
    // far below them.
    const std::int64_t groups_wanted = blocks == 1 ? k + k / 3 : 32 * k;
    kept_lanes = blocks * few_lanes >= groups_wanted ? few_lanes : A::lanes;
    const std::int64_t most = 4 * k + 4 * A::block;
    capacity = length < most ? length : most;
    const std::int64_t groups = blocks * kept_lanes;
    const std::int64_t larger = groups > capacity ? groups : capacity;
    const std::int64_t sorted = k > kSortedByCounting ? k : 0;
    char* at = static_cast<char*>(memory);
    block_max = take<T>(at, blocks + A::width);
    lane_max = take<T>(at, groups + A::width);
    values = take<T>(at, capacity + A::width);
    indices = take<std::int64_t>(at, capacity);
    copy = take<T>(at, larger + A::width);
    spare = take<T>(at, larger + A::width);
    items[0] = take<SortItem<T>>(at, sorted);
    items[1] = take<SortItem<T>>(at, sorted);
    bytes = static_cast<std::size_t>(at - static_cast<char*>(memory));
  }

 private:
  template <class Element>
  static Element* take(char*& at, std::int64_t count) {
    Element* const here = reinterpret_cast<Element*>(at);
    constexpr std::size_t line = 64;
    const std::size_t size = static_cast<std::size_t>(count) * sizeof(Element);
    at += (size + line - 1) / line * line;
    return here;
  }
};

// What a block leaves. Checked: a maximum of NaN where there may be a NaN in the block.
template <class A, bool Checked, class In>
[[gnu::always_inline]] inline typename A::T see_block(const In* x, int count, int kept_lanes,
                                                      typename A::T* lane_max) {
  using T = typename A::T;
  constexpr int quarter = Lanes<A>::count / 4;
  const auto lowest = A::set1(-infinity<T>());
  Lanes<A> largest(lowest);
  Lanes<A> sum(A::set1(T(0)));
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    const auto z = load<A>(x + i, part, lowest);
    largest.r[v] = A::max(z, largest.r[v]);
    if constexpr (Checked) sum.r[v] = A::add(sum.r[v], load<A>(x + i, part, A::set1(T(0))));
  });
  if (kept_lanes == A::lanes) {
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < Lanes<A>::count; ++v) A::store(lane_max + v * A::width, largest.r[v]);
  }
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < quarter; ++v) {
    largest.r[v] = A::max(A::max(largest.r[v], largest.r[v + quarter]),
                          A::max(largest.r[v + 2 * quarter], largest.r[v + 3 * quarter]));
  }
  if (kept_lanes != A::lanes) {
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < quarter; ++v) A::store(lane_max + v * A::width, largest.r[v]);
  }
  auto top = largest.r[0];
  FASTSOFTMAX_UNROLL
  for (int v = 1; v < quarter; ++v) top = A::max(top, largest.r[v]);
  const T max = A::reduce_max(top);
  if constexpr (Checked) {
    auto total = sum.r[0];
    FASTSOFTMAX_UNROLL
    for (int v = 1; v < Lanes<A>::count; ++v) total = A::add(total, sum.r[v]);
    // A NaN anywhere leaves one: nothing turns it back. So do infinities of both signs.
    if (A::above(total, A::set1(infinity<T>())) != 0) return static_cast<T>(__builtin_nan(""));
  }
  return max;
}

// A number that at least k elements of the row reach, or -inf.
template <class A>
[[gnu::noinline]] typename A::T lower_bound(const SelectionMemory<A>& m) {
  using T = typename A::T;
  T bound = -infinity<T>();
  if (m.blocks == 1) {
    if (m.kept_lanes < m.k) return bound;
    return kth_of_few<A>(m.lane_max, m.kept_lanes, static_cast<int>(m.k));
  }
  if (m.blocks >= m.k) {
    __builtin_memcpy(m.copy, m.block_max, static_cast<std::size_t>(m.blocks) * sizeof(T));
    bound = kth_largest<A>(m.copy, m.spare, m.blocks, m.k);
    if (m.k == 1) return bound;
  } else if (m.blocks * m.kept_lanes < m.k) {
    return bound;
  }
  std::int64_t count = 0;
  const auto least = A::set1(bound);
  for (std::int64_t b = 0; b < m.blocks; ++b) {
    if (m.block_max[b] < bound) continue;
    for (int j = 0; j < m.kept_lanes; j += A::width) {
      const auto maxima = A::load(m.lane_max + b * m.kept_lanes + j);
      const unsigned bits = A::at_least(maxima, least);
      A::compress(m.copy + count, maxima, bits);
      count += count_bits<A>(bits);
    }
  }
  return kth_largest<A>(m.copy, m.spare, count, m.k);
}

// The bits of the elements that a register was loaded with.
inline unsigned in_use(Whole) { return ~0u; }
inline unsigned in_use(Part part) { return (1u << part.n) - 1u; }

template <class A>
struct Reservoir {
  using T = typename A::T;
  const SelectionMemory<A>& m;
  T bound;  // of interest is what exceeds it, or everything where it is NaN
  std::int64_t count = 0;

  template <class In>
  [[gnu::always_inline]] void take_block(const In* x, std::int64_t start, int size) {
    if (m.capacity - count < size) cut();
    const auto least = A::set1(bound);
    for_each_vector<A>(size, [&](int, int i, auto part) __attribute__((always_inline)) {
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      unsigned bits = A::above(z, least);
      bits &= in_use(part);
      if (bits == 0) return;
      A::compress(m.values + count, z, bits);
      for (; bits != 0; bits &= bits - 1) m.indices[count++] = start + i + __builtin_ctz(bits);
    });
  }

  // Keeps the k best; of those equal to the least, the first.
  [[gnu::noinline]] void cut() {
    __builtin_memcpy(m.copy, m.values, static_cast<std::size_t>(count) * sizeof(T));
    bound = kth_largest<A>(m.copy, m.spare, count, m.k);
    std::int64_t larger = 0;
    for (std::int64_t i = 0; i < count; ++i) larger += m.values[i] > bound ? 1 : 0;
    std::int64_t equal = m.k - larger;
    std::int64_t kept = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const T v = m.values[i];
      m.values[kept] = v;
      m.indices[kept] = m.indices[i];
      const bool stays = v > bound || (v == bound && equal-- > 0);
      kept += stays ? 1 : 0;
    }
    count = kept;
  }
};

// The k largest, from a row without NaN that left its maxima in m.
template <class A, class Source>
[[gnu::noinline]] void select_largest(Source& source, std::int64_t length,
                                      const SelectionMemory<A>& m, typename A::T* values,
                                      std::int64_t* indices) {
  using T = typename A::T;
  const T least = lower_bound(m);
  Reservoir<A> reservoir{m, next_below(least)};
  for_each_block<A>(length, 0, m.blocks, [&](std::int64_t b, std::int64_t start, int count) {
    if (m.block_max[b] <= reservoir.bound) return;
    reservoir.take_block(source.block(start, count), start, count);
    // k elements reach `least`, so one that only equals it comes too late.
    if (reservoir.count >= m.k && reservoir.bound < least) reservoir.bound = least;
  });
  if (m.k > kSortedByCounting || reservoir.count > kSortedByCounting) reservoir.cut();
  if (m.k > kSortedByCounting)
    return sort_by_digits(m.values, m.indices, m.k, m.items[0], m.items[1], values, indices);
  sort_by_counting<A>(m.values, m.indices, static_cast<int>(reservoir.count), static_cast<int>(m.k),
                      values, indices);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
