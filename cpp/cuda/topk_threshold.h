// Order statistics by a thread block: a digit of eight bits at a time, from the highest. As many
// passes as there are digits at most, whatever the numbers are; counts do not depend on the order
// of threads.
#pragma once

#include "cuda/topk_desk.h"
#include "cuda/topk_plan.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Key>
FASTSOFTMAX_HD inline bool comes_before(const Ranked<Key>& a, const Ranked<Key>& b) {
  return a.key != b.key ? a.key > b.key : a.place > b.place;
}

// The digits of a key and, behind them, the lower ones of a place.
template <class Key>
struct Digits {
  static constexpr int of_key = static_cast<int>(sizeof(Key));
  int all;

  FASTSOFTMAX_HD explicit Digits(Key largest_place) : all(of_key) {
    for (; largest_place != 0; largest_place >>= 8) ++all;
  }

  FASTSOFTMAX_HD int at(int d, const Ranked<Key>& rank) const {
    const auto bits =
        d < of_key ? rank.key >> (8 * (of_key - 1 - d)) : rank.place >> (8 * (all - 1 - d));
    return static_cast<int>(bits & 255u);
  }
  FASTSOFTMAX_HD void set(int d, Ranked<Key>& rank, int digit) const {
    if (d < of_key)
      rank.key |= static_cast<Key>(digit) << (8 * (of_key - 1 - d));
    else
      rank.place |= static_cast<Key>(digit) << (8 * (all - 1 - d));
  }
  // Whether the first d digits are the same.
  FASTSOFTMAX_HD bool agree(int d, const Ranked<Key>& a, const Ranked<Key>& b) const {
    if (d <= of_key) return d == 0 || (a.key ^ b.key) >> (8 * (of_key - d)) == 0;
    return a.key == b.key && (a.place ^ b.place) >> (8 * (all - d)) == 0;
  }
};

// The digit of the one that `wanted` reach, for the first group of a thread block.
template <class Team>
FASTSOFTMAX_HD inline void find_digit(const Team& team, TopkDesk& desk, unsigned wanted) {
  constexpr int each = 256 / kGroup;
  const int s = team.thread();
  const int top = 255 - s * each;
  unsigned here = 0;
  for (int i = 0; i < each; ++i) here += desk.bins[top - i];
  unsigned before = 0;
  unsigned total = here;
  for (int mask = 1; mask < kGroup; mask *= 2) {
    const unsigned other = team.exchange(total, mask);
    if ((s & mask) != 0) before += other;
    total += other;
  }
  if (before >= wanted || before + here < wanted) return;
  int digit = top;
  for (; before + desk.bins[digit] < wanted; --digit) before += desk.bins[digit];
  desk.digit = digit;
  desk.above = before;
  desk.within = desk.bins[digit];
}

// A rank that no fewer than k and no more than `most` reach of those that for_each(body) passes to
// body(rank), of which there are k at least. All threads call it, and get the same.
template <class Key, class Team, class ForEach>
FASTSOFTMAX_HD inline Ranked<Key> threshold(const Team& team, TopkDesk& desk,
                                            const Digits<Key>& digits, std::int64_t k,
                                            std::int64_t most, ForEach&& for_each) {
  Ranked<Key> found{};
  auto wanted = static_cast<unsigned>(k);
  const auto spare = static_cast<unsigned>(most - k);
  FASTSOFTMAX_ROLLED
  for (int d = 0; d < digits.all; ++d) {
    for (int i = team.thread(); i < 256; i += team.threads()) desk.bins[i] = 0;
    team.sync();
    for_each([&](const Ranked<Key>& rank) {
      if (digits.agree(d, rank, found)) team.fetch_add(&desk.bins[digits.at(d, rank)], 1);
    });
    team.sync();
    if (team.thread() < kGroup) find_digit(team, desk, wanted);
    team.sync();
    digits.set(d, found, desk.digit);
    wanted -= desk.above;
    if (desk.within - wanted <= spare) break;
  }
  return found;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
