// Sampling from rows: each is read once as softmax_topk reads it (topk.h), and the filters choose
// from what that read has left. An unfiltered draw looks at one more block.
//
// A filtered row becomes a list of the scores that remain, in order; what is drawn from it is found
// again in the row by its value, as the first, second, ... of equal ones.
#pragma once

#include "kernels/filters.h"
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
        for (; same != 0 && ahead > 0; same &= same - 1) --ahead;
        if (same != 0) found = start + i + __builtin_ctz(same);
      }
    });
  }
  return found;
}

// A draw from what remains of a source. Overwrites sums.
template <class A, class Source>
[[gnu::noinline]] Drawn<typename A::T> draw_remaining(Source& source, std::int64_t length,
                                                      const typename A::T* block_max,
                                                      const Remaining<A>& remaining,
                                                      typename A::T* list, BlockSum* sums,
                                                      const double* uniform) {
  const std::int64_t count = gather<A>(source, length, block_max, remaining, list);
  DirectSource<typename A::T> from{list};
  const std::int64_t blocks = blocks_of<A>(count);
  for_each_block<A>(count, 0, blocks, [&](std::int64_t b, std::int64_t start, int size) {
    sum_block<A>(sums[b], list + start, size,
                 fastsoftmax::FASTSOFTMAX_ISA::block_max<A>(list + start, size));
  });
  Drawn<typename A::T> drawn = draw<A>(from, count, sums, uniform);
  const std::int64_t ahead = count_equal<A>(list, drawn.index, drawn.score);
  drawn.index = find_equal<A>(source, length, block_max, drawn.score, ahead);
  return drawn;
}

template <class Rows>
struct SampleEntries {
  using A = typename Rows::A;
  using T = typename A::T;

  static std::size_t workspace_bytes(std::int64_t length, std::int64_t k,
                                     std::int64_t list_length) {
    return SampleMemory<A>(nullptr, length, k, list_length).bytes;
  }

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
    const std::int64_t length = job.rows.length;
    const T* const block_max = m.selection.block_max;
    Remaining<A> remaining;
    const bool is_whole = !(how.max_surprise < __builtin_inf()) && !(how.top_n_sigma > 0.0);
    if (how.max_surprise < __builtin_inf()) {
      constexpr double ln2 = 0x1.62e42fefa39efp-1;
      remaining.shorten_to(log.max + log.log_sum - how.max_surprise * ln2, max);
    }
    if (how.top_n_sigma > 0.0) {
      const double distance = how.top_n_sigma * deviation<A>(source, length, max);
      remaining.shorten_to(static_cast<double>(max) - distance, max);
    }
    if (how.top_k == 0) {
      const double mass = is_whole ? BlockMasses(job.sums, m.selection.blocks).total : 0.0;
      apply_filters<A>(how, source, length, block_max, max, mass, m.list, m.spare, remaining);
      return draw_remaining<A>(source, length, block_max, remaining, m.list, job.sums, how.uniform);
    }
    select_largest<A>(source, length, m.selection, m.values, m.indices);
    std::int64_t count = how.top_k;
    while (m.values[count - 1] == -infinity<T>()) --count;
    DirectSource<T> largest{m.values};
    apply_filters<A>(how, largest, count, nullptr, max, 0.0, m.list, m.spare, remaining);
    Drawn<T> drawn =
        draw_remaining<A>(largest, count, nullptr, remaining, m.list, job.sums, how.uniform);
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
    const Drawn<T> drawn = is_filtered(how)
                               ? draw_filtered(job, how, source, m, max, log)
                               : draw<A>(source, job.rows.length, job.sums, how.uniform);
    job.indices[row] = drawn.index;
    if (job.logprobs != nullptr) {
      const T below = drawn.score - static_cast<T>(log.max);
      static_cast<T*>(job.logprobs)[row] = below - static_cast<T>(log.log_sum);
    }
    return true;
  }

  static bool is_filtered(const SampleRow& how) {
    return how.top_k > 0 || how.top_p < 1.0 || how.min_p > 0.0 || how.typical_p < 1.0 ||
           how.top_n_sigma > 0.0 || how.max_surprise < __builtin_inf();
  }

  // As exceptional_row() does: finite scores that must be shifted; the others are left to the
  // caller.
  [[gnu::noinline]] static void exceptional(const SampleJob& job, std::int64_t row) {
    job.indices[row] = kIrregular;
    with_shifted<Rows>(job.rows, row, [&](auto& source) {
      observe_blocks(job, row, source, 0, blocks_of<A>(job.rows.length));
      draw_row(job, row, source);
    });
  }

  static void rows(const SampleJob& job) {
    const DefaultFloatEnvironment environment;
    const std::int64_t blocks = blocks_of<A>(job.rows.length);
    for (std::int64_t row = 0; row < job.rows.rows; ++row) {
      const bool done = with_scores<Rows>(job.rows, row, [&](auto& source) {
        observe_blocks(job, row, source, 0, blocks);
        return draw_row(job, row, source);
      });
      if (!done) exceptional(job, row);
    }
  }

  static void observe_range(const SampleJob& job, std::int64_t first, std::int64_t last) {
    const DefaultFloatEnvironment environment;
    with_scores<Rows>(job.rows, 0,
                      [&](auto& source) { observe_blocks(job, 0, source, first, last); });
  }

  static void finish(const SampleJob& job) {
    const DefaultFloatEnvironment environment;
    if (!with_scores<Rows>(job.rows, 0, [&](auto& source) { return draw_row(job, 0, source); }))
      exceptional(job, 0);
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
