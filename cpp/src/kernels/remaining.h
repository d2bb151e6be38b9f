// The passes over rows and lists that filters.h asks for, on a CPU.
#pragma once

#include "kernels/filters.h"
#include "kernels/mass.h"
#include "kernels/score_moments.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Tells register by register, in the order of the row, what remains.
template <class A>
struct Membership {
  explicit Membership(const Remaining<A>& r)
      : value_bound(A::set1(r.by_value.bound)),
        value_equal(r.by_value.equal),
        is_typical(r.is_typical),
        key{A::set1(r.centre)},
        nearness_bound(A::set1(r.by_nearness.bound)),
        nearness_equal(r.by_nearness.equal) {}

  [[gnu::always_inline]] unsigned operator()(typename A::reg z, unsigned used) {
    unsigned bits = inside(z, value_bound, value_equal, used);
    if (is_typical && bits != 0) bits = inside(key(z), nearness_bound, nearness_equal, bits);
    return bits;
  }

  typename A::reg value_bound;
  std::int64_t value_equal;  // still to come
  bool is_typical;
  ByNearness<A> key;
  typename A::reg nearness_bound;
  std::int64_t nearness_equal;

  static unsigned inside(typename A::reg k, typename A::reg bound, std::int64_t& equal,
                         unsigned used) {
    const unsigned above = A::above(k, bound) & used;
    if (equal == 0) return above;
    unsigned same = A::at_least(k, bound) & ~above & used;
    if (const int count = count_bits<A>(same); count <= equal) {
      equal -= count;
      return above | same;
    }
    unsigned kept = 0;
    for (; same != 0 && equal > 0; same &= same - 1, --equal) kept |= same & (0u - same);
    return above | kept;
  }
};

// Copies what remains to `list`, which has room for a register more. Blocks whose maximum is below
// the bound are not read; block_max null: all are.
template <class A, class Source>
[[gnu::noinline]] std::int64_t gather(Source& source, std::int64_t length,
                                      const typename A::T* block_max, const Remaining<A>& remaining,
                                      typename A::T* list) {
  using T = typename A::T;
  Membership<A> membership(remaining);
  const bool by_bound = remaining.by_value.equal == 0 && !remaining.is_typical;
  const auto bound = A::set1(remaining.by_value.bound);
  const auto fill = A::set1(-infinity<T>());
  std::int64_t count = 0;
  const auto take = [&](auto z, unsigned bits) __attribute__((always_inline)) {
    A::compress(list + count, z, bits);
    count += count_bits<A>(bits);
  };
  for_each_block<A>(
      length, 0, blocks_of<A>(length), [&](std::int64_t b, std::int64_t start, int n) {
        if (block_max != nullptr && block_max[b] < remaining.by_value.bound) return;
        const auto* x = source.block(start, n);
        if (by_bound) {
          for_each_vector<A>(n, [&](int, int i, auto part) __attribute__((always_inline)) {
            const auto z = load<A>(x + i, part, fill);
            take(z, A::above(z, bound) & in_use(part));
          });
        } else {
          for_each_vector<A>(n, [&](int, int i, auto part) __attribute__((always_inline)) {
            const auto z = load<A>(x + i, part, fill);
            take(z, membership(z, in_use(part)));
          });
        }
      });
  return count;
}

// Whether an element remains.
template <class A, class Source>
[[gnu::noinline]] bool contains(Source& source, std::int64_t length, const typename A::T* block_max,
                                const Remaining<A>& remaining, std::int64_t index) {
  using T = typename A::T;
  Membership<A> membership(remaining);
  const std::int64_t last = index / A::block;
  unsigned bits = 0;
  for_each_block<A>(length, 0, last + 1, [&](std::int64_t b, std::int64_t start, int count) {
    if (block_max != nullptr && block_max[b] < remaining.by_value.bound) return;
    const auto* x = source.block(start, count);
    for (int i = 0; i < count && start + i <= index; i += A::width) {
      const Part part{count - i < A::width ? count - i : A::width};
      const auto z = load<A>(x + i, part, A::set1(-infinity<T>()));
      bits = membership(z, in_use(part)) >> ((index - start - i) % A::width);
    }
  });
  return (bits & 1u) != 0;
}

// How many of a list's first elements equal a value.
template <class A>
inline std::int64_t count_equal(const typename A::T* list, std::int64_t count,
                                typename A::T value) {
  const auto wanted = A::set1(value);
  std::int64_t equal = 0;
  for_each_register<A>(list, count, [&](auto z, unsigned used, std::int64_t) {
    equal += count_bits<A>(A::at_least(z, wanted) & ~A::above(z, wanted) & used);
  });
  return equal;
}

// The index of the element that equals a value and has so many equal ones ahead of it.
template <class A, class Source>
[[gnu::noinline]] std::int64_t find_equal(Source& source, std::int64_t length,
                                          const typename A::T* block_max, typename A::T value,
                                          std::int64_t ahead) {
  const auto wanted = A::set1(value);
  const auto lowest = A::set1(-infinity<typename A::T>());
  const std::int64_t blocks = blocks_of<A>(length);
  std::int64_t found = -1;
  for (std::int64_t b = 0; b < blocks && found < 0; ++b) {
    if (block_max != nullptr && block_max[b] < value) continue;
    for_each_block<A>(length, b, b + 1, [&](std::int64_t, std::int64_t start, int count) {
      const auto* x = source.block(start, count);
      for (int i = 0; i < count && found < 0; i += A::width) {
        const int left = count - i;
        const auto z = left < A::width ? load<A>(x + i, Part{left}, lowest) : A::load(x + i);
        unsigned same = A::at_least(z, wanted) & ~A::above(z, wanted);
        if (left < A::width) same &= in_use(Part{left});
        if (const int equal = count_bits<A>(same); equal <= ahead) {
          ahead -= equal;
          continue;
        }
        for (; ahead > 0; same &= same - 1) --ahead;
        found = start + i + __builtin_ctz(same);
      }
    });
  }
  return found;
}

// A row, or its k largest elements, on a CPU.
template <class Arithmetic, class Source>
struct SourceWork {
  using A = Arithmetic;
  using T = typename A::T;

  Source* source;
  std::int64_t length;
  const T* block_max;  // or null
  T max;
  T* list;  // room for the source and a register more, as for `spare`
  T* spare;
  BlockSum* sums;             // of the list
  T* sample;                  // room for kCounted
  const BlockMasses* masses;  // of the source, which may lie in `sums`; null: not drawn from
  T exponent = ExtExp<A>::exponent(max);

  Drawn<T> draw(const Uniforms& uniform) const {
    return fastsoftmax::FASTSOFTMAX_ISA::draw<A>(*source, length, *masses, uniform);
  }
  Drawn<T> draw_listed(const Remaining<A>& remaining, const Uniforms& uniform) const {
    const std::int64_t count = gather(remaining);
    DirectSource<T> from{list};
    for_each_block<A>(count, 0, blocks_of<A>(count),
                      [&](std::int64_t b, std::int64_t start, int n) {
                        const T top = fastsoftmax::FASTSOFTMAX_ISA::block_max<A>(list + start, n);
                        sum_block<A>(sums[b], list + start, n, top);
                      });
    Drawn<T> drawn = fastsoftmax::FASTSOFTMAX_ISA::draw<A>(
        from, count, BlockMasses(sums, blocks_of<A>(count)), uniform);
    drawn.index = find_equal(drawn.score, count_equal<A>(list, drawn.index, drawn.score));
    return drawn;
  }
  bool contains(const Remaining<A>& remaining, std::int64_t index) const {
    return fastsoftmax::FASTSOFTMAX_ISA::contains<A>(*source, length, block_max, remaining, index);
  }
  std::int64_t find_equal(T value, std::int64_t ahead) const {
    return fastsoftmax::FASTSOFTMAX_ISA::find_equal<A>(*source, length, block_max, value, ahead);
  }
  double deviation() const {
    return fastsoftmax::FASTSOFTMAX_ISA::deviation<A>(*source, length, max);
  }
  std::int64_t gather(const Remaining<A>& remaining) const {
    return fastsoftmax::FASTSOFTMAX_ISA::gather<A>(*source, length, block_max, remaining, list);
  }
  SplitMass split(const Bracket<T>& bracket) const {
    return fastsoftmax::FASTSOFTMAX_ISA::split<A>(ByValue<A>{}, *source, length, bracket, exponent,
                                                  list);
  }
  void take_sample() const {
    fastsoftmax::FASTSOFTMAX_ISA::take_sample<A>(*source, length, sample);
  }
  std::int64_t sampled_above(T bound) const {
    std::int64_t above = 0;
    for (std::int64_t i = 0; i < kCounted; ++i) above += sample[i] > bound ? 1 : 0;
    return above;
  }
  Bracket<T> sampled_bracket(double share) const {
    return bracket_of<A>(ByValue<A>{}, sample, exponent, share);
  }
  double list_mass(std::int64_t count) const { return lists().mass_of(list, count); }
  std::int64_t list_position(std::int64_t count, double target) const {
    return lists().position(list, count, target);
  }
  template <class Key>
  Cut<T> list_cut(Key key, std::int64_t count, double target, double mass) const {
    return cut_by_mass(lists(), key, list, count, spare, target, mass);
  }
  MeanScore<T> list_mean(std::int64_t count) const {
    return mean_score<A>(list, count, max, exponent);
  }

 private:
  Lists<A> lists() const { return {exponent}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
