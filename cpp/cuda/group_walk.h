// Rows that a group has for itself, and which of them: short rows, a block or less, side by side in
// a thread block; and columns along a strided axis, so that neighbouring threads read neighbouring
// columns.
#pragma once

#include "cuda/row_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Of G threads.
template <class Team, int G = kGroup>
struct RowGroup {
  static constexpr int size = G;
  const Team* team;

  FASTSOFTMAX_HD int s() const { return team->thread() % G; }
  // Among the groups of the grid, of which each takes one row after the other.
  FASTSOFTMAX_HD std::int64_t place() const {
    return team->block() * (team->threads() / G) + team->thread() / G;
  }
  FASTSOFTMAX_HD std::int64_t places() const { return team->blocks() * (team->threads() / G); }
  template <class T>
  FASTSOFTMAX_HD T exchange(T v, int mask) const {
    return team->exchange(v, mask, G);
  }
  // A barrier of its threads.
  FASTSOFTMAX_HD void meet() const {
    static_assert(G == kGroup);
    team->sync_group();
  }
  FASTSOFTMAX_HD bool any(bool b) const { return b; }
};

// The threads of a column lie kColumns apart. All columns stay together.
template <class Team>
struct ColumnGroup {
  static constexpr int size = kGroup;
  const Team* team;

  FASTSOFTMAX_HD int s() const { return team->thread() / kColumns; }
  template <class T>
  FASTSOFTMAX_HD T exchange(T v, int mask) const {
    T* const slots = reinterpret_cast<T*>(team->shared);
    slots[team->thread()] = v;
    team->sync();
    const T other = slots[team->thread() ^ (mask * kColumns)];
    team->sync();
    return other;
  }
  FASTSOFTMAX_HD void meet() const { team->sync(); }
  FASTSOFTMAX_HD bool any(bool b) const { return team->any_thread(b); }
};

// body(group, index, at, there) for the rows of a call with short ones. All of them are there.
template <class At = Offsets, class Team, class Call, class Body>
FASTSOFTMAX_HD inline void for_each_short_row(const Team& team, const Call& call, Body&& body) {
  const RowGroup<Team> group{&team};
  const std::int64_t stride = group.places();
  for (std::int64_t r = group.place(); r < call.rows; r += stride)
    body(group, r, offsets_of<At>(call.outer, r), true);
}

// The same for columns. Where one is not there, its threads have the first of these rows, and only
// keep others company.
template <class At = Offsets, class Team, class Call, class Body>
FASTSOFTMAX_HD inline void for_each_column(const Team& team, const Call& call, Body&& body) {
  const ColumnGroup<Team> group{&team};
  const std::int64_t tiles = (call.inner.size + kColumns - 1) / kColumns;
  for (std::int64_t t = team.block(); t < call.rows * tiles; t += team.blocks()) {
    const std::int64_t outer = t / tiles;
    std::int64_t column = (t - outer * tiles) * kColumns + team.thread() % kColumns;
    const bool there = column < call.inner.size;
    if (!there) column = 0;
    At at = offsets_of<At>(call.outer, outer);
    at.advance(call.inner, column);
    body(group, outer * call.inner.size + column, at, there);
  }
}

// body(start, count) for the blocks of a row.
template <class A, class Body>
FASTSOFTMAX_HD inline void for_each_start(std::int64_t length, Body&& body) {
  for (std::int64_t start = 0; start < length; start += A::block) {
    const std::int64_t left = length - start;
    body(start, left < A::block ? static_cast<int>(left) : A::block);
  }
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
