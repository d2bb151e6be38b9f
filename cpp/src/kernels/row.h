// One row: the passes that the algorithms are made of. Each pass works on a range of blocks,
// so that one thread may run all of them or several threads may share the row.
#pragma once

#include "kernels/log1p.h"
#include "kernels/normalizer.h"
#include "kernels/several.h"
#include "kernels/source.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BlockSum;
using kernels::RowAlgorithm;
using kernels::RowOp;
using kernels::RowScan;
using kernels::RowState;

// A row whose exponents span no more than this has the same terms under its own exponent as under
// those of its blocks.
template <class A>
constexpr double kNarrow = sizeof(typename A::T) == sizeof(float) ? 140.0 : 900.0;

// Stands for the exponent of a block above the domain of the extended exponential.
constexpr std::int32_t kOutOfDomain = INT32_MAX;

// Whether the exponentials of a row with this maximum can be summed as they are.
template <class A>
FASTSOFTMAX_HD inline bool in_domain(double max) {
  const double exponent = static_cast<double>(ExtExp<A>::exponent(static_cast<typename A::T>(max)));
  return exponent <= kMaxExponent && exponent >= -kMaxExponent;
}

// Joins block sums in order. Ops that take a logarithm (Log) keep the row's first maximum out of
// the sum.
template <bool Log>
struct RowTotal {
  ExtSum all;
  ExtSum rest;
  double max = -__builtin_inf();
  bool out_of_domain = false;

  // What joining its only block makes of a row.
  FASTSOFTMAX_HD [[gnu::always_inline]] static RowTotal of(const BlockSum& block) {
    const bool there = block.exponent != kOutOfDomain;
    RowTotal total;
    total.out_of_domain = !there;
    total.all = {there ? block.hi : 0.0, there ? block.lo : 0.0, block.exponent};
    if constexpr (Log) {
      total.max = there ? block.max : total.max;
      total.rest = {there ? block.rest_hi : 0.0, there ? block.rest_lo : 0.0, block.exponent};
    }
    return total;
  }

  FASTSOFTMAX_HD [[gnu::always_inline]] void join(const BlockSum& block) {
    if (block.exponent == kOutOfDomain) {
      out_of_domain = true;
      return;
    }
    if constexpr (Log) {
      if (block.has_rest && block.max > max) {
        max = block.max;
        rest = all;
        rest.join(block.rest_hi, block.rest_lo, block.exponent);
      } else {
        rest.join(block.hi, block.lo, block.exponent);
      }
    }
    all.join(block.hi, block.lo, block.exponent);
  }
};

// Where a summing pass leaves the sums of its blocks: joined at once, or in an array for later.
template <bool Log>
struct BlockSums {
  RowTotal<Log>* total;
  BlockSum* array;
  bool in_parts = false;  // other blocks of the row come in other calls

  [[gnu::always_inline]] void operator()(std::int64_t block, const BlockSum& sum) const {
    if (total != nullptr)
      total->join(sum);
    else
      array[block] = sum;
  }
};

template <class A>
FASTSOFTMAX_HD constexpr std::int64_t blocks_of(std::int64_t length) {
  return (length + A::block - 1) / A::block;
}

// body(block, start, count) for the blocks [first, last) of a row.
template <class A, class Body>
[[gnu::always_inline]] inline void for_each_block(std::int64_t length, std::int64_t first,
                                                  std::int64_t last, Body&& body) {
  for (std::int64_t b = first; b < last; ++b) {
    const std::int64_t start = b * A::block;
    const std::int64_t left = length - start;
    body(b, start, left < A::block ? static_cast<int>(left) : A::block);
  }
}

// Pass 1 of the three-pass algorithms. The minimum is there in rows of more than one block.
template <class A, class Source>
[[gnu::noinline]] RowScan scan_blocks(Source& source, std::int64_t length, std::int64_t first,
                                      std::int64_t last) {
  using T = typename A::T;
  T max = -infinity<T>();
  T min = infinity<T>();
  std::int64_t first_block = first;
  for_each_block<A>(length, first, last, [&](std::int64_t b, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    Range<T> range{infinity<T>(), T(0)};
    if (length > A::block)
      range = block_range<A>(x, count);
    else
      range.max = block_max<A>(x, count);
    if (range.max > max) {
      max = range.max;
      first_block = b;
    }
    if (range.min < min) min = range.min;
  });
  return {static_cast<double>(max), static_cast<double>(min), first_block};
}

// Sum of a block without its first maximum.
template <class A, class In>
[[gnu::noinline]] void sum_rest(BlockSum& out, const In* x, int count, typename A::T max,
                                typename A::T exponent) {
  const Sum2 rest =
      block_sum<A, Also::leave_out>(x, count, exponent, nullptr, 0, find<A>(x, count, max));
  out.rest_hi = rest.hi;
  out.rest_lo = rest.lo;
  out.max = static_cast<double>(max);
  out.has_rest = true;
}

// Pass 2 of the three-pass algorithms. With `stored`, of the one that reloads: it keeps the terms
// there, or x - max where the op takes a logarithm. `narrow` rows are summed under the row's
// exponent, others under each block's, so that what counts as zero does not depend on the
// algorithm.
template <class A, bool Log, class Source>
[[gnu::noinline]] void sum_three_pass(Source& source, std::int64_t length, const RowScan& scan,
                                      typename A::T* stored, std::int64_t first, std::int64_t last,
                                      const BlockSums<Log>& emit) {
  using T = typename A::T;
  using E = ExtExp<A>;
  const T row_exponent = E::exponent(static_cast<T>(scan.max));
  const bool narrow =
      length <= A::block || !(static_cast<double>(row_exponent) -
                                  static_cast<double>(E::exponent(static_cast<T>(scan.min))) >
                              kNarrow<A>);
  for_each_block<A>(length, first, last, [&](std::int64_t b, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    T exponent = narrow ? row_exponent : E::exponent(block_max<A>(x, count));
    if (exponent != exponent) exponent = row_exponent;  // the sum will be NaN under any
    BlockSum out{};
    out.exponent = static_cast<std::int32_t>(exponent);
    if (Log && b == scan.first_block) {
      sum_rest<A>(out, x, count, static_cast<T>(scan.max), exponent);
    } else {
      Sum2 sum;
      if (Log || stored == nullptr)
        sum = block_sum<A>(x, count, exponent);
      else if (exponent == row_exponent)
        sum = block_sum<A, Also::keep>(x, count, exponent, stored + start);
      else
        sum = block_sum<A, Also::keep_rescaled>(x, count, exponent, stored + start, row_exponent);
      out.hi = sum.hi;
      out.lo = sum.lo;
    }
    emit(b, out);
    if (Log && stored != nullptr) {
      const auto largest = A::set1(static_cast<T>(scan.max));
      map_block<A>(stored + start, count, false,
                   [&](int i, auto part) __attribute__((always_inline)) {
                     return A::sub(load<A>(x + i, part, largest), largest);
                   });
    }
  });
}

// Where terms are stored, each block's under its own exponent, which is in `exponents` unless there
// is but one.
template <class T>
struct StoredBlocks {
  T* terms = nullptr;
  T* exponents = nullptr;
};

// The only summing pass of the online and the two-pass algorithm.
template <class A, bool Log, RowAlgorithm G, class Source>
[[gnu::noinline]] void sum_one_pass(Source& source, std::int64_t length, std::int64_t first,
                                    std::int64_t last, const BlockSums<Log>& emit,
                                    const StoredBlocks<typename A::T>& stored) {
  using T = typename A::T;
  using E = ExtExp<A>;
  T max = emit.total == nullptr ? -infinity<T>() : static_cast<T>(emit.total->max);
  for_each_block<A>(length, first, last, [&](std::int64_t b, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    BlockSum out{};
    T exponent;
    T block_largest = -infinity<T>();
    bool summed = false;
    if constexpr (G == RowAlgorithm::two_pass) {
      const TwoPassSum<A> s = block_sum_two_pass<A>(x, count);
      exponent = s.exponent;
      summed = !s.wide;
      out.hi = s.sum.hi;
      out.lo = s.sum.lo;
      if constexpr (Log) block_largest = block_max<A>(x, count);
    } else {
      block_largest = block_max<A>(x, count);
      exponent = E::exponent(block_largest);
    }
    if (!(static_cast<double>(exponent) <= kMaxExponent)) {
      out.exponent = kOutOfDomain;
      emit(b, out);
      return;
    }
    out.exponent = static_cast<std::int32_t>(exponent);
    if (Log && block_largest > max) {
      max = block_largest;
      sum_rest<A>(out, x, count, max, exponent);
    }
    if (!summed && (!Log || length > A::block || emit.in_parts)) {
      Sum2 sum;
      if constexpr (G == RowAlgorithm::online_reload && !Log) {
        if (stored.exponents != nullptr) stored.exponents[b] = exponent;
        sum = block_sum<A, Also::keep>(x, count, exponent, stored.terms + start);
      } else {
        sum = block_sum<A>(x, count, exponent);
      }
      out.hi = sum.hi;
      out.lo = sum.lo;
    }
    emit(b, out);
  });
}

// exponent and shift such that term * inverse * 2^shift is the softmax, for terms under exponent.
template <class A>
FASTSOFTMAX_HD inline RowState normalizer(const ExtSum& sum) {
  const auto normal = normalizer_of<typename A::T>(sum.hi, sum.lo);
  RowState state{};
  state.kind = RowState::regular;
  state.inverse_hi = static_cast<double>(normal.inverse_hi);
  state.inverse_lo = static_cast<double>(normal.inverse_lo);
  state.exponent = sum.exponent;
  state.shift = -static_cast<int>(normal.q);
  return state;
}

// log of the sum relative to e^max, from the sum of all other elements, hi + lo under `exponent`; 0
// where it would be subnormal in T. For N rows; of a single one arrays hold A::width.
template <class A, int N = A::width>
FASTSOFTMAX_HD inline void logs_of_sums(const double* hi, const double* lo,
                                        const typename A::T* exponent, const typename A::T* max,
                                        double* log_sum) {
  using T = typename A::T;
  constexpr int at_once = N % (4 * F64::width) == 0 ? 4 : N % (2 * F64::width) == 0 ? 2 : 1;
  using D = Several<F64, at_once>;
  constexpr double least =
      sizeof(T) == sizeof(float) ? 0x1.fffffffffffffp-127 : 0x0.fffffffffffffp-1022;
  constexpr int size = N < A::width ? A::width : N;
  T n[size];
  T m[size];
  for (int i = 0; i < N; i += A::width) {
    const auto largest = ExtExp<A>::pair(ExtExp<A>::clamp(A::load(max + i)));
    A::store(n + i, A::sub(A::load(exponent + i), largest.n));
    A::store(m + i, largest.m);
  }
  double down[size];
  double mantissa[size];
  for (int i = 0; i < size; ++i) {
    down[i] = static_cast<double>(n[i]) - kSumBias;
    mantissa[i] = static_cast<double>(m[i]);
  }
  const auto zero = D::set1(0.0);
  const auto one = D::set1(1.0);
  for (int i = 0; i < N; i += D::width) {
    const auto e = D::load(down + i);
    const auto in_range = D::select_above(e, D::set1(-1023.0), zero);
    const auto scale = D::select_equal(in_range, zero, zero, D::scale_down(one, e));
    const auto sum = D::add(D::load(hi + i), D::load(lo + i));
    const auto log = log1p_nonnegative<D>(D::div(D::mul(sum, scale), D::load(mantissa + i)));
    D::store(log_sum + i, D::select_above(log, D::set1(least), zero));
  }
}

// Those of rows that sum_rest has left its maxima out of.
template <class A>
FASTSOFTMAX_HD inline void take_logs(const RowTotal<true>* totals, RowState* states, int rows) {
  using T = typename A::T;
  for (int first = 0; first < rows; first += A::width) {
    double hi[A::width] = {};
    double lo[A::width] = {};
    double log_sum[A::width];
    T exponent[A::width] = {};
    T max[A::width] = {};
    const int count = rows - first < A::width ? rows - first : A::width;
    for (int r = 0; r < count; ++r) {
      const RowTotal<true>& total = totals[first + r];
      hi[r] = total.rest.hi;
      lo[r] = total.rest.lo;
      exponent[r] = static_cast<T>(total.rest.exponent);
      max[r] = static_cast<T>(total.max);
    }
    if (count == 1)
      logs_of_sums<A, 1>(hi, lo, exponent, max, log_sum);
    else
      logs_of_sums<A>(hi, lo, exponent, max, log_sum);
    for (int r = 0; r < count; ++r) {
      states[first + r].max = totals[first + r].max;
      states[first + r].log_sum = log_sum[r];
    }
  }
}

template <class A, bool Log>
FASTSOFTMAX_HD inline void finish_rows(const RowTotal<Log>* totals, RowState* states, int rows) {
  for (int r = 0; r < rows; ++r) {
    const ExtSum& sum = Log ? totals[r].rest : totals[r].all;
    states[r] = {};
    if (totals[r].out_of_domain || sum.exponent < -static_cast<std::int32_t>(kMaxExponent))
      states[r].kind = RowState::exceptional;
    else if (sum.hi != sum.hi)
      states[r].kind = RowState::all_nan;
    else if constexpr (!Log)
      states[r] = normalizer<A>(sum);
  }
  if constexpr (Log) take_logs<A>(totals, states, rows);
}

template <class A, bool Log>
FASTSOFTMAX_HD inline RowState finish_row(const RowTotal<Log>& total) {
  RowState state;
  finish_rows<A, Log>(&total, &state, 1);
  return state;
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
