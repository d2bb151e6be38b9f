// What each pass over a row or a list of its scores is made of. All threads take the same turns and
// get the same results, but where it says otherwise.
#pragma once

#include "cuda/sample_crew.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Sum of the terms of the first `count` elements in the buffer, but for one.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] Sum2 sum_of(Crew crew, int count, typename Crew::T exponent,
                                             int left_out = -1) {
  using A = typename Crew::A;
  const typename Crew::T rounder = sum_rounder<A>(exponent);
  ThreadLanes<A> lanes{};
  for_each_own(crew, count, [&](int at, const auto& pack) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (at + c < count && at + c != left_out)
        add_term<A>(lanes.sum[c], lanes.error[c], ExtExp<A>::term(pack.v[c], rounder));
    }
  });
  return join_lanes<A, false>(crew, lanes);
}

template <class Crew>
FASTSOFTMAX_HD inline typename Crew::T max_of(const Crew& crew, int count) {
  using T = typename Crew::T;
  T max = -infinity<T>();
  for_each_own(crew, count, [&](int at, const auto& pack) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<typename Crew::A>; ++c) {
      if (at + c < count) max = larger_or_nan(max, pack.v[c]);
    }
  });
  return group_max(crew, max);
}

// Where the first element that equals a number is, in every group; -1 if there is none.
template <class Crew>
FASTSOFTMAX_HD inline int find_first(const Crew& crew, int count, typename Crew::T value) {
  int first = count;
  for_each_own(crew, count, [&](int at, const auto& pack) {
    for (int c = 0; c < kPerThread<typename Crew::A>; ++c) {
      if (pack.v[c] == value && at + c < first) first = at + c;
    }
  });
  for (int mask = kGroup / 2; mask > 0; mask /= 2) {
    const int other = crew.exchange(first, mask);
    first = other < first ? other : first;
  }
  return first < count ? first : -1;
}

// Sums of the blocks [first, last) of the row, or of a list; there once the threads have met.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] void sum_blocks(Crew crew, const typename Crew::T* list,
                                                 std::int64_t length, std::int64_t first,
                                                 std::int64_t last, BlockSum* sums) {
  using A = typename Crew::A;
  for (std::int64_t b = first + crew.group(); b < last; b += crew.groups()) {
    const std::int64_t left = length - b * A::block;
    const int count = left < A::block ? static_cast<int>(left) : A::block;
    fetch(crew, list, b * A::block, count);
    BlockSum out{};
    const typename Crew::T max = max_of(crew, count);
    const typename Crew::T exponent = ExtExp<A>::exponent(max);
    out.max = static_cast<double>(max);
    out.exponent = kOutOfDomain;
    if (static_cast<double>(exponent) <= kMaxExponent) {
      const Sum2 sum = sum_of(crew, count, exponent);
      out.hi = sum.hi;
      out.lo = sum.lo;
      out.exponent = static_cast<std::int32_t>(exponent);
    }
    if (crew.s() == 0) sums[b] = out;
  }
}

// body(start, count) for the blocks that groups have at a time: no elements behind the last one.
template <class Crew, class Body>
FASTSOFTMAX_HD inline void in_rounds(const Crew& crew, std::int64_t length, Body&& body) {
  using A = typename Crew::A;
  for (std::int64_t first = 0; first < length; first += crew.groups() * std::int64_t{A::block}) {
    const std::int64_t start = first + crew.group() * A::block;
    const std::int64_t left = length - start;
    body(start, left < 0 ? 0 : left < A::block ? static_cast<int>(left) : A::block);
  }
}

// each(group, its note) in the order of groups, where `note` is that of this thread's.
template <class Crew, class Each>
FASTSOFTMAX_HD inline void share(const Crew& crew, const SampleNote& note, Each&& each) {
  if (crew.s() == 0) crew.desk().notes[crew.group()] = note;
  crew.sync();
  for (int g = 0; g < crew.groups(); ++g) each(g, crew.desk().notes[g]);
  crew.sync();
}

template <class Crew>
FASTSOFTMAX_HD inline double add_in_order(const Crew& crew, double sum, const Sum2& of_group) {
  share(crew, {of_group.hi + of_group.lo, 0.0, 0},
        [&](int, const SampleNote& note) { sum += note.mass; });
  return sum;
}

// The largest number of all threads, or NaN.
template <class Crew>
FASTSOFTMAX_HD inline double max_of_team(const Crew& crew, double of_thread) {
  double max = -__builtin_inf();
  share(crew, {group_max(crew, of_thread), 0.0, 0},
        [&](int, const SampleNote& note) { max = larger_or_nan(max, note.mass); });
  return max;
}

// How many there are in the groups before this one, and in all.
struct Counted {
  std::int64_t before;
  std::int64_t all;
};
template <class Crew>
FASTSOFTMAX_HD inline Counted count_groups(const Crew& crew, int of_thread) {
  for (int mask = kGroup / 2; mask > 0; mask /= 2) of_thread += crew.exchange(of_thread, mask);
  Counted counted{0, 0};
  share(crew, {0.0, 0.0, of_thread}, [&](int g, const SampleNote& note) {
    if (g < crew.group()) counted.before += note.count;
    counted.all += note.count;
  });
  return counted;
}

// How many there are in the threads of the group before this one, and in all of it.
template <class Crew>
FASTSOFTMAX_HD inline int count_before(const Crew& crew, int of_thread, int& all) {
  int before = 0;
  all = of_thread;
  for (int mask = 1; mask < kGroup; mask *= 2) {
    const int other = crew.exchange(all, mask);
    if ((crew.s() & mask) != 0) before += other;
    all += other;
  }
  return before;
}

// body(element, index in the block, rank) for those of `count` elements in the buffer that take(v)
// is true of; ranks count them in order. How many they are.
template <class Crew, class Take, class Body>
FASTSOFTMAX_HD inline int for_each_ranked(const Crew& crew, int count, Take&& take, Body&& body) {
  using A = typename Crew::A;
  int ranked = 0;
  for_each_own(crew, count, [&](int at, auto& in_buffer) {
    const typename Crew::Packed pack = in_buffer;
    bool taken[kPerThread<A>];
    int own = 0;
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      taken[c] = at + c < count && take(pack.v[c]);
      own += taken[c] ? 1 : 0;
    }
    int all = 0;
    int rank = ranked + count_before(crew, own, all);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (taken[c]) body(pack.v[c], at + c, rank++);
    }
    ranked += all;
  });
  return ranked;
}

template <class Crew, class Take>
FASTSOFTMAX_HD inline Counted count_taken(const Crew& crew, int count, Take&& take) {
  int taken = 0;
  for_each_own(crew, count, [&](int at, const auto& pack) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<typename Crew::A>; ++c)
      taken += at + c < count && take(pack.v[c]) ? 1 : 0;
  });
  return count_groups(crew, taken);
}

// Stores what take(v) is true of in all groups' buffers, in order; how many those are. What the
// buffers were fetched from may be overwritten. Indices too, where this group's begin at `start`,
// if there is an array for them.
template <class Crew, class Take>
FASTSOFTMAX_HD inline std::int64_t append(const Crew& crew, int count, Take&& take,
                                          typename Crew::T* to, std::int64_t* indices = nullptr,
                                          std::int64_t start = 0) {
  const Counted counted = count_taken(crew, count, take);
  for_each_ranked(crew, count, take, [&](typename Crew::T v, int at, int rank) {
    to[counted.before + rank] = v;
    if (indices != nullptr) indices[counted.before + rank] = start + at;
  });
  return counted.all;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
