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
    double rest = sum.lo;
    if (rest - rest != 0.0) rest = 0.0;
    const Sum2 total = two_sum(sum.hi, rest);
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

template <class A, RowOp O, bool Divides, class Source, class Sink>
[[gnu::noinline]] void write_gradient(Source& grad, Source& output, Sink& sink, std::int64_t length,
                                      const SumPair& sum, typename A::T temperature,
                                      std::int64_t first, std::int64_t last) {
  using T = typename A::T;
  const ArithmeticPair<T> total(sum);
  const auto hi = A::set1(total.hi);
  const auto lo = A::set1(total.lo);
  const auto divisor = A::set1(temperature);
  const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
  const auto fill = A::set1(T(0));
  for_each_block<A>(length, first, last, [&](std::int64_t, std::int64_t start, int count) {
    const auto* g = grad.block(start, count);
    const auto* y = output.block(start, count);
    map_block<A>(sink.block(start), count, sink.stream,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   auto v = load<A>(g + i, part, fill);
                   const auto p = load<A>(y + i, part, fill);
                   if constexpr (O == RowOp::softmax)
                     v = A::mul(p, A::sub(A::sub(v, hi), lo));
                   else
                     v = A::fnma(exponential<A>(p), hi, v);
                   if constexpr (Divides) v = A::div(v, divisor);
                   return A::select_equal(v, v, v, nan);
                 });
    sink.done(start, count);
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

  // emit(block, sum) for a range of blocks.
  template <RowOp O, class Emit>
  static void sum_blocks(const BackwardJob& job, std::int64_t row, std::int64_t first,
                         std::int64_t last, Emit&& emit) {
    auto g = grad(job, row);
    auto y = output(job, row);
    for_each_block<A>(job.rows.length, first, last,
                      [&](std::int64_t b, std::int64_t start, int count) {
                        const auto* block = g.block(start, count);
                        const auto* factors = O == RowOp::softmax ? y.block(start, count) : block;
                        emit(b, sum_of_block<A, O == RowOp::softmax>(block, factors, count));
                      });
  }

  template <RowOp O>
  static void write_blocks(const BackwardJob& job, std::int64_t row, const SumPair& sum,
                           std::int64_t first, std::int64_t last) {
    auto g = grad(job, row);
    auto y = output(job, row);
    auto sink = Rows::sink(job.rows, row);
    const T temperature = static_cast<T>(temperature_of(job.rows, row));
    const std::int64_t length = job.rows.length;
    if (temperature == T(1))
      write_gradient<A, O, false>(g, y, sink, length, sum, temperature, first, last);
    else
      write_gradient<A, O, true>(g, y, sink, length, sum, temperature, first, last);
  }

  static void add(SumPair& total, const SumPair& block) {
    const Sum2 sum = two_sum(Sum2{total.hi, total.lo}, Sum2{block.hi, block.lo});
    total = {sum.hi, sum.lo};
  }

  static void rows(const BackwardJob& job) {
    const DefaultFloatEnvironment environment;
    const std::int64_t blocks = blocks_of<A>(job.rows.length);
    with_op(job.rows.op, [&](auto c) {
      for (std::int64_t row = 0; row < job.rows.rows; ++row) {
        SumPair total{};
        sum_blocks<c.op>(job, row, 0, blocks,
                         [&](std::int64_t, const Sum2& sum) { add(total, {sum.hi, sum.lo}); });
        write_blocks<c.op>(job, row, total, 0, blocks);
      }
    });
    if (job.rows.stream) stream_fence();
  }

  static void sum(const BackwardJob& job, std::int64_t first, std::int64_t last, SumPair* sums) {
    const DefaultFloatEnvironment environment;
    with_op(job.rows.op, [&](auto c) {
      sum_blocks<c.op>(job, 0, first, last,
                       [&](std::int64_t b, const Sum2& sum) { sums[b] = {sum.hi, sum.lo}; });
    });
  }

  static SumPair join(const SumPair* sums, std::int64_t blocks) {
    const DefaultFloatEnvironment environment;
    SumPair total{};
    for (std::int64_t b = 0; b < blocks; ++b) add(total, sums[b]);
    return total;
  }

  static void write(const BackwardJob& job, const SumPair& sum, std::int64_t first,
                    std::int64_t last) {
    const DefaultFloatEnvironment environment;
    with_op(job.rows.op, [&](auto c) { write_blocks<c.op>(job, 0, sum, first, last); });
    if (job.rows.stream) stream_fence();
  }

  static constexpr BackwardKernels table() { return {rows, sum, join, write}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
