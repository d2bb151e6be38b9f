// What filters have left of a row: a cut by value and one by nearness to a centre. Ties are taken
// in the order of the row, so that where a cut goes through equal elements, the ones before decide.
#pragma once

#include "kernels/mass.h"
#include "kernels/select.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A>
struct Remaining {
  using T = typename A::T;
  Cut<T> by_value;  // a bound of -inf: everything that is finite
  bool is_typical = false;
  T centre = 0;
  Cut<T> by_nearness;

  // The smaller of two sets that are both cuts of the same order.
  void shorten(const Cut<T>& cut) {
    if (cut.bound > by_value.bound || (cut.bound == by_value.bound && cut.equal < by_value.equal))
      by_value = cut;
  }
  // Nothing below a score; the first of the largest in any case.
  void shorten_to(double lowest, T max) {
    T bound = static_cast<T>(lowest);
    if (static_cast<double>(bound) < lowest) bound = next_above(bound);
    if (bound > max)
      shorten({max, 1});
    else if (bound > -infinity<T>())
      shorten({next_below(bound), 0});
  }

 private:
  static T next_above(T v) { return -next_below(-v); }
};

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
                                const Remaining<A>& remaining, std::int64_t index,
                                typename A::T score) {
  using T = typename A::T;
  const ByNearness<A> nearness{A::set1(remaining.centre)};
  const T distance = A::first(nearness(A::set1(score)));
  const Cut<T>& by_value = remaining.by_value;
  const Cut<T>& by_nearness = remaining.by_nearness;
  if (score < by_value.bound || (remaining.is_typical && distance < by_nearness.bound))
    return false;
  if (score > by_value.bound && (!remaining.is_typical || distance > by_nearness.bound))
    return true;
  Membership<A> membership(remaining);
  const std::int64_t last = index / A::block;
  unsigned bits = 0;
  for_each_block<A>(length, 0, last + 1, [&](std::int64_t b, std::int64_t start, int count) {
    if (block_max != nullptr && block_max[b] < by_value.bound) return;
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

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
