// The passes over rows and lists that filters.h and cut.h ask for, by a thread block.
#pragma once

#include "cuda/sample_moments.h"
#include "cuda/sample_search.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Both of cut.h's, so that what takes one is there once.
template <class A>
struct AnyKey {
  using T = typename A::T;
  bool is_nearness;
  T centre;

  FASTSOFTMAX_HD AnyKey(ByValue<A>) : is_nearness(false), centre(0) {}
  FASTSOFTMAX_HD AnyKey(ByNearness<A> key) : is_nearness(true), centre(key.centre) {}
  FASTSOFTMAX_HD T operator()(T z) const { return is_nearness ? ByNearness<A>{centre}(z) : z; }
};

// Lists in global memory whose terms are those under one exponent; a list that is null is the row.
template <class Crew>
struct SampleLists {
  using A = typename Crew::A;
  using T = typename Crew::T;
  using Key = AnyKey<A>;
  Crew crew;
  T exponent;

  // kCounted elements on the desk.
  FASTSOFTMAX_HD void take_sample(const T* v, std::int64_t count) const {
    for (int i = crew.team.thread(); i < kCounted; i += crew.team.threads())
      crew.sample()[i] = score_at(crew, v, (2 * i + 1) * count / (2 * kCounted));
    crew.sync();
  }
  FASTSOFTMAX_HD Bracket<T> sampled_bracket(Key key, double share) const {
    sort(key, crew.sample(), kCounted);
    for_each_own(crew, kCounted, [&](int at, auto& pack) {
      for (int c = 0; c < kPerThread<A>; ++c) {
        if (at + c < kCounted) pack.v[c] = crew.sample()[at + c];
      }
    });
    const Sum2 sum = sum_of(crew, kCounted, exponent);
    // As a sum over blocks, of which there is one.
    const double mass = 0.0 + (sum.hi + sum.lo);
    const Bracket<T> found =
        bracket_around(crew.keys(), reaching(crew.terms(), kCounted, share * mass));
    crew.sync();
    return found;
  }
  FASTSOFTMAX_HD [[gnu::noinline]] static Bracket<T> bracket_of(SampleLists lists, Key key,
                                                                const T* v, std::int64_t count,
                                                                double share) {
    lists.take_sample(v, count);
    return lists.sampled_bracket(key, share);
  }
  FASTSOFTMAX_HD Bracket<T> bracket(Key key, const T* v, std::int64_t count, double share) const {
    return bracket_of(*this, key, v, count, share);
  }

  FASTSOFTMAX_HD [[gnu::noinline]] static SplitMass split_in(SampleLists lists, Key key, const T* v,
                                                             std::int64_t count, Bracket<T> around,
                                                             T* to) {
    const Crew& crew = lists.crew;
    SplitMass parts{0.0, 0};
    const auto exceeds = [&](T z) { return A::above(key(z), around.high) != 0; };
    const auto lies_in = [&](T z) { return A::at_least(key(z), around.low) != 0 && !exceeds(z); };
    in_rounds(crew, count, [&](std::int64_t start, int size) {
      fetch(crew, v, start, size);
      parts.between += append(crew, size, lies_in, to + parts.between);
      T* const above = crew.buffer();
      const int exceeding =
          for_each_ranked(crew, size, exceeds, [&](T z, int, int rank) { above[rank] = z; });
      crew.team.sync_group();
      parts.above = add_in_order(crew, parts.above, sum_of(crew, exceeding, lists.exponent));
    });
    crew.sync();
    return parts;
  }
  FASTSOFTMAX_HD SplitMass split(Key key, const T* v, std::int64_t count, const Bracket<T>& around,
                                 T* to) const {
    return split_in(*this, key, v, count, around, to);
  }

  template <bool Above>
  FASTSOFTMAX_HD std::int64_t keep(Key key, T* v, std::int64_t count, T bound) const {
    return keep_in(*this, key, v, count, bound, Above);
  }
  FASTSOFTMAX_HD [[gnu::noinline]] static std::int64_t keep_in(SampleLists lists, Key key, T* v,
                                                               std::int64_t count, T bound,
                                                               bool above) {
    const Crew& crew = lists.crew;
    std::int64_t kept = 0;
    in_rounds(crew, count, [&](std::int64_t start, int size) {
      fetch(crew, v, start, size);
      const auto stays = [&](T z) {
        return above ? A::above(key(z), bound) != 0 : A::at_least(key(z), bound) == 0;
      };
      kept += append(crew, size, stays, v + kept);
    });
    crew.sync();
    return kept;
  }

  FASTSOFTMAX_HD double mass_of(const T* v, std::int64_t count) const {
    return mass_in(*this, v, count);
  }
  FASTSOFTMAX_HD [[gnu::noinline]] static double mass_in(SampleLists lists, const T* v,
                                                         std::int64_t count) {
    double mass = 0.0;
    in_rounds(lists.crew, count, [&](std::int64_t start, int size) {
      fetch(lists.crew, v, start, size);
      mass = add_in_order(lists.crew, mass, sum_of(lists.crew, size, lists.exponent));
    });
    return mass;
  }

  FASTSOFTMAX_HD std::int64_t position(const T* v, std::int64_t count, double target) const {
    return position_in(crew, v, 0, count, exponent, target);
  }

  FASTSOFTMAX_HD Cut<T> cut_of_few(Key key, const T* v, int count, double target) const {
    sort(key, v, count);
    const Cut<T> cut = cut_behind(crew.keys(), reaching(crew.terms(), count, target));
    crew.sync();
    return cut;
  }

  // Keys and terms of at most kCounted elements, on the desk; equal ones as they come.
  FASTSOFTMAX_HD void sort(Key key, const T* v, int count) const {
    const T rounder = sum_rounder<A>(exponent);
    for (int i = crew.team.thread(); i < count; i += crew.team.threads()) {
      const T mine = key(v[i]);
      int rank = 0;
      for (int j = 0; j < count; ++j) {
        const T other = key(v[j]);
        rank += other > mine || (other == mine && j < i) ? 1 : 0;
      }
      crew.keys()[rank] = mine;
      crew.terms()[rank] = ExtExp<A>::term(v[i], rounder);
    }
    crew.sync();
  }
};

// A row, or its k largest elements.
template <class Crew>
struct SampleWork {
  using A = typename Crew::A;
  using T = typename Crew::T;

  Crew crew;
  const T* source;  // null: the row, of which the sums are there
  std::int64_t length;
  T max;
  double total;  // of the row's masses
  T exponent = ExtExp<A>::exponent(max);

  FASTSOFTMAX_HD Drawn<T> draw(const Uniforms& uniform) const {
    return draw_one(crew, nullptr, length, crew.sums(), total, uniform);
  }
  FASTSOFTMAX_HD Drawn<T> draw_listed(const Remaining<A>& remaining,
                                      const Uniforms& uniform) const {
    const T* const list = crew.list();
    const std::int64_t count = gather(remaining);
    const std::int64_t blocks = blocks_of<A>(count);
    sum_blocks(crew, list, count, 0, blocks, crew.list_sums());
    crew.sync();
    const double mass = weigh_blocks(crew, crew.list_sums(), blocks);
    Drawn<T> drawn = draw_one(crew, list, count, crew.list_sums(), mass, uniform);
    std::int64_t ahead = 0;
    in_rounds(crew, drawn.index, [&](std::int64_t start, int size) {
      fetch(crew, list, start, size);
      ahead += count_taken(crew, size, [&](T z) { return z == drawn.score; }).all;
    });
    drawn.index = find_equal(drawn.score, ahead);
    return drawn;
  }
  FASTSOFTMAX_HD bool contains(const Remaining<A>& remaining, std::int64_t index) const {
    return remaining_of(crew, source, index + 1, remaining, nullptr, nullptr) != 0;
  }
  FASTSOFTMAX_HD std::int64_t find_equal(T value, std::int64_t ahead) const {
    return find_equal_in(crew, source, length, value, ahead);
  }
  FASTSOFTMAX_HD double deviation() const { return deviation_of(crew, length, max); }
  FASTSOFTMAX_HD std::int64_t gather(const Remaining<A>& remaining) const {
    return remaining_of(crew, source, length, remaining, crew.list(), nullptr);
  }
  FASTSOFTMAX_HD SplitMass split(const Bracket<T>& bracket) const {
    return lists().split(ByValue<A>{}, source, length, bracket, crew.list());
  }
  FASTSOFTMAX_HD void take_sample() const { lists().take_sample(source, length); }
  FASTSOFTMAX_HD std::int64_t sampled_above(T bound) const {
    std::int64_t above = 0;
    for (int i = 0; i < kCounted; ++i) above += crew.sample()[i] > bound ? 1 : 0;
    return above;
  }
  FASTSOFTMAX_HD Bracket<T> sampled_bracket(double share) const {
    return lists().sampled_bracket(ByValue<A>{}, share);
  }
  FASTSOFTMAX_HD double list_mass(std::int64_t count) const {
    return lists().mass_of(crew.list(), count);
  }
  FASTSOFTMAX_HD std::int64_t list_position(std::int64_t count, double target) const {
    return lists().position(crew.list(), count, target);
  }
  template <class Key>
  FASTSOFTMAX_HD Cut<T> list_cut(Key key, std::int64_t count, double target, double mass) const {
    return cut_by_mass(lists(), AnyKey<A>(key), crew.list(), count, crew.spare(), target, mass);
  }
  FASTSOFTMAX_HD MeanScore<T> list_mean(std::int64_t count) const {
    return mean_of(crew, crew.list(), count, max, exponent);
  }
  FASTSOFTMAX_HD SampleLists<Crew> lists() const { return {crew, exponent}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
