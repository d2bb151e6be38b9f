// What is looked for in a row or in a list: an element by its mass, and what remains.
#pragma once

#include "cuda/sample_passes.h"
#include "kernels/filters.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// The masses of blocks under the largest of their exponents, and their sum in order.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] double weigh_blocks(Crew crew, const BlockSum* sums,
                                                     std::int64_t blocks) {
  const std::int64_t thread = crew.team.thread();
  const std::int64_t threads = crew.team.threads();
  std::int32_t exponent = INT32_MIN;
  for (std::int64_t b = thread; b < blocks; b += threads)
    exponent = sums[b].exponent > exponent ? sums[b].exponent : exponent;
  exponent = static_cast<std::int32_t>(max_of_team(crew, static_cast<double>(exponent)));
  double* const masses = crew.masses();
  for (std::int64_t b = thread; b < blocks; b += threads) masses[b] = mass_under(sums[b], exponent);
  crew.sync();
  double total = 0.0;
  for (std::int64_t b = 0; b < blocks; ++b) total += masses[b];
  return total;
}

// position() of draw.h, from `first` on.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] std::int64_t position_in(Crew crew, const typename Crew::T* list,
                                                          std::int64_t first, std::int64_t count,
                                                          typename Crew::T exponent,
                                                          double target) {
  using A = typename Crew::A;
  const auto size_at = [&](std::int64_t at) {
    const std::int64_t left = count - at;
    return left < 0 ? 0 : left < A::lanes ? static_cast<int>(left) : A::lanes;
  };
  RunningMass running{target};
  bool found = false;
  for (std::int64_t at = 0; at < count && !found; at += crew.groups() * A::lanes) {
    const std::int64_t mine = at + crew.group() * A::lanes;
    const int size = size_at(mine);
    if (size > 0) fetch(crew, list, first + mine, size);
    const Sum2 sum = sum_of(crew, size, exponent);
    share(crew, {sum.hi + sum.lo, 0.0, 0}, [&](int g, const SampleNote& note) {
      found = found || running.add(at + g * A::lanes, note.mass);
    });
  }
  // Every group has the same elements, and the first one tells their terms.
  const int size = size_at(running.at);
  const auto rounder = sum_rounder<A>(exponent);
  fetch(crew, list, first + running.at, size);
  for_each_own(crew, size, [&](int at, const auto& pack) {
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (crew.group() == 0 && at + c < size)
        crew.terms()[at + c] = ExtExp<A>::term(pack.v[c], rounder);
    }
  });
  crew.sync();
  RunningMass elements{target, running.before};
  for (int i = 0; i < size; ++i) {
    if (elements.add(i, static_cast<double>(crew.terms()[i]))) break;
  }
  crew.sync();
  return running.at + elements.at;
}

// A draw from all of a row or a list, whose blocks have been weighed.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] Drawn<typename Crew::T> draw_one(Crew crew,
                                                                  const typename Crew::T* list,
                                                                  std::int64_t length,
                                                                  const BlockSum* sums,
                                                                  double total, Uniforms uniform) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  const std::int64_t blocks = blocks_of<A>(length);
  RunningMass running{uniform.first * total};
  for (std::int64_t b = 0; b < blocks && blocks > 1; ++b) {
    if (running.add(b, crew.masses()[b])) break;
  }
  const std::int64_t start = running.at * A::block;
  const std::int64_t left = length - start;
  const BlockSum& sum = sums[running.at];
  const std::int64_t index =
      start + position_in(crew, list, start, left < A::block ? left : A::block,
                          static_cast<T>(sum.exponent), uniform.second * (sum.hi + sum.lo));
  return {index, score_at(crew, list, index)};
}

// Puts NaN in place of what a cut leaves out, or what is none of `count` elements; `equal` of those
// that equal the bound may still come.
template <class Crew, class Key>
FASTSOFTMAX_HD inline void thin(const Crew& crew, int count, Key key, typename Crew::T bound,
                                std::int64_t& equal) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  const T nothing = static_cast<T>(__builtin_nan(""));
  const bool any_equal = equal > 0;
  const auto equals = [&](T z) { return z == z && key(z) == bound; };
  for_each_own(crew, count, [&](int, auto& pack) {
    for (int c = 0; c < kPerThread<A>; ++c) {
      const T z = pack.v[c];
      if (A::above(key(z), bound) == 0 && !(any_equal && equals(z))) pack.v[c] = nothing;
    }
  });
  if (!any_equal) return;
  const Counted counted = count_taken(crew, count, equals);
  T* const buffer = crew.buffer();
  if (counted.all > equal) {
    for_each_ranked(crew, count, equals, [&](T, int at, int rank) {
      if (counted.before + rank >= equal) buffer[at] = nothing;
    });
  }
  equal = counted.all > equal ? 0 : equal - counted.all;
}

// Fetches a block of a source, a list or the row, but none of the row that does not reach a bound:
// of that no elements are there. How many are.
template <class Crew>
FASTSOFTMAX_HD inline int reached(const Crew& crew, const typename Crew::T* source,
                                  std::int64_t start, int size, typename Crew::T bound) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  if (size == 0) return 0;
  if (source == nullptr && static_cast<T>(crew.sums()[start / A::block].max) < bound) return 0;
  fetch(crew, source, start, size);
  return size;
}

// How many of a source's first `length` elements remain: to a list, with their indices if there is
// an array for them; or whether the last one does.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] std::int64_t remaining_of(
    Crew crew, const typename Crew::T* source, std::int64_t length,
    Remaining<typename Crew::A> remaining, typename Crew::T* list, std::int64_t* indices) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  std::int64_t equal = remaining.by_value.equal;
  std::int64_t equally_near = remaining.by_nearness.equal;
  std::int64_t kept = 0;
  const auto stays = [](T z) { return z == z; };
  in_rounds(crew, length, [&](std::int64_t start, int size) {
    const int count = reached(crew, source, start, size, remaining.by_value.bound);
    thin(crew, count, ByValue<A>{}, remaining.by_value.bound, equal);
    if (remaining.is_typical)
      thin(crew, count, ByNearness<A>{remaining.centre}, remaining.by_nearness.bound, equally_near);
    if (list != nullptr) {
      kept += append(crew, count, stays, list + kept, indices == nullptr ? nullptr : indices + kept,
                     start);
      return;
    }
    const auto last = [&](T z, int at) { return z == z && start + at == length - 1; };
    int found = 0;
    for_each_own(crew, count, [&](int at, const auto& pack) {
      for (int c = 0; c < kPerThread<A>; ++c) found += last(pack.v[c], at + c) ? 1 : 0;
    });
    kept += count_groups(crew, found).all;
  });
  crew.sync();
  return kept;
}

// The element of a source that equals a value and has so many equal ones ahead of it; -1 if there
// is none.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] std::int64_t find_equal_in(Crew crew,
                                                            const typename Crew::T* source,
                                                            std::int64_t length,
                                                            typename Crew::T value,
                                                            std::int64_t ahead) {
  const auto equals = [&](typename Crew::T z) { return z == value; };
  if (crew.first()) crew.desk().found = -1;
  bool over = false;
  in_rounds(crew, length, [&](std::int64_t start, int size) {
    if (over) return;
    const int count = reached(crew, source, start, size, value);
    const Counted counted = count_taken(crew, count, equals);
    over = counted.all > ahead;
    if (over) {
      for_each_ranked(crew, count, equals, [&](typename Crew::T, int at, int rank) {
        if (counted.before + rank == ahead) crew.desk().found = start + at;
      });
    }
    ahead -= counted.all;
  });
  crew.sync();
  const std::int64_t found = crew.desk().found;
  crew.sync();
  return found;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
