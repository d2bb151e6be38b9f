// The entries of the kernel table for rows: code compiled for each operation and algorithm, chosen
// once per job.
#pragma once

#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::RowKernels;

template <RowOp O, RowAlgorithm G>
struct Case {
  static constexpr RowOp op = O;
  static constexpr RowAlgorithm algorithm = G;
};

// f(Case<op, algorithm>) for the job's.
template <RowOp O, class F>
inline void with_algorithm(RowAlgorithm algorithm, F&& f) {
  switch (algorithm) {
    case RowAlgorithm::three_pass_reload:
      return f(Case<O, RowAlgorithm::three_pass_reload>{});
    case RowAlgorithm::three_pass_recompute:
      return f(Case<O, RowAlgorithm::three_pass_recompute>{});
    case RowAlgorithm::two_pass:
      return f(Case<O, RowAlgorithm::two_pass>{});
    case RowAlgorithm::online:
      return f(Case<O, RowAlgorithm::online>{});
    case RowAlgorithm::online_reload:  // the logarithm needs no stored exponentials
      if constexpr (O == RowOp::softmax) return f(Case<O, RowAlgorithm::online_reload>{});
      return f(Case<O, RowAlgorithm::online>{});
  }
}

template <class F>
inline void with_case(RowOp op, RowAlgorithm algorithm, F&& f) {
  switch (op) {
    case RowOp::softmax:
      return with_algorithm<RowOp::softmax>(algorithm, f);
    case RowOp::log_softmax:
      return with_algorithm<RowOp::log_softmax>(algorithm, f);
    case RowOp::logsumexp:
      return with_algorithm<RowOp::logsumexp>(algorithm, f);
  }
}

template <class Rows>
struct RowEntries {
  using A = typename Rows::A;
  using T = typename A::T;

  static void rows(const RowsJob& job) {
    const DefaultFloatEnvironment environment;
    with_case(job.op, job.algorithm, [&](auto c) {
      if (job.length == 0) {
        for (std::int64_t row = 0; row < job.rows; ++row)
          write_constant<Rows, c.op>(job, row, -infinity<T>(), 0, 0);
        return;
      }
      run_all<Rows, c.op, c.algorithm>(job);
    });
    if (job.stream) stream_fence();
  }

  static RowScan scan(const RowsJob& job, std::int64_t first, std::int64_t last) {
    const DefaultFloatEnvironment environment;
    auto source = Rows::source(job, 0);
    return scan_blocks<A>(source, job.length, first, last);
  }

  static void accumulate(const RowsJob& job, const RowScan& scan, std::int64_t first,
                         std::int64_t last, BlockSum* sums) {
    const DefaultFloatEnvironment environment;
    auto source = Rows::source(job, 0);
    with_case(job.op, job.algorithm, [&](auto c) {
      const BlockSums<takes_log<c.op>> keep{nullptr, sums};
      constexpr RowAlgorithm g = c.algorithm;
      if constexpr (one_pass<g>) {
        StoredBlocks<T> stored;
        if (g == RowAlgorithm::online_reload)
          stored = {Rows::stored(job, 0), block_exponents<A>(job)};
        sum_one_pass<A, takes_log<c.op>, g>(source, job.length, first, last, keep, stored);
      } else if (!in_domain<A>(scan.max)) {
        for (std::int64_t b = first; b < last; ++b) sums[b].exponent = kOutOfDomain;
      } else {
        const bool reload = g == RowAlgorithm::three_pass_reload && c.op != RowOp::logsumexp;
        sum_three_pass<A, takes_log<c.op>>(
            source, job.length, scan, reload ? Rows::stored(job, 0) : nullptr, first, last, keep);
      }
    });
  }

  static RowState finish(const RowsJob& job, const BlockSum* sums, std::int64_t blocks) {
    const DefaultFloatEnvironment environment;
    RowState state{};
    with_case(job.op, RowAlgorithm::online, [&](auto c) {
      RowTotal<takes_log<c.op>> total;
      for (std::int64_t b = 0; b < blocks; ++b) total.join(sums[b]);
      state = finish_row<A, takes_log<c.op>>(total);
    });
    return state;
  }

  static void write(const RowsJob& job, const RowState& state, std::int64_t first,
                    std::int64_t last) {
    const DefaultFloatEnvironment environment;
    with_case(job.op, job.algorithm, [&](auto c) {
      if (state.kind == RowState::all_nan) {
        write_constant<Rows, c.op>(job, 0, static_cast<T>(__builtin_nan("")), first, last);
        return;
      }
      auto source = Rows::source(job, 0);
      auto sink = Rows::sink(job, 0);
      write_regular<Rows, c.op, c.algorithm>(job, 0, source, sink, state, first, last);
    });
    if (job.stream) stream_fence();
  }

  static constexpr RowKernels table() { return {rows, scan, accumulate, finish, write}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
