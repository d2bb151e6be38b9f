// Losses and their gradients for columns no longer than the lanes, a strip of columns at a time:
// formulas, errors and bits are those of loss.h and loss_gradient.h. No lane has more than one
// term, so that a sum is the terms joined in double precision.
//
// Domain: no softcap, no given coefficients; maxima in the domain of the exponential and no NaN.
#pragma once

#include "kernels/loss_gradient.h"
#include "kernels/short_columns.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::LossColumnsJob;
using kernels::LossColumnsKernels;

// Of a job, as elements.
template <class Rows>
struct LossTile {
  using A = typename Rows::A;
  using T = typename A::T;
  using In = typename Rows::In;

  const LossColumnsJob& job;
  std::int64_t padded = (job.columns + kTileColumns - 1) / kTileColumns * kTileColumns;

  const In* x(int row) const {
    return reinterpret_cast<const In*>(static_cast<const char*>(job.x) + row * job.x_stride);
  }
  In* y(int row) const {
    return reinterpret_cast<In*>(static_cast<char*>(job.y) + row * job.y_stride);
  }
  T* scores(int row) const { return static_cast<T*>(job.scores) + row * padded; }
  bool streams() const {
    constexpr std::uintptr_t alignment = A::width * sizeof(In);
    return job.stream &&
           (reinterpret_cast<std::uintptr_t>(job.y) | static_cast<std::uintptr_t>(job.y_stride)) %
                   alignment ==
               0;
  }
  // Those of `count` columns from c on; -1 where there is no column.
  void targets(int c, int count, T* index) const {
    const int left = job.columns - c;
    const int known = left < count ? left : count;
    for (int i = 0; i < known; ++i) index[i] = static_cast<T>(job.targets[c + i]);
    for (int i = known; i < count; ++i) index[i] = T(-1);
  }
};

// What is known of the strip of R registers from column c on. False outside the domain.
template <int R, class P, class Rows>
[[gnu::always_inline]] inline bool find_strip(const LossTile<Rows>& tile, int c, P strip) {
  using A = typename Rows::A;
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr int width = R * A::width;
  const LossColumnsJob& job = tile.job;
  const int rows = job.length;
  const auto each = [](auto&& body) __attribute__((always_inline)) {
    for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) { body(i, at); });
  };

  typename A::reg largest[R];
  each([&](int i, int) __attribute__((always_inline)) { largest[i] = A::set1(-infinity<T>()); });
  for (int row = 0; row < rows; ++row) {
    const auto* x = tile.x(row) + c;
    T* z = tile.scores(row) + c;
    each([&](int i, int at) __attribute__((always_inline)) {
      const auto score = load<A>(x + at, part_of<A>(strip, i), A::set1(T(0)));
      A::store(z + at, score);
      largest[i] = A::max(score, largest[i]);
    });
  }

  alignas(64) T max[width];
  alignas(64) T exponent[width];
  typename A::reg rounder[R];
  auto highest = A::set1(-infinity<T>());
  auto lowest = A::set1(infinity<T>());
  each([&](int i, int at) __attribute__((always_inline)) {
    const auto n = E::exponents(largest[i]);
    highest = A::max(n, highest);
    lowest = A::min(n, lowest);
    rounder[i] = A::fnma(n, A::set1(T(16)), A::set1(sum_rounder<A>(T(0))));
    A::store(max + at, largest[i]);
    A::store(exponent + at, n);
  });
  if ((A::above(highest, A::set1(T(kMaxExponent))) | A::above(A::set1(T(-kMaxExponent)), lowest)) !=
      0)
    return false;

  alignas(64) T terms[A::lanes * width];
  alignas(64) T target[width];
  tile.targets(c, width, target);
  typename A::reg wanted[R];
  typename A::reg score_of_target[R];
  each([&](int i, int at) __attribute__((always_inline)) {
    wanted[i] = A::load(target + at);
    score_of_target[i] = A::set1(T(0));
  });
  for (int row = 0; row < rows; ++row) {
    const auto* x = tile.x(row) + c;
    const T* z = tile.scores(row) + c;
    const auto here = A::set1(static_cast<T>(row));
    each([&](int i, int at) __attribute__((always_inline)) {
      // Of the next strip: the hardware does not follow that many rows.
      prefetch(x + at, width * sizeof(typename Rows::In));
      const auto score = A::load(z + at);
      score_of_target[i] = A::select_equal(here, wanted[i], score, score_of_target[i]);
      // All but the first maximum.
      const auto rest = A::select_equal(score, largest[i], A::set1(-infinity<T>()), score);
      largest[i] = A::select_equal(score, largest[i], A::set1(infinity<T>()), largest[i]);
      A::store(terms + row * width + at, E::term(rest, rounder[i]));
    });
  }
  each([&](int i, int at)
           __attribute__((always_inline)) { A::store(target + at, score_of_target[i]); });

  alignas(64) double hi[width];
  alignas(64) double lo[width];
  auto all = F64::set1(0.0);
  for (int i = 0; i < width; i += Joined<A>::columns)
    join_terms<A>(terms + i, rows, width).put(hi + i, lo + i);
  for (int i = 0; i < width; i += F64::width) all = F64::add(F64::load(hi + i), all);
  if (F64::above(all, F64::set1(infinity<double>())) != 0) return false;
  constexpr int at_once = 4 * F64::width < A::width ? A::width : 4 * F64::width;
  for (int i = 0; i < width; i += at_once)
    logs_of_sums<A, at_once>(hi + i, lo + i, exponent + i, max + i, job.log_sum + c + i);
  for (int i = 0; i < width; ++i) {
    job.max[c + i] = static_cast<double>(max[i]);
    job.target[c + i] = static_cast<double>(target[i]) - job.max[c + i];
  }
  if (job.coefficients == Coefficients::ones) {
    for (int i = 0; i < width; i += Joined<A>::columns)
      join_terms<A>(tile.scores(0) + c + i, rows, static_cast<int>(tile.padded))
          .put(hi + i, lo + i);
    for (int i = 0; i < width; ++i)
      job.distance[c + i] = distance_from(job.max[c + i], SumPair{static_cast<double>(rows), 0.0},
                                          SumPair{hi[i], lo[i]});
  }
  return true;
}

// The gradients of a strip of GradientBatch::rows columns.
template <bool Stream, class P, class Rows>
[[gnu::always_inline]] inline void gradient_strip(const LossTile<Rows>& tile, int c, P strip) {
  using A = typename Rows::A;
  using T = typename A::T;
  constexpr int width = GradientBatch<A>::rows;
  constexpr int R = width / A::width;
  const LossColumnsJob& job = tile.job;
  GradientBatch<A> batch;
  __builtin_memcpy(batch.max, job.max + c, sizeof batch.max);
  __builtin_memcpy(batch.log_sum, job.log_sum + c, sizeof batch.log_sum);
  __builtin_memcpy(batch.target, job.target + c, sizeof batch.target);
  batch.form();
  alignas(64) T rounder[width];
  alignas(64) T a[width];
  alignas(64) T b[width];
  alignas(64) T at_target[width];
  alignas(64) T index[width];
  tile.targets(c, width, index);
  // Added where there is none: -0, which changes nothing.
  const bool has_coefficients = job.coefficients != Coefficients::none;
  for (int i = 0; i < width; ++i) {
    const double coefficient = has_coefficients ? job.coefficient[c + i] : -0.0;
    const double softmax = job.softmax[c + i];
    const double more = job.at_target[c + i];
    const double v = job.excess[c + i] * batch.p[i] + more * batch.rest[i] + coefficient;
    a[i] = static_cast<T>(softmax);
    b[i] = static_cast<T>(coefficient);
    at_target[i] = static_cast<T>(v == v ? v : __builtin_nan(""));
    rounder[i] = sum_rounder<A>(batch.exponent[i]);
  }
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  for (int row = 0; row < job.length; ++row) {
    const T* z = tile.scores(row) + c;
    auto* y = tile.y(row) + c;
    const auto here = A::set1(static_cast<T>(row));
    for_each_register<A, R>([&](int i, int at) __attribute__((always_inline)) {
      const Quotient<A> quotient{A::load(batch.inverse_hi + at), A::load(batch.inverse_lo + at),
                                 A::load(batch.scale + at)};
      const auto p = quotient(ExtExp<A>::term(A::load(z + at), A::load(rounder + at)));
      auto v = A::fma(p, A::load(a + at), A::load(b + at));
      v = A::select_equal(v, v, v, nan);
      v = A::select_equal(here, A::load(index + at), A::load(at_target + at), v);
      if constexpr (Stream)
        stream<A>(y + at, v, part_of<A>(strip, i));
      else
        store<A>(y + at, v, part_of<A>(strip, i));
    });
  }
}

template <class Rows>
struct LossColumnsEntries {
  using A = typename Rows::A;

  static bool find(const LossColumnsJob& job) {
    const DefaultFloatEnvironment environment;
    constexpr int joined = Joined<A>::columns / A::width;
    constexpr int registers = joined > 4 ? joined : 4;
    constexpr int width = registers * A::width;
    static_assert(kTileColumns % width == 0);
    const LossTile<Rows> tile{job};
    int c = 0;
    for (; c + width <= job.columns; c += width) {
      if (!find_strip<registers>(tile, c, Whole{})) return false;
    }
    return c == job.columns || find_strip<registers>(tile, c, Part{job.columns - c});
  }

  static void gradient(const LossColumnsJob& job) {
    const DefaultFloatEnvironment environment;
    constexpr int width = GradientBatch<A>::rows;
    const LossTile<Rows> tile{job};
    int c = 0;
    if (tile.streams()) {
      for (; c + width <= job.columns; c += width) gradient_strip<true>(tile, c, Whole{});
      stream_fence();
    } else {
      for (; c + width <= job.columns; c += width) gradient_strip<false>(tile, c, Whole{});
    }
    if (c < job.columns) gradient_strip<false>(tile, c, Part{job.columns - c});
  }

  static constexpr LossColumnsKernels table() { return {find, gradient}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
