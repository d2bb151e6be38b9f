// Gradients of the scores from those of the output: with g the gradient, y the output, T the
// temperature,
//
//   softmax      dx_i = y_i (g_i - D) / T       D = sum_j g_j y_j
//   log_softmax  dx_i = (g_i - e^(y_i) S) / T   S = sum_j g_j
//
// Domain: all numbers. e^(y_i) is 0 below the smallest normal number, and +inf above y_i = 88.5
// (f64: 709.5).
//
// Error: of D and S at most 2^-47 (f64: (2^10 + B^2) 2^-106, B the number of blocks) times
// sum_j |g_j y_j| and sum_j |g_j|. Beyond that, with u = 2^-24 (f64: 2^-53) and where nothing
// underflows, dx_i of softmax is within 4 u (without temperature 3 u) of itself, because
// g_i - D takes D as a pair: nothing is lost where one element dominates and D is all but its g_i.
// dx_i of log_softmax is within 2 u of itself and 2.3 u of e^(y_i) S.
//
// Special values: as the formulas say; 0 * inf and inf - inf are NaN, and NaN has one bit pattern.
#pragma once

#include "kernels/dot.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;
using kernels::SumPair;

// hi + lo in the arithmetic type; without lo where hi is not finite.
template <class T>
struct ArithmeticPair {
  T hi, lo;

  explicit ArithmeticPair(const SumPair& sum) {
    Sum2 total{sum.hi, sum.lo};
    if constexpr (sizeof(T) == sizeof(double))
      total = two_sum(sum.hi, sum.lo - sum.lo == 0.0 ? sum.lo : 0.0);
    hi = static_cast<T>(total.hi);
    lo = static_cast<T>((total.hi - static_cast<double>(hi)) + total.lo);
    if (lo - lo != T(0)) lo = T(0);
  }
};

// e^y as an output: rounded, without subnormal numbers.
template <class A>
[[gnu::always_inline]] inline typename A::reg exponential(typename A::reg y) {
  using T = typename A::T;
  using E = ExtExp<A>;
  constexpr bool f32 = sizeof(T) == sizeof(float);
  // The largest y with an e^y below the smallest normal number.
  constexpr T lowest = f32 ? T(-0x1.5d58ap+6) : T(-0x1.6232bdd7abcd3p+9);
  constexpr T largest = f32 ? T(0x1.fffffep127) : T(__DBL_MAX__);
  constexpr T overflowing = largest / (f32 ? T(88.5) : T(709.5));
  const auto rounder = A::set1(E::rounder(T(ExpConstants<T>::field_bias)));
  const auto t = E::round(y, rounder);
  const auto p = A::power(t);
  const auto e = A::fma_above(p, E::growth(y, t, rounder), p, y, A::set1(lowest));
  return A::select_above(A::mul(y, A::set1(overflowing)), A::set1(largest), e);
}

template <class A, RowOp O, bool Divides, class In, class Out>
[[gnu::always_inline]] inline void write_gradient(const In* g, const In* y, Out* out, int count,
                                                  const SumPair& sum, typename A::T temperature,
                                                  bool stream, std::int64_t ahead) {
  using T = typename A::T;
  const ArithmeticPair<T> total(sum);
  const auto hi = A::set1(total.hi);
  const auto lo = A::set1(total.lo);
  const auto divisor = A::set1(temperature);
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  map_block<A>(out, count, stream, [&](int i, auto part) __attribute__((always_inline)) {
    auto v = load<A>(g + i, part, fill);
    const auto p = load<A>(y + i, part, fill);
    if constexpr (O == RowOp::log_softmax) prefetch(y + i, ahead);
    if constexpr (O == RowOp::softmax)
      v = A::mul(p, A::sub(A::sub(v, hi), lo));
    else
      v = A::fnma(exponential<A>(p), hi, v);
    if constexpr (Divides) v = A::div(v, divisor);
    return A::select_equal(v, v, v, nan);
  });
}

template <class Rows>
struct BackwardEntries {
  using A = typename Rows::A;
  using T = typename A::T;

  static auto grad(const BackwardJob& job, std::int64_t row) {
    if constexpr (Rows::is_memory)
      return Rows::source(job.rows, row);
    else
      return GatheredSource<A>(job.rows.fetch, job.rows.context, job.rows.first_row + row, T(1));
  }
  static auto output(const BackwardJob& job, std::int64_t row) {
    if constexpr (Rows::is_memory) {
      const char* p = static_cast<const char*>(job.output) + row * job.output_stride;
      return DirectSource<typename Rows::In>{reinterpret_cast<const typename Rows::In*>(p)};
    } else {
      return GatheredSource<A>(job.rows.fetch, job.output_context, job.rows.first_row + row, T(1));
    }
  }

  // f(O) with the operation as a constant.
  template <class F>
  static void with_op(RowOp op, F&& f) {
    if (op == RowOp::softmax)
      f(Constant<RowOp::softmax>{});
    else
      f(Constant<RowOp::log_softmax>{});
  }
  template <RowOp O>
  struct Constant {
    static constexpr RowOp op = O;
  };

  static int elements_of(const BackwardJob& job, std::int64_t block) {
    const std::int64_t left = job.rows.length - block * A::block;
    return left < A::block ? static_cast<int>(left) : A::block;
  }

  template <RowOp O>
  static SumPair sum_block(const BackwardJob& job, std::int64_t row, std::int64_t b) {
    const std::int64_t start = b * A::block;
    const int count = elements_of(job, b);
    auto g = grad(job, row);
    const auto* x = g.block(start, count);
    Sum2 sum;
    if constexpr (O == RowOp::softmax) {
      auto y = output(job, row);
      sum = sum_of_block<A, true>(x, y.block(start, count), count);
    } else {
      sum = sum_of_block<A, false>(x, x, count);
    }
    return {sum.hi, sum.lo};
  }

  template <RowOp O>
  static void write_block(const BackwardJob& job, std::int64_t row, const SumPair& sum,
                          std::int64_t b) {
    const std::int64_t start = b * A::block;
    const int count = elements_of(job, b);
    auto g = grad(job, row);
    auto y = output(job, row);
    auto sink = Rows::sink(job.rows, row);
    const auto* x = g.block(start, count);
    const auto* factors = y.block(start, count);
    const T temperature = static_cast<T>(temperature_of(job.rows, row));
    auto* out = sink.block(start);
    // log_softmax reads its output here first.
    const std::int64_t ahead =
        job.rows.length > A::block ? 2 * A::block * static_cast<std::int64_t>(sizeof(*factors)) : 0;
    if (temperature == T(1))
      write_gradient<A, O, false>(x, factors, out, count, sum, temperature, job.rows.stream, ahead);
    else
      write_gradient<A, O, true>(x, factors, out, count, sum, temperature, job.rows.stream, ahead);
    sink.done(start, count);
  }

  static void add(SumPair& total, const SumPair& block) {
    const Sum2 sum = two_sum(Sum2{total.hi, total.lo}, Sum2{block.hi, block.lo});
    total = {sum.hi, sum.lo};
  }

  // Rows are summed so many at a time that they hide each other's latency, and then written from
  // L1. Longer rows are not summed block by block while others are written: what is written would
  // come from L2, and its loads take the hardware's prefetcher off what comes from memory.
  template <RowOp O>
  static void run(const BackwardJob& job) {
    const std::int64_t rows = job.rows.rows;
    const std::int64_t blocks = blocks_of<A>(job.rows.length);
    const int batch = batch_of(job.rows.length);
    for (std::int64_t first = 0; first < rows; first += batch) {
      SumPair sums[kBatchRows];
      const std::int64_t last = rows - first < batch ? rows : first + batch;
      for (std::int64_t row = first; row < last; ++row) {
        SumPair& total = sums[row - first];
        total = sum_block<O>(job, row, 0);
        for (std::int64_t b = 1; b < blocks; ++b) add(total, sum_block<O>(job, row, b));
      }
      for (std::int64_t row = first; row < last; ++row)
        for (std::int64_t b = 0; b < blocks; ++b) write_block<O>(job, row, sums[row - first], b);
    }
  }

  static void rows(const BackwardJob& job) {
    const DefaultFloatEnvironment environment;
    with_op(job.rows.op, [&](auto c) { run<c.op>(job); });
    if (job.rows.stream) stream_fence();
  }

  static void sum(const BackwardJob& job, std::int64_t first, std::int64_t last, SumPair* sums) {
    const DefaultFloatEnvironment environment;
    with_op(job.rows.op, [&](auto c) {
      for (std::int64_t b = first; b < last; ++b) sums[b] = sum_block<c.op>(job, 0, b);
    });
  }

  static SumPair join(const SumPair* sums, std::int64_t blocks) {
    const DefaultFloatEnvironment environment;
    SumPair total = sums[0];
    for (std::int64_t b = 1; b < blocks; ++b) add(total, sums[b]);
    return total;
  }

  static void write(const BackwardJob& job, const SumPair& sum, std::int64_t first,
                    std::int64_t last) {
    const DefaultFloatEnvironment environment;
    with_op(job.rows.op, [&](auto c) {
      for (std::int64_t b = first; b < last; ++b) write_block<c.op>(job, 0, sum, b);
    });
    if (job.rows.stream) stream_fence();
  }

  static constexpr BackwardKernels table() { return {rows, sum, join, write}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
