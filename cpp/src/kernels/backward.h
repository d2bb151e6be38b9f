// Gradients of runs of rows: sums, then outputs; of rows in memory, behind fetch and store, shared
// by threads, and next to each other along a strided axis.
#pragma once

#include "kernels/backward_columns.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BackwardJob;
using kernels::BackwardKernels;

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

  static void columns(const BackwardJob& job) {
    if constexpr (Rows::is_memory) {
      const DefaultFloatEnvironment environment;
      with_op(job.rows.op, [&](auto c) { BackwardColumns<A, typename Rows::In, c.op>{job}.run(); });
      if (job.rows.stream) stream_fence();
    }
  }

  static constexpr BackwardKernels table() { return {rows, columns, sum, join, write}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
