// k elements of a row without replacement, and their perturbed log-probabilities, as if standard
// Gumbel noise had been added to the log-probability of every element and the k largest taken.
//
//   T_1 = E_1 / S_1,  T_j = T_(j-1) + E_j / S_j;   value_j = -log(T_j S_1)
//
// where S_j is the sum of e^z over what is left and the E_j are standard exponential: the first
// arrivals of independent Poisson processes with rates e^z, whose marks are drawn as sample()
// draws. The sum of a block is formed again without what was taken from it, not reduced by
// subtraction, so that what is left beside an element that had all but all of the weight keeps its
// precision.
//
// Sources: Yellott (1977), the Gumbel trick without replacement; Kool et al. (2019), its use.
#pragma once

#include "kernels/sample.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::GumbelJob;

// log of a positive normal number.
inline double log_of(double v) {
  double m;
  double none;
  double q;
  split_one(v, 0.0, m, none, q);
  constexpr double ln2_hi = 0x1.62e42feep-1;
  constexpr double ln2_lo = 0x1.a39ef35793c76p-33;
  const double log = F64::first(log1p_nonnegative<F64>(F64::set1(m - 1.0)));
  return q * ln2_hi + (log + q * ln2_lo);
}

template <class A>
struct GumbelMemory {
  using T = typename A::T;
  std::int64_t blocks;
  SelectionMemory<A> selection;
  std::int64_t* last_taken;    // of each block: which of the k, or -1
  std::int64_t* taken_before;  // of each of the k: the one before it in its block
  T* block;
  std::size_t bytes;

  GumbelMemory(void* memory, std::int64_t length, std::int64_t k)
      : blocks(blocks_of<A>(length)), selection(memory, length, 1) {
    char* const begin = static_cast<char*>(memory);
    last_taken = reinterpret_cast<std::int64_t*>(begin + selection.bytes);
    taken_before = last_taken + blocks;
    const std::size_t counts = static_cast<std::size_t>(blocks + k) * sizeof(std::int64_t);
    const std::size_t at = selection.bytes + (counts + 63) / 64 * 64;
    block = reinterpret_cast<T*>(begin + at);
    bytes = at + A::block * sizeof(T);
  }
};

template <class A>
struct GumbelRow {
  using T = typename A::T;

  // The scores of a block without those that were taken.
  template <class Source>
  static int what_is_left(const GumbelMemory<A>& m, Source& source, std::int64_t length,
                          std::int64_t b, const std::int64_t* indices) {
    int size = 0;
    for_each_block<A>(length, b, b + 1, [&](std::int64_t, std::int64_t start, int count) {
      const auto* x = source.block(start, count);
      map_block<A>(m.block, count, false, [&](int i, auto part) __attribute__((always_inline)) {
        return load<A>(x + i, part, A::set1(T(0)));
      });
      for (std::int64_t j = m.last_taken[b]; j >= 0; j = m.taken_before[j])
        m.block[indices[j] - start] = -infinity<T>();
      size = count;
    });
    return size;
  }

  template <class Source>
  static bool draw_row(const GumbelJob& job, std::int64_t row, const GumbelMemory<A>& m,
                       Source& source) {
    if (any_nan(m.selection.block_max, m.blocks)) return false;
    T max = -infinity<T>();
    for (std::int64_t b = 0; b < m.blocks; ++b)
      max = m.selection.block_max[b] > max ? m.selection.block_max[b] : max;
    if (!in_domain<A>(static_cast<double>(max))) return false;
    for (std::int64_t b = 0; b < m.blocks; ++b) m.last_taken[b] = -1;
    T* const values = static_cast<T*>(job.values) + job.k * row;
    std::int64_t* const indices = job.indices + job.k * row;
    ExtSum time;  // times S_1
    double first_total = 0.0;
    std::int32_t first_exponent = 0;
    std::int64_t j = 0;
    for (; j < job.k; ++j) {
      const BlockMasses masses(job.sums, m.blocks);
      if (!(masses.total > 0.0)) break;
      if (j == 0) {
        first_total = masses.total;
        first_exponent = masses.exponent;
      }
      const auto which = static_cast<std::uint32_t>(2 * j);
      const Uniforms uniform = uniforms(job.random[row], which);
      const double exponential = negative_log(open_uniform(job.random[row], which + 1));
      time.join(exponential * (first_total / masses.total), 0.0, first_exponent - masses.exponent);
      const double log = log_of(time.hi + time.lo) + log_of_power(time.exponent);
      values[j] = static_cast<T>(-log);

      const std::int64_t b = m.blocks == 1 ? 0 : masses.choose(uniform.first);
      const int count = what_is_left(m, source, job.rows.length, b, indices);
      const int i = draw_in_block<A>(m.block, count, job.sums[b], uniform.second);
      indices[j] = b * A::block + i;
      m.taken_before[j] = m.last_taken[b];
      m.last_taken[b] = j;
      m.block[i] = -infinity<T>();
      sum_block<A>(job.sums[b], m.block, count, block_max<A>(m.block, count));
    }
    job.regular[row] = j;
    for (; j < job.k; ++j) values[j] = -infinity<T>();
    return true;
  }

  static double log_of_power(std::int32_t exponent) {
    constexpr double ln2 = 0x1.62e42fefa39efp-1;
    return static_cast<double>(exponent) * ln2;
  }
};

template <class Rows>
struct GumbelEntries {
  using A = typename Rows::A;

  static std::size_t workspace_bytes(std::int64_t length, std::int64_t k) {
    return GumbelMemory<A>(nullptr, length, k).bytes;
  }

  static void rows(const GumbelJob& job) {
    const DefaultFloatEnvironment environment;
    const GumbelMemory<A> m(job.workspace, job.rows.length, job.k);
    for (std::int64_t row = 0; row < job.rows.rows; ++row) {
      const auto run = [&](auto& source) {
        observe<A, Sums::all>(source, job.rows.length, 0, m.blocks, m.selection,
                              BlockSums<false>{nullptr, job.sums});
        return GumbelRow<A>::draw_row(job, row, m, source);
      };
      job.regular[row] = kIrregular;
      if (!with_scores<Rows>(job.rows, row, run)) with_shifted<Rows>(job.rows, row, run);
    }
  }
};

template <class Rows>
struct SampleTable {
  static constexpr SampleKernels table() {
    using S = SampleEntries<Rows>;
    using G = GumbelEntries<Rows>;
    return {S::workspace_bytes, S::rows, S::observe_range, S::finish, G::workspace_bytes, G::rows};
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
