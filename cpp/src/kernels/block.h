// Blocks: the unit in which a row is reduced, in registers.
//
// Element i of a block goes to virtual lane i mod A::lanes, whatever the register width; a lane
// adds its terms in order; lanes join by halving, from A::join_lanes on in double precision (f32)
// or with the rounding errors carried along (f64).
#pragma once

#include "kernels/ext_exp.h"
#include "kernels/ext_sum.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// A whole register's worth of elements, or the first n.
struct Whole {};
struct Part {
  int n;
};

template <class A, class In>
inline typename A::reg load(const In* p, Whole, typename A::reg) {
  return A::load(p);
}
template <class A, class In>
inline typename A::reg load(const In* p, Part part, typename A::reg fill) {
  return A::load(p, part.n, fill);
}
template <class A, class Out>
inline void store(Out* p, typename A::reg v, Whole) {
  A::store(p, v);
}
template <class A, class Out>
inline void store(Out* p, typename A::reg v, Part part) {
  A::store(p, v, part.n);
}
// Bypasses the cache, but for a part.
template <class A, class Out>
inline void stream(Out* p, typename A::reg v, Whole) {
  A::stream(p, v);
}
template <class A, class Out>
inline void stream(Out* p, typename A::reg v, Part part) {
  A::store(p, v, part.n);
}

template <class A>
struct Lanes {
  static constexpr int count = A::lanes / A::width;  // registers
  typename A::reg r[count];

  explicit Lanes(typename A::reg v) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < count; ++i) r[i] = v;
  }
};

// body(register of lanes, offset, Whole or Part) over `count` elements, but only those of the
// registers [First, First + N).
template <class A, int First = 0, int N = Lanes<A>::count, class Body>
[[gnu::always_inline]] inline void for_each_vector(int count, Body&& body) {
  int i = 0;
  for (; i + A::lanes <= count; i += A::lanes) {
    FASTSOFTMAX_UNROLL
    for (int v = First; v < First + N; ++v) body(v, i + v * A::width, Whole{});
  }
  if (i == count) return;
  FASTSOFTMAX_UNROLL
  for (int v = First; v < First + N; ++v) {
    const int offset = i + v * A::width;
    if (offset >= count) break;
    if (offset + A::width <= count)
      body(v, offset, Whole{});
    else
      body(v, offset, Part{count - offset});
  }
}

// Sums of lanes and of the errors made in them, both to be added.
template <class A>
struct LaneSums {
  Lanes<A> sum{A::set1(0)};
  Lanes<A> error{A::set1(0)};
};

// sum + term, the rounding error of which goes to `error`: all of it where |sum| is not the smaller
// operand; where it is, the sum at least doubles, so that what is lost in a block is at most half a
// unit in the last place of its sum.
template <class A>
FASTSOFTMAX_HD [[gnu::always_inline]] inline void add_term(typename A::reg& sum,
                                                           typename A::reg& error,
                                                           typename A::reg term) {
  const auto larger = A::add(sum, term);
  error = A::sub(error, A::sub(A::sub(larger, sum), term));
  sum = larger;
}

FASTSOFTMAX_HD inline Sum2 two_sum(Sum2 a, Sum2 b) {
  const Sum2 s = two_sum(a.hi, b.hi);
  return {s.hi, s.lo + (a.lo + b.lo)};
}

// Exact: without the errors, which are all zero where a lane has a single term.
template <class A, bool Exact = false>
[[gnu::always_inline]] inline Sum2 join(LaneSums<A>& lanes) {
  auto& sum = lanes.sum.r;
  auto& error = lanes.error.r;
  if constexpr (sizeof(typename A::T) == sizeof(float)) {
    constexpr int quarter = Lanes<A>::count / 4;
    static_assert(quarter * A::width == A::join_lanes);
    const auto even = A::add(A::widen(sum), A::widen(sum + 2 * quarter));
    const auto odd = A::add(A::widen(sum + quarter), A::widen(sum + 3 * quarter));
    if constexpr (Exact) return {A::sum(A::add(even, odd)), 0.0};
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < quarter; ++i)
      error[i] = A::add(A::add(error[i], error[i + 2 * quarter]),
                        A::add(error[i + quarter], error[i + 3 * quarter]));
    return {A::sum(A::add(A::add(even, odd), A::widen(error))), 0.0};
  } else {
    FASTSOFTMAX_UNROLL
    for (int g = Lanes<A>::count / 2; g * A::width >= A::join_lanes; g /= 2) {
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < g; ++i) {
        const auto both = A::add(sum[i], sum[i + g]);
        const auto other = A::sub(both, sum[i]);
        const auto lost = A::add(A::sub(sum[i], A::sub(both, other)), A::sub(sum[i + g], other));
        error[i] = A::add(lost, A::add(error[i], error[i + g]));
        sum[i] = both;
      }
    }
    double hi[A::join_lanes];
    double lo[A::join_lanes];
    for (int i = 0; i * A::width < A::join_lanes; ++i) {
      A::store(hi + i * A::width, sum[i]);
      A::store(lo + i * A::width, error[i]);
    }
    for (int h = A::join_lanes / 2; h > 0; h /= 2) {
      for (int j = 0; j < h; ++j) {
        const Sum2 s = two_sum(Sum2{hi[j], lo[j]}, Sum2{hi[j + h], lo[j + h]});
        hi[j] = s.hi;
        lo[j] = s.lo;
      }
    }
    return {hi[0], lo[0]};
  }
}

template <class A>
[[gnu::always_inline]] inline typename A::T reduce_max(Lanes<A>& acc) {
  FASTSOFTMAX_UNROLL
  for (int g = Lanes<A>::count / 2; g > 0; g /= 2) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < g; ++i) acc.r[i] = A::max(acc.r[i], acc.r[i + g]);
  }
  return A::reduce_max(acc.r[0]);
}

template <class T>
FASTSOFTMAX_HD constexpr T infinity() {
  return static_cast<T>(__builtin_inf());
}

// Among NaNs, any of the elements or NaN: the sum will be NaN whatever comes of it.
template <class A, class In>
[[gnu::always_inline]] inline typename A::T block_max(const In* x, int count) {
  const auto lowest = A::set1(-infinity<typename A::T>());
  Lanes<A> acc(lowest);
  const auto take = [&](int v, int i, auto part) __attribute__((always_inline)) {
    acc.r[v] = A::max(load<A>(x + i, part, lowest), acc.r[v]);
  };
  if (count < A::lanes) {
    for_each_vector<A>(count, take);
  } else {
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < Lanes<A>::count; ++v) acc.r[v] = load<A>(x + v * A::width, Whole{}, lowest);
    for_each_vector<A>(count - A::lanes,
                       [&](int v, int i, auto part)
                           __attribute__((always_inline)) { take(v, A::lanes + i, part); });
  }
  return reduce_max(acc);
}

// For the smallest element: what the exponential clamps is no part of a block's spread, because it
// weighs nothing under any exponent in the domain.
template <class A>
inline typename A::reg ignore_clamped(typename A::reg x) {
  using T = typename A::T;
  return A::select_above(x, A::set1(ExpConstants<T>::lowest), A::set1(infinity<T>()));
}

template <class T>
struct Range {
  T min, max;
};

template <class A, class In>
[[gnu::always_inline]] inline Range<typename A::T> block_range(const In* x, int count) {
  using T = typename A::T;
  const auto highest = A::set1(infinity<T>());
  const auto lowest = A::set1(-infinity<T>());
  Lanes<A> largest(lowest);
  auto smallest = highest;
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    const auto z = load<A>(x + i, part, lowest);
    largest.r[v] = A::max(z, largest.r[v]);
    smallest = A::min(ignore_clamped<A>(z), smallest);
  });
  return {A::reduce_min(smallest), reduce_max(largest)};
}

// The index of the first element that equals `value`, or a number not below `count`.
template <class A, class In>
[[gnu::always_inline]] inline int find(const In* x, int count, typename A::T value) {
  const auto wanted = A::set1(value);
  const auto other = A::set1(static_cast<typename A::T>(__builtin_nan("")));
  for (int i = 0; i < count; i += A::width) {
    const auto v = count - i < A::width ? load<A>(x + i, Part{count - i}, other) : A::load(x + i);
    const int at = A::first_equal(v, wanted);
    if (at < A::width) return i + at;
  }
  return count;
}

// What block_sum does besides summing: nothing; leave out one element; keep the terms it sums; keep
// them under another exponent.
enum class Also { nothing, leave_out, keep, keep_rescaled };

template <class T>
alignas(64) constexpr T kCountUp[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// What is done with each term besides: nothing.
struct NothingElse {
  template <class... Any>
  void operator()(Any&&...) const {}
};

// For E::round and E::term: terms e^z * 2^(kSumBias - exponent).
template <class A>
FASTSOFTMAX_HD inline typename A::T sum_rounder(typename A::T exponent) {
  using T = typename A::T;
  return ExtExp<A>::rounder(static_cast<T>(ExpConstants<T>::field_bias + kSumBias) - exponent);
}

// Single: no lane has more than one term. each(register of lanes, element, its term) for all.
template <class A, Also W, bool Single, int First, class In, class Each>
[[gnu::always_inline]] inline void sum_registers(LaneSums<A>& lanes, const In* x, int count,
                                                 typename A::T exponent, typename A::T* kept,
                                                 typename A::T kept_exponent, int left_out,
                                                 Each&& each) {
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr int registers = A::summed_at_once;
  const auto rounder = A::set1(sum_rounder<A>(exponent));
  const auto kept_rounder = A::set1(sum_rounder<A>(kept_exponent));
  const auto fill = A::set1(-infinity<T>());
  const auto term_at = [&](int v, int i, auto part) __attribute__((always_inline)) {
    auto z = load<A>(x + i, part, fill);
    if constexpr (W == Also::leave_out) {
      const int lane = left_out - i;
      if (lane >= 0 && lane < A::width)
        z = A::select_equal(A::load(kCountUp<T>), A::set1(static_cast<T>(lane)), fill, z);
    }
    prefetch(x + i, 2 * A::block * static_cast<std::int64_t>(sizeof(In)));
    const auto t = E::round(z, rounder);
    const auto q = E::growth(z, t, rounder);
    const auto term = E::scaled(q, t);
    if constexpr (W == Also::keep) store<A>(kept + i, term, part);
    if constexpr (W == Also::keep_rescaled)
      store<A>(kept + i, E::scaled(q, E::round(z, kept_rounder)), part);
    each(v, z, term);
    return term;
  };
  typename A::reg sum[registers];
  typename A::reg error[registers];
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < registers; ++i) sum[i] = error[i] = A::set1(T(0));
  if constexpr (Single) {
    for_each_vector<A, First, registers>(
        count, [&](int v, int i, auto part)
                   __attribute__((always_inline)) { sum[v - First] = term_at(v, i, part); });
  } else {
    FASTSOFTMAX_UNROLL
    for (int v = 0; v < registers; ++v)
      sum[v] = term_at(First + v, (First + v) * A::width, Whole{});
    for_each_vector<A, First, registers>(
        count - A::lanes, [&](int v, int i, auto part) __attribute__((always_inline)) {
          add_term<A>(sum[v - First], error[v - First], term_at(v, A::lanes + i, part));
        });
  }
  FASTSOFTMAX_UNROLL
  for (int i = 0; i < registers; ++i) {
    lanes.sum.r[First + i] = sum[i];
    lanes.error.r[First + i] = error[i];
  }
  if constexpr (First + registers < Lanes<A>::count)
    sum_registers<A, W, Single, First + registers>(lanes, x, count, exponent, kept, kept_exponent,
                                                   left_out, each);
}

// Sum of e^x_i * 2^(kSumBias - exponent) over a block none of whose elements has a larger exponent.
// Terms are kept in `kept`, under `kept_exponent`; `kept` is x itself or does not overlap it.
template <class A, Also W = Also::nothing, class In, class Each = NothingElse>
[[gnu::always_inline]] inline Sum2 block_sum(const In* x, int count, typename A::T exponent,
                                             typename A::T* kept = nullptr,
                                             typename A::T kept_exponent = 0, int left_out = -1,
                                             Each&& each = {}) {
  LaneSums<A> lanes;
  if (count <= A::lanes) {
    sum_registers<A, W, true, 0>(lanes, x, count, exponent, kept, kept_exponent, left_out, each);
    return join<A, true>(lanes);
  }
  sum_registers<A, W, false, 0>(lanes, x, count, exponent, kept, kept_exponent, left_out, each);
  return join<A>(lanes);
}

// The two-pass paper's accumulators: each lane keeps a mantissa and its own exponent, so no maximum
// need be known. `wide` tells that the block's exponents lie too far apart for lanes to be exact;
// such a block, still in L1, is to be summed by block_sum.
template <class T>
constexpr T kWidestTwoPass = sizeof(T) == sizeof(float) ? T(120) : T(900);
template <class T>
constexpr T kBelowEveryExponent = T(-4194304);

template <class A>
struct TwoPassSum {
  Sum2 sum;  // scaled as block_sum scales it
  typename A::T exponent;
  bool wide;
};

// What add_term does to lanes that keep exponents of their own, scaled by 2^kSumBias.
template <class A>
struct TwoPassLane {
  using Pair = typename ExtExp<A>::Pair;
  typename A::reg sum = A::set1(0);
  typename A::reg error = A::set1(0);
  typename A::reg exponent = A::set1(kBelowEveryExponent<typename A::T>);

  [[gnu::always_inline]] void add(Pair e) {
    const auto top = A::max(e.n, exponent);
    rescale(top);
    const auto bias = A::set1(typename A::T(kSumBias));
    add_term<A>(sum, error, A::scale_down(e.m, A::sub(A::add(e.n, bias), top)));
  }
  [[gnu::always_inline]] void rescale(typename A::reg top) {
    const auto down = A::sub(exponent, top);
    sum = A::scale_down(sum, down);
    error = A::scale_down(error, down);
    exponent = top;
  }
};

template <class A, class In>
inline TwoPassSum<A> block_sum_two_pass(const In* x, int count) {
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr int registers = Lanes<A>::count;
  const auto fill = A::set1(-infinity<T>());
  TwoPassLane<A> lanes[registers];
  auto smallest = A::set1(infinity<T>());
  for_each_vector<A>(count, [&](int v, int i, auto part) __attribute__((always_inline)) {
    const auto z = load<A>(x + i, part, fill);
    smallest = A::min(ignore_clamped<A>(z), smallest);
    lanes[v].add(E::pair(E::clamp(z)));
  });
  auto largest = lanes[0].exponent;
  FASTSOFTMAX_UNROLL
  for (int v = 1; v < registers; ++v) largest = A::max(lanes[v].exponent, largest);
  TwoPassSum<A> result;
  result.exponent = A::reduce_max(largest);
  result.wide = !(result.exponent - E::exponent(A::reduce_min(smallest)) <= kWidestTwoPass<T>);
  LaneSums<A> sums;
  FASTSOFTMAX_UNROLL
  for (int v = 0; v < registers; ++v) {
    lanes[v].rescale(A::set1(result.exponent));
    sums.sum.r[v] = lanes[v].sum;
    sums.error.r[v] = lanes[v].error;
  }
  result.sum = join<A>(sums);
  return result;
}

// y[i] = f(i, Whole or Part), bypassing the cache where `stream`; y is aligned to its elements.
template <class A, class Out, class F>
[[gnu::always_inline]] inline void map_block(Out* y, int count, bool stream, F&& f) {
  if (!stream) {
    for_each_vector<A>(count, [&](int, int i, auto part) __attribute__((always_inline)) {
      store<A>(y + i, f(i, part), part);
    });
    return;
  }
  constexpr std::uintptr_t alignment = A::width * sizeof(Out);
  const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(y) % alignment;
  int i = 0;
  if (past != 0) {
    const int to_boundary = static_cast<int>((alignment - past) / sizeof(Out));
    i = to_boundary < count ? to_boundary : count;
    A::store(y, f(0, Part{i}), i);
  }
  for (; i + A::width <= count; i += A::width) A::stream(y + i, f(i, Whole{}));
  if (i < count) A::store(y + i, f(i, Part{count - i}), count - i);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
