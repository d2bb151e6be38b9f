// Softmax and the k largest elements in one read of a row: each block is summed and leaves its
// maxima (select.h); the k scores found go through the last pass of softmax as any others would,
// so that their probabilities have its bits.
#pragma once

#include "kernels/rows.h"
#include "kernels/topk_short.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::TopkKernels;

// The one read of the blocks [first, last). A block that no sum or no order can be told of leaves
// NaN for its maximum.
template <class A, Sums S, class Source>
[[gnu::noinline]] void observe(Source& source, std::int64_t length, std::int64_t first,
                               std::int64_t last, const SelectionMemory<A>& m,
                               const BlockSums<S == Sums::rest>& emit) {
  using T = typename A::T;
  T max = -infinity<T>();
  for_each_block<A>(length, first, last, [&](std::int64_t b, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    T& block_max = m.block_max[b];
    block_max =
        see_block<A, S == Sums::none>(x, count, m.kept_lanes, m.lane_max + b * m.kept_lanes);
    if constexpr (S != Sums::none) {
      const T exponent = ExtExp<A>::exponent(block_max);
      BlockSum out{};
      if (exponent <= static_cast<T>(kMaxExponent)) {
        out.exponent = static_cast<std::int32_t>(exponent);
        if (S == Sums::rest && block_max > max) {
          max = block_max;
          sum_rest<A>(out, x, count, max, exponent);
        }
        const Sum2 sum = block_sum<A>(x, count, exponent);
        out.hi = sum.hi;
        out.lo = sum.lo;
        if (sum.hi != sum.hi) block_max = static_cast<T>(sum.hi);
      } else {
        out.exponent = kOutOfDomain;
        block_max = static_cast<T>(__builtin_nan(""));
      }
      emit(b, out);
    }
  });
}

template <class T>
inline bool any_nan(const T* v, std::int64_t count) {
  T nan = 0;
  for (std::int64_t i = 0; i < count; ++i) nan = v[i] == v[i] ? nan : v[i];
  return nan != nan;
}

template <class Rows>
struct TopkEntries {
  using A = typename Rows::A;
  using T = typename A::T;

  static std::size_t workspace_bytes(std::int64_t length, std::int64_t k) {
    return SelectionMemory<A>(nullptr, length, k).bytes;
  }

  template <Sums S, class Source>
  static void finish(const TopkJob& job, std::int64_t row, Source& source,
                     const SelectionMemory<A>& m, const RowTotal<S == Sums::rest>& total) {
    T* const values = static_cast<T*>(job.values) + row * job.k;
    RowState state{};
    T logsumexp = 0;
    job.regular[row] = kIrregular;
    if (any_nan(m.block_max, m.blocks)) return;
    if constexpr (S != Sums::none) {
      if (!normalize<A>(job, total, state, logsumexp)) return;
    }
    select_largest<A>(source, job.rows.length, m, values, job.indices + row * job.k);
    put_outcome<A>(job, row, state, logsumexp);
  }

  static void rows(const TopkJob& job) {
    const DefaultFloatEnvironment environment;
    const SelectionMemory<A> memory(job.workspace, job.rows.length, job.k);
    with_sums(job, [&](auto tag) {
      constexpr Sums s = tag.sums;
      for (std::int64_t row = 0; row < job.rows.rows;) {
        if constexpr (Rows::is_memory) {
          if (ShortTopk<Rows, s>::takes(job)) {
            row += ShortTopk<Rows, s>(job).run(row);
            if (row == job.rows.rows) return;
          }
        }
        auto source = Rows::source(job.rows, row);
        RowTotal<s == Sums::rest> total;
        observe<A, s>(source, job.rows.length, 0, memory.blocks, memory, {&total, nullptr});
        finish<s>(job, row, source, memory, total);
        ++row;
      }
    });
  }

  static void observe_range(const TopkJob& job, std::int64_t first, std::int64_t last) {
    const DefaultFloatEnvironment environment;
    const SelectionMemory<A> memory(job.workspace, job.rows.length, job.k);
    with_sums(job, [&](auto tag) {
      auto source = Rows::source(job.rows, 0);
      observe<A, tag.sums>(source, job.rows.length, first, last, memory, {nullptr, job.sums});
    });
  }

  static void select(const TopkJob& job) {
    const DefaultFloatEnvironment environment;
    const SelectionMemory<A> memory(job.workspace, job.rows.length, job.k);
    with_sums(job, [&](auto tag) {
      constexpr Sums s = tag.sums;
      RowTotal<s == Sums::rest> total;
      if constexpr (s != Sums::none) {
        for (std::int64_t b = 0; b < memory.blocks; ++b) total.join(job.sums[b]);
      }
      auto source = Rows::source(job.rows, 0);
      finish<s>(job, 0, source, memory, total);
    });
  }

  static constexpr TopkKernels table() { return {workspace_bytes, rows, observe_range, select}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
