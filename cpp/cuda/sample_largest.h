// The k largest elements of a row in their order, by a thread block, for filters that come after
// top_k: a bound from the maxima of blocks, a list of what reaches it, partitions of that list for
// the k-th, and a sort by merges. Linear but for the sort, whatever the elements are.
#pragma once

#include "cuda/sample_work.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Crew, class Take>
FASTSOFTMAX_HD inline std::int64_t count_in(const Crew& crew, const typename Crew::T* list,
                                            std::int64_t length, Take&& take) {
  std::int64_t count = 0;
  in_rounds(crew, length, [&](std::int64_t start, int size) {
    if (size > 0) fetch(crew, list, start, size);
    count += count_taken(crew, size, take).all;
  });
  return count;
}

// The k-th largest of a list, of which it makes another one: kth_largest() of order.h.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] typename Crew::T kth_largest_of(SampleLists<Crew> lists,
                                                                 typename Crew::T* v,
                                                                 std::int64_t count,
                                                                 std::int64_t k) {
  using T = typename Crew::T;
  const Crew& crew = lists.crew;
  const AnyKey<typename Crew::A> key{ByValue<typename Crew::A>{}};
  constexpr int most_partitions = 24;
  for (int round = 0; count > kCounted; ++round) {
    if (round == most_partitions) {
      Ordered<T> kth = 0;
      for (Ordered<T> bit = OrderedBits<T>::sign; bit != 0; bit >>= 1) {
        const auto bound = static_cast<Ordered<T>>(kth | bit);
        if (count_in(crew, v, count, [&](T z) { return ordered(z) >= bound; }) >= k) kth = bound;
      }
      return from_ordered(kth);
    }
    lists.take_sample(v, count);
    lists.sort(key, crew.sample(), kCounted);
    const T pivot = crew.keys()[k * kCounted / (count + 1)];
    crew.sync();
    if (count_in(crew, v, count, [&](T z) { return z > pivot; }) >= k) {
      count = lists.template keep<true>(key, v, count, pivot);
      continue;
    }
    const std::int64_t reaching = count_in(crew, v, count, [&](T z) { return z >= pivot; });
    if (reaching >= k) return pivot;
    k -= reaching;
    count = lists.template keep<false>(key, v, count, pivot);
  }
  lists.sort(key, v, static_cast<int>(count));
  const T kth = crew.keys()[k - 1];
  crew.sync();
  return kth;
}

// Largest first, equal ones as they come. By merges: an element's place is its own in its run and
// how many of the neighbouring run come before it.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] void sort_by_merges(Crew crew, std::int64_t count) {
  using T = typename Crew::T;
  T* values = crew.values();
  T* other_values = crew.spare();
  std::int64_t* indices = crew.indices();
  std::int64_t* other_indices = indices + crew.call().most_k;
  const std::int64_t thread = crew.team.thread();
  const std::int64_t threads = crew.team.threads();
  const auto swap = [](auto*& a, auto*& b) {
    auto* const kept = a;
    a = b;
    b = kept;
  };
  for (std::int64_t width = 1; width < count; width *= 2) {
    for (std::int64_t i = thread; i < count; i += threads) {
      const std::int64_t pair = i / (2 * width) * (2 * width);
      const bool is_second = i - pair >= width;
      const T v = values[i];
      std::int64_t first = is_second ? pair : pair + width;
      std::int64_t last = first + width;
      last = last < count ? last : count;
      const std::int64_t neighbours = first;
      while (first < last) {
        const std::int64_t middle = first + (last - first) / 2;
        if (is_second ? values[middle] >= v : values[middle] > v)
          first = middle + 1;
        else
          last = middle;
      }
      const std::int64_t own = i - (is_second ? pair + width : pair);
      const std::int64_t place = pair + own + (first > neighbours ? first - neighbours : 0);
      other_values[place] = v;
      other_indices[place] = indices[i];
    }
    crew.sync();
    swap(values, other_values);
    swap(indices, other_indices);
  }
  if (values == crew.values()) return;
  for (std::int64_t i = thread; i < count; i += threads) {
    other_values[i] = values[i];
    other_indices[i] = indices[i];
  }
  crew.sync();
}

// Values and indices of the k largest, and how many of them are above -inf.
template <class Crew>
FASTSOFTMAX_HD [[gnu::noinline]] std::int64_t select_largest_of(SampleLists<Crew> lists,
                                                                std::int64_t length,
                                                                std::int64_t k) {
  using A = typename Crew::A;
  using T = typename Crew::T;
  const Crew& crew = lists.crew;
  const std::int64_t blocks = blocks_of<A>(length);
  T* const list = crew.list();
  T bound = -infinity<T>();
  if (blocks >= k) {
    for (std::int64_t b = crew.team.thread(); b < blocks; b += crew.team.threads())
      list[b] = static_cast<T>(crew.sums()[b].max);
    crew.sync();
    bound = kth_largest_of(lists, list, blocks, k);
  }
  Remaining<A> candidates;
  candidates.by_value = {next_below(bound), 0};
  const std::int64_t count = remaining_of(crew, nullptr, length, candidates, list, nullptr);
  const T least = kth_largest_of(lists, list, count, k);
  Remaining<A> largest;
  largest.by_value = {least, 0};
  largest.by_value.equal = k - remaining_of(crew, nullptr, length, largest, list, nullptr);
  remaining_of(crew, nullptr, length, largest, crew.values(), crew.indices());
  sort_by_merges(crew, k);
  return count_in(crew, crew.values(), k, [](T z) { return z > -infinity<T>(); });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
