// The k first elements of a row, by a thread block.
//
// The largest keys that threads have left belong to different elements, so the k-th largest of them
// bounds the row's k-th key from below. Only the pieces that reach the bound are read again, and
// what reaches it there are the candidates, which are sorted. Where they are too many, as in rows
// whose elements are all the same, the k-th itself is found first, digit by digit in as many more
// reads: no row takes longer than these.
#pragma once

#include "cuda/outcome.h"
#include "cuda/topk_keys.h"
#include "cuda/topk_sort.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::kTermsPerLane;

FASTSOFTMAX_HD inline void copy_item(const char* from, char* to, int size) {
  switch (size) {
    case 1:
      *to = *from;
      return;
    case 2:
      *reinterpret_cast<std::uint16_t*>(to) = *reinterpret_cast<const std::uint16_t*>(from);
      return;
    case 4:
      *reinterpret_cast<std::uint32_t*>(to) = *reinterpret_cast<const std::uint32_t*>(from);
      return;
    default:
      *reinterpret_cast<std::uint64_t*>(to) = *reinterpret_cast<const std::uint64_t*>(from);
  }
}

// Where the j-th selected element of a row goes.
FASTSOFTMAX_HD inline std::int64_t output_of(const Selection& selection, std::int64_t row,
                                             std::int64_t j) {
  const std::int64_t outer = row / selection.inner;
  return (outer * selection.k + j) * selection.inner + (row - outer * selection.inner);
}

template <class Row, class Team>
struct Chooser {
  using A = typename Row::A;
  using Key = typename Row::Key;
  using Rank = Ranked<Key>;
  static constexpr int per_thread = Row::per_thread;
  static constexpr int piece_elements = per_thread * kTermsPerLane;

  const Team& team;
  const TopkParameters& call;
  TopkDesk& desk;
  std::uint32_t* listed;
  Rank* shared;
  Rank* candidates;

  FASTSOFTMAX_HD Chooser(const Team& team_, const TopkParameters& call_)
      : team(team_),
        call(call_),
        desk(*reinterpret_cast<TopkDesk*>(team_.shared)),
        listed(reinterpret_cast<std::uint32_t*>(team_.shared + sizeof(TopkDesk))),
        shared(reinterpret_cast<Rank*>(listed + call_.pieces_at_once)),
        candidates(call_.candidates == nullptr ? shared
                                               : reinterpret_cast<Rank*>(call_.candidates) +
                                                     team_.block() * call_.capacity) {}

  // Leaves them, in order, at the beginning of `candidates`, of which r is the row within the
  // batch.
  FASTSOFTMAX_HD void choose(const Row& row, std::int64_t r) const {
    const std::int64_t k = call.selection.k;
    const std::int64_t pieces = blocks_of<A>(call.length) * kGroup;
    const Key* const maxima =
        call.maxima == nullptr ? nullptr : static_cast<const Key*>(call.maxima) + r * pieces;
    Rank from{};
    if (maxima != nullptr) {
      const auto each = [&](auto&& body) {
        for (std::int64_t p = team.thread(); p < pieces; p += team.threads())
          body(Rank{maxima[p], 0});
      };
      const std::int64_t most = k + k / 4 + kGroup;
      from.key = row.bound_of(threshold(team, desk, Digits<Key>(0), k, most, each).key);
    }
    const Key bound = from.key;
    bool exact = bound == 0 && call.length > call.capacity;
    std::int64_t count;
    do {
      if (exact)
        from = threshold(team, desk, Digits<Key>(static_cast<Key>(call.length - 1)), k, k,
                         [&](auto&& body) { for_each_reaching(row, maxima, bound, body); });
      count = collect(row, maxima, from);
      exact = true;
    } while (count > call.capacity);
    std::int64_t size = 1;
    while (size < count) size *= 2;
    for (std::int64_t i = count + team.thread(); i < size; i += team.threads()) candidates[i] = {};
    team.sync();
    sort(team, candidates, size, shared, call.sorted_at_once);
  }

 private:
  // The number of those that reach `from`, of which as many as there is room for are kept.
  FASTSOFTMAX_HD std::int64_t collect(const Row& row, const Key* maxima, const Rank& from) const {
    if (team.thread() == 0) desk.counted = 0;
    team.sync();
    for_each_reaching(row, maxima, from.key, [&](const Rank& rank) {
      if (comes_before(from, rank)) return;
      const auto at = static_cast<std::int64_t>(team.fetch_add(&desk.counted, 1));
      if (at < call.capacity) candidates[at] = rank;
    });
    team.sync();
    return static_cast<std::int64_t>(desk.counted);
  }

  // body(rank) for the elements whose key is `bound` or larger.
  template <class Body>
  FASTSOFTMAX_HD void for_each_reaching(const Row& row, const Key* maxima, Key bound,
                                        Body&& body) const {
    if (maxima == nullptr) {
      for (std::int64_t at = team.thread(); at < call.length; at += team.threads())
        take(row, at, bound, body);
      return;
    }
    const std::int64_t pieces = blocks_of<A>(call.length) * kGroup;
    for (std::int64_t first = 0; first < pieces; first += call.pieces_at_once) {
      if (team.thread() == 0) desk.listed = 0;
      team.sync();
      const std::int64_t left = pieces - first;
      const int there = left < call.pieces_at_once ? static_cast<int>(left) : call.pieces_at_once;
      for (int i = team.thread(); i < there; i += team.threads()) {
        if (maxima[first + i] >= bound)
          listed[team.fetch_add(&desk.listed, 1)] = static_cast<std::uint32_t>(i);
      }
      team.sync();
      const int elements = static_cast<int>(desk.listed) * piece_elements;
      for (int i = team.thread(); i < elements; i += team.threads()) {
        const std::int64_t piece = first + listed[i / piece_elements];
        const int inside = i % piece_elements;
        const std::int64_t at = piece / kGroup * A::block + inside / per_thread * A::lanes +
                                piece % kGroup * per_thread + inside % per_thread;
        if (at < call.length) take(row, at, bound, body);
      }
      team.sync();
    }
  }

  template <class Body>
  FASTSOFTMAX_HD void take(const Row& row, std::int64_t at, Key bound, Body&& body) const {
    const Key key = row.key(at);
    if (key >= bound) body(Rank{key, static_cast<Key>(call.length - 1 - at)});
  }
};

template <class Row>
struct ChooseRows {
  using A = typename Row::A;
  static constexpr int max_threads = kChooseThreads;
  static constexpr int min_blocks = 2;  // of a multiprocessor: latency is what choosing costs

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    A::load_tables(team.thread());
    team.sync();
    const Chooser<Row, Team> chooser(team, call);
    for (std::int64_t r = team.block(); r < call.rows; r += team.blocks()) {
      Row row(call, offsets_of(call.outer, call.first_row + r));
      chooser.choose(row, r);
      const Selection& selection = call.selection;
      const std::int64_t first = output_of(selection, call.first_row + r, 0);
      for (std::int64_t j = team.thread(); j < selection.k; j += team.threads()) {
        const auto place = static_cast<std::int64_t>(chooser.candidates[j].place);
        const std::int64_t at = call.length - 1 - place;
        const std::int64_t to = first + j * selection.inner;
        selection.indices[to] = at;
        if (selection.picked == Picked::elements)
          copy_item(row.x + at * row.step, selection.values + to * call.item, call.item);
        else if constexpr (Row::has_scores)
          put(call, row, r, at, j, to);
      }
      team.sync();
    }
  }

 private:
  FASTSOFTMAX_HD static void put(const TopkParameters& call, Row& row, std::int64_t r,
                                 std::int64_t at, std::int64_t j, std::int64_t to) {
    using T = typename A::T;
    const Selection& selection = call.selection;
    if (selection.picked == Picked::scores) {
      reinterpret_cast<T*>(call.scores)[(call.first_row + r) * selection.k + j] = row.score(at);
      return;
    }
    const RowOutcome& outcome = call.outcomes[r];
    T value;
    if (outcome.is_constant) {
      value = constant_of<T>(outcome);
    } else {
      row.shift = static_cast<T>(outcome.shift);
      const T score = row.score(at);
      value = selection.picked == Picked::softmax
                  ? Writer<A, false>(outcome.state).from_score(score)
                  : Writer<A, true>(outcome.state).from_score(score);
    }
    A::store(reinterpret_cast<typename Row::In*>(selection.values) + to, value);
  }
};

// Scores that have become probabilities, on their way to the output.
template <class Row>
struct StoreSelected {
  using A = typename Row::A;
  static constexpr int max_threads = kObserveThreads;
  static constexpr int min_blocks = 1;

  template <class Team>
  FASTSOFTMAX_HD static void run(const Team& team, const TopkParameters& call) {
    const std::int64_t k = call.selection.k;
    const std::int64_t stride = team.blocks() * team.threads();
    for (std::int64_t i = team.block() * team.threads() + team.thread(); i < call.rows * k;
         i += stride) {
      const std::int64_t r = i / k;
      A::store(reinterpret_cast<typename Row::In*>(call.selection.values) +
                   output_of(call.selection, r, i - r * k),
               reinterpret_cast<const typename A::T*>(call.scores)[i]);
    }
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
