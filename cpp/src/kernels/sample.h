// Sampling from rows: each is read once as softmax_topk reads it (topk.h), and the filters choose
// from what that read has left. An unfiltered draw looks at one more block.
#pragma once

#include "kernels/remaining.h"
#include "kernels/topk.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::SampleJob;
using kernels::SampleKernels;

template <class A>
struct SampleMemory {
  using T = typename A::T;
  SelectionMemory<A> selection;
  T* values;  // the k largest
  std::int64_t* indices;
  T* list;
  T* spare;
  std::size_t bytes;

  SampleMemory(void* memory, std::int64_t length, std::int64_t k, std::int64_t list_length)
      : selection(memory, length, k) {
    char* const begin = static_cast<char*>(memory);
    char* at = begin + selection.bytes;
    const auto take = [&](std::int64_t count, std::size_t size) {
      constexpr std::size_t line = 64;
      char* const here = at;
      at += (static_cast<std::size_t>(count) * size + line - 1) / line * line;
      return here;
    };
    values = reinterpret_cast<T*>(take(k + A::width, sizeof(T)));
    indices = reinterpret_cast<std::int64_t*>(take(k, sizeof(std::int64_t)));
    list = reinterpret_cast<T*>(take(list_length + A::width, sizeof(T)));
    spare = reinterpret_cast<T*>(take(list_length + A::width, sizeof(T)));
    bytes = static_cast<std::size_t>(at - begin);
  }
};

// What does not depend on how rows lie in memory.
template <class A>
struct RowSampler {
  using T = typename A::T;

  static SampleMemory<A> memory_of(const SampleJob& job, const SampleRow& how) {
    return {job.workspace, job.rows.length, how.top_k > 0 ? how.top_k : 1, job.list_length};
  }

  static bool needs_log(const SampleJob& job, const SampleRow& how) {
    return job.logprobs != nullptr || how.max_surprise < __builtin_inf();
  }

  template <class Source>
  static void observe_blocks(const SampleJob& job, std::int64_t row, Source& source,
                             std::int64_t first, std::int64_t last) {
    const SampleRow& how = job.how[row];
    const SampleMemory<A> m = memory_of(job, how);
    const BlockSums<false> emit{nullptr, job.sums};
    if (how.top_k > 0 && !needs_log(job, how))
      observe<A, Sums::none>(source, job.rows.length, first, last, m.selection, emit);
    else
      observe<A, Sums::all>(source, job.rows.length, first, last, m.selection, emit);
  }

  // The state of log_softmax, with the sum that leaves out the first maximum.
  template <class Source>
  static RowState log_state(const SampleJob& job, Source& source, const T* block_max, T max) {
    RowTotal<true> total;
    const std::int64_t blocks = blocks_of<A>(job.rows.length);
    for (std::int64_t b = 0; b < blocks; ++b) {
      BlockSum sum = job.sums[b];
      if (block_max[b] == max && total.max < static_cast<double>(max)) {
        for_each_block<A>(job.rows.length, b, b + 1, [&](std::int64_t, std::int64_t start, int n) {
          sum_rest<A>(sum, source.block(start, n), n, max, static_cast<T>(sum.exponent));
        });
      }
      total.join(sum);
    }
    return finish_row<A, true>(total);
  }

  template <class Source>
  static Drawn<T> draw_filtered(const SampleJob& job, const SampleRow& how, Source& source,
                                const SampleMemory<A>& m, T max, const RowState& log) {
    T sample[kCounted];
    Filtered<SourceWork<A, Source>> row{{&source, job.rows.length, m.selection.block_max, max,
                                         m.list, m.spare, job.sums, sample, nullptr}};
    if (how.top_k == 0) {
      const BlockMasses masses(job.sums, m.selection.blocks);
      row.work.masses = &masses;
      return row.draw(how, log, masses.total);
    }
    row.apply_to_scores(how, log);
    select_largest<A>(source, job.rows.length, m.selection, m.values, m.indices);
    std::int64_t count = how.top_k;
    while (m.values[count - 1] == -infinity<T>()) --count;
    if (how.typical_p < 1.0) {
      // Elements as near to the mean on both sides of it are taken by index, not by value.
      const T least = m.values[count - 1];
      row.remaining.shorten({least, count_equal<A>(m.values, count, least)});
      row.apply(how, 0.0);
      return row.work.draw_listed(row.remaining, uniforms(how.random, 0));
    }
    DirectSource<T> values{m.values};
    Filtered<SourceWork<A, DirectSource<T>>> largest{
        {&values, count, nullptr, max, m.list, m.spare, job.sums, sample, nullptr}, row.remaining};
    largest.apply(how, 0.0);
    Drawn<T> drawn = largest.work.draw_listed(largest.remaining, uniforms(how.random, 0));
    drawn.index = m.indices[drawn.index];
    return drawn;
  }

  // False where the row is not regular.
  template <class Source>
  static bool draw_row(const SampleJob& job, std::int64_t row, Source& source) {
    const SampleRow& how = job.how[row];
    const SampleMemory<A> m = memory_of(job, how);
    const T* const block_max = m.selection.block_max;
    if (any_nan(block_max, m.selection.blocks)) return false;
    T max = block_max[0];
    for (std::int64_t b = 1; b < m.selection.blocks; ++b)
      max = block_max[b] > max ? block_max[b] : max;
    if (!in_domain<A>(static_cast<double>(max))) return false;
    RowState log{};
    if (needs_log(job, how)) log = log_state(job, source, block_max, max);
    const Drawn<T> drawn = is_filtered(how) ? draw_filtered(job, how, source, m, max, log)
                                            : draw<A>(source, job.rows.length,
                                                      BlockMasses(job.sums, m.selection.blocks),
                                                      uniforms(how.random, 0));
    job.indices[row] = drawn.index;
    if (job.logprobs != nullptr) {
      const T below = drawn.score - static_cast<T>(log.max);
      static_cast<T*>(job.logprobs)[row] = below - static_cast<T>(log.log_sum);
    }
    return true;
  }
};

template <class Rows>
struct SampleEntries {
  using A = typename Rows::A;
  using Sampler = RowSampler<A>;

  static std::size_t workspace_bytes(std::int64_t length, std::int64_t k,
                                     std::int64_t list_length) {
    return SampleMemory<A>(nullptr, length, k, list_length).bytes;
  }

  // As exceptional_row() does: finite scores that must be shifted; the others are left to the
  // caller.
  [[gnu::noinline]] static void exceptional(const SampleJob& job, std::int64_t row) {
    job.indices[row] = kIrregular;
    with_shifted<Rows>(job.rows, row, [&](auto& source) {
      Sampler::observe_blocks(job, row, source, 0, blocks_of<A>(job.rows.length));
      Sampler::draw_row(job, row, source);
    });
  }

  static void rows(const SampleJob& job) {
    const DefaultFloatEnvironment environment;
    const std::int64_t blocks = blocks_of<A>(job.rows.length);
    for (std::int64_t row = 0; row < job.rows.rows; ++row) {
      const bool done = with_scores<Rows>(job.rows, row, [&](auto& source) {
        Sampler::observe_blocks(job, row, source, 0, blocks);
        return Sampler::draw_row(job, row, source);
      });
      if (!done) exceptional(job, row);
    }
  }

  static void observe_range(const SampleJob& job, std::int64_t first, std::int64_t last) {
    const DefaultFloatEnvironment environment;
    with_scores<Rows>(job.rows, 0,
                      [&](auto& source) { Sampler::observe_blocks(job, 0, source, first, last); });
  }

  static void finish(const SampleJob& job) {
    const DefaultFloatEnvironment environment;
    if (!with_scores<Rows>(job.rows, 0,
                           [&](auto& source) { return Sampler::draw_row(job, 0, source); }))
      exceptional(job, 0);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
