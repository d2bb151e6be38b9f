// softmax((x + g) / temperature) with standard Gumbel noise g, and where x + g is largest.
//
// Noise costs several times what an exponential does, so each element's is formed once: scores are
// perturbed on their way to the pass that sums and keeps the terms, block by block. Only rows
// outside the domain of the exponential are read, and their noise formed, again.
#pragma once

#include "kernels/gumbel_noise.h"
#include "kernels/rows.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::GumbelSoftmaxJob;
using kernels::GumbelSoftmaxKernels;
using kernels::LargestScore;

// Jobs are GumbelSoftmaxJobs.
template <class Lying>
struct PerturbedRows : Lying {
  using A = typename Lying::A;
  using T = typename A::T;
  static constexpr bool is_memory = false;

  static GatheredSource<A> source(const RowsJob& job, std::int64_t row) {
    return {fetch, &job, row, static_cast<T>(temperature_of(job, row))};
  }
  static GatheredSource<A> gathered(const RowsJob& job, std::int64_t row) {
    return source(job, row);
  }

  // A FetchFn.
  static void fetch(const void* context, std::int64_t row, std::int64_t start, int count,
                    void* buffer) {
    const auto& job = static_cast<const GumbelSoftmaxJob&>(*static_cast<const RowsJob*>(context));
    T* const scores = static_cast<T*>(buffer);
    alignas(64) T noise[A::block];
    GumbelNoise<A>::fill(job.random[row], start, count, noise);
    const auto add_to = [&](const auto* x) {
      map_block<A>(scores, count, false, [&](int i, auto part) __attribute__((always_inline)) {
        if constexpr (Lying::is_memory)
          prefetch(x + i, 2 * A::block * static_cast<std::int64_t>(sizeof *x));
        return A::add(load<A>(x + i, part, A::set1(T(0))), A::load(noise + i));
      });
    };
    if constexpr (Lying::is_memory) {
      add_to(Lying::x(job, row) + start);
    } else {
      job.fetch(job.context, job.first_row + row, start, count, scores);
      add_to(scores);
    }
    if (job.largest != nullptr) find_largest(scores, start, count, job.largest[row]);
  }

 private:
  static bool has_nan(const T* scores, int count) {
    const auto infinite = A::set1(infinity<T>());
    unsigned bits = 0;
    for_each_vector<A>(count, [&](int, int i, auto part) __attribute__((always_inline)) {
      bits |= A::above(load<A>(scores + i, part, infinite), infinite);
    });
    return bits != 0;
  }

  static void find_largest(const T* scores, std::int64_t start, int count, LargestScore& largest) {
    if (start == 0) largest = {-__builtin_inf(), 0};
    if (has_nan(scores, count)) largest.score = __builtin_nan("");
    const T max = block_max<A>(scores, count);
    if (!(static_cast<double>(max) > largest.score)) return;
    largest = {static_cast<double>(max), start + find<A>(scores, count, max)};
  }
};

template <class Lying>
struct GumbelSoftmaxEntries {
  using Rows = PerturbedRows<Lying>;
  using A = typename Rows::A;
  using T = typename A::T;

  static void softmax(const GumbelSoftmaxJob& job) {
    const DefaultFloatEnvironment environment;
    run_all<Rows, RowOp::softmax, RowAlgorithm::online_reload>(job);
  }

  static void largest(const GumbelSoftmaxJob& job) {
    const DefaultFloatEnvironment environment;
    const RowsJob& rows = job;
    for (std::int64_t row = 0; row < job.rows; ++row) {
      for_each_block<A>(job.length, 0, blocks_of<A>(job.length),
                        [&](std::int64_t, std::int64_t start, int count) {
                          alignas(64) T scores[A::block];
                          Rows::fetch(&rows, row, start, count, scores);
                        });
    }
  }

  static void one_hot(const RowsJob& job, const LargestScore* largest) {
    const T nan = static_cast<T>(__builtin_nan(""));
    const std::int64_t blocks = blocks_of<A>(job.length);
    for (std::int64_t row = 0; row < job.rows; ++row) {
      auto sink = Lying::sink(job, row);
      const auto& [score, index] = largest[row];
      if (!(score < __builtin_inf())) {
        fill_blocks<A>(sink, job.length, nan, 0, blocks);
        continue;
      }
      const bool none = score == -__builtin_inf();
      const auto rest = A::set1(none && !job.empty_is_zero ? nan : T(0));
      for_each_block<A>(job.length, 0, blocks, [&](std::int64_t, std::int64_t start, int count) {
        auto* const y = sink.block(start);
        map_block<A>(y, count, false,
                     [&](int, auto) __attribute__((always_inline)) { return rest; });
        if (!none && index >= start && index < start + count)
          A::store(y + (index - start), A::set1(T(1)), 1);
        sink.done(start, count);
      });
    }
  }

  static constexpr GumbelSoftmaxKernels table() { return {softmax, largest, one_hot}; }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
