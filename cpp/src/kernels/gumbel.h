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
  T* left;       // scores of the blocks that were drawn from, -inf in place of what was taken
  bool* copied;  // of each block: whether they are there
  std::size_t bytes;

  GumbelMemory(void* memory, std::int64_t length)
      : blocks(blocks_of<A>(length)), selection(memory, length, 1) {
    char* const begin = static_cast<char*>(memory);
    left = reinterpret_cast<T*>(begin + selection.bytes);
    const std::size_t scores = static_cast<std::size_t>(blocks) * A::block * sizeof(T);
    copied = reinterpret_cast<bool*>(begin + selection.bytes + scores);
    bytes = selection.bytes + scores + static_cast<std::size_t>(blocks);
  }
};

template <class A>
struct GumbelRow {
  using T = typename A::T;

  // The scores that are left of a block.
  template <class Source>
  static T* what_is_left(const GumbelMemory<A>& m, Source& source, std::int64_t b, int count) {
    T* const left = m.left + b * A::block;
    if (m.copied[b]) return left;
    m.copied[b] = true;
    const auto* x = source.block(b * A::block, count);
    map_block<A>(left, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return load<A>(x + i, part, A::set1(T(0)));
    });
    return left;
  }

  template <class Source>
  static bool draw_row(const GumbelJob& job, std::int64_t row, const GumbelMemory<A>& m,
                       Source& source) {
    if (any_nan(m.selection.block_max, m.blocks)) return false;
    T max = -infinity<T>();
    for (std::int64_t b = 0; b < m.blocks; ++b)
      max = m.selection.block_max[b] > max ? m.selection.block_max[b] : max;
    if (!in_domain<A>(static_cast<double>(max))) return false;
    for (std::int64_t b = 0; b < m.blocks; ++b) m.copied[b] = false;
    T* const values = static_cast<T*>(job.values) + job.k * row;
    std::int64_t* const indices = job.indices + job.k * row;
    ExtSum time;  // times S_1
    double first_total = 0.0;
    std::int32_t first_exponent = 0;
    std::int64_t j = 0;
    for (; j < job.k; ++j) {
      const BlockMasses masses(job.sums, m.blocks);
      // Below the domain nothing weighs anything.
      if (masses.exponent < -static_cast<std::int32_t>(kMaxExponent)) break;
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
      const std::int64_t rest = job.rows.length - b * A::block;
      const int count = rest < A::block ? static_cast<int>(rest) : A::block;
      T* const left = what_is_left(m, source, b, count);
      const int i = draw_in_block<A>(left, count, job.sums[b], uniform.second);
      indices[j] = b * A::block + i;
      left[i] = -infinity<T>();
      sum_block<A>(job.sums[b], left, count, block_max<A>(left, count));
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

  static std::size_t workspace_bytes(std::int64_t length) {
    return GumbelMemory<A>(nullptr, length).bytes;
  }

  static void rows(const GumbelJob& job) {
    const DefaultFloatEnvironment environment;
    const GumbelMemory<A> m(job.workspace, job.rows.length);
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
