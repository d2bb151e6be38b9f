// The k largest elements of rows of a single block in memory, several rows at a time, pass by pass:
// the passes of different rows are independent, so that the latency of one row hides behind others'
// work.
#pragma once

#include "kernels/topk_row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class Rows, Sums S>
struct ShortTopk {
  using A = typename Rows::A;
  using T = typename A::T;
  static constexpr int most_rows = 16;
  static constexpr int most_elements = 4 * A::block;

  static bool takes(const TopkJob& job) { return job.rows.length <= A::block && job.k <= A::lanes; }

  explicit ShortTopk(const TopkJob& job_)
      : job(job_), length(static_cast<int>(job_.rows.length)), k(static_cast<int>(job_.k)) {
    const int fitting = most_elements / length;
    batch = fitting < most_rows ? fitting : most_rows;
    constexpr int few = A::lanes / 4;
    kept_lanes = few >= k + k / 3 ? few : A::lanes;
  }

  // The number of rows done from `first` on: all, or those ahead of one that is not for this path.
  std::int64_t run(std::int64_t first) {
    const std::int64_t begin = first;
    while (first < job.rows.rows) {
      const std::int64_t left = job.rows.rows - first;
      const int rows = left < batch ? static_cast<int>(left) : batch;
      const int done = run_batch(first, rows);
      first += done;
      if (done < rows) break;
    }
    return first - begin;
  }

  const TopkJob& job;
  int length;
  int k;
  int batch;
  int kept_lanes;
  alignas(64) T lane_max[most_rows][A::lanes + A::width];
  T values[most_elements + A::width];
  int positions[most_elements];  // in the row
  bool regular[most_rows];
  RowState state[most_rows];
  T logsumexp[most_rows];
  int taken[most_rows + 1];  // where the candidates of each row begin

  int run_batch(std::int64_t first, int rows) {
    T max[most_rows];
    for (int r = 0; r < rows; ++r) {
      max[r] = see_block<A, S == Sums::none>(Rows::x(job.rows, first + r), length, kept_lanes,
                                             lane_max[r]);
      regular[r] = max[r] == max[r];
    }
    if constexpr (S != Sums::none) {
      for (int r = 0; r < rows; ++r) regular[r] = sum_row(first + r, r, max[r]);
    }
    T bound[most_rows];
    for (int r = 0; r < rows; ++r)
      bound[r] =
          next_below(kept_lanes < k ? -infinity<T>() : kth_of_few<A>(lane_max[r], kept_lanes, k));
    taken[0] = 0;
    for (int r = 0; r < rows; ++r)
      taken[r + 1] = take(Rows::x(job.rows, first + r), bound[r], taken[r]);
    int done = 0;
    for (; done < rows; ++done) {
      const int count = taken[done + 1] - taken[done];
      if (count > kSortedByCounting) break;
      if (!regular[done]) continue;
      const std::int64_t at = (first + done) * k;
      // The next row's candidates are sorted later: the register after these is put back.
      T* const candidates = values + taken[done];
      const auto next = A::load(candidates + count);
      sort_by_counting<A>(candidates, positions + taken[done], count, k,
                          static_cast<T*>(job.values) + at, job.indices + at);
      A::store(candidates + count, next);
    }
    for (int r = 0; r < done; ++r) {
      job.regular[first + r] = kIrregular;
      if (regular[r]) put_outcome<A>(job, first + r, state[r], logsumexp[r]);
    }
    return done;
  }

  // As observe() does.
  bool sum_row(std::int64_t row, int r, T max) {
    const auto* x = Rows::x(job.rows, row);
    const T exponent = ExtExp<A>::exponent(max);
    if (!(exponent <= static_cast<T>(kMaxExponent))) return false;
    BlockSum out{};
    out.exponent = static_cast<std::int32_t>(exponent);
    if constexpr (S == Sums::rest) sum_rest<A>(out, x, length, max, exponent);
    const Sum2 sum = block_sum<A>(x, length, exponent);
    out.hi = sum.hi;
    out.lo = sum.lo;
    RowTotal<S == Sums::rest> total;
    total.join(out);
    return normalize<A>(job, total, state[r], logsumexp[r]);
  }

  // Appends what exceeds the bound to the candidates, of which there are `count`.
  template <class In>
  [[gnu::always_inline]] int take(const In* x, T bound, int count) {
    const int begin = count;
    const auto least = A::set1(bound);
    for (int start = 0; start < length; start += A::lanes) {
      std::uint64_t above = 0;
      if (length - start >= A::lanes) {
        FASTSOFTMAX_UNROLL
        for (int v = 0; v < Lanes<A>::count; ++v) {
          const std::uint64_t bits = A::above(A::load(x + start + v * A::width), least);
          above |= bits << (v * A::width);
        }
      } else {
        for (int i = start; i < length; i += A::width) {
          const Part part{length - i < A::width ? length - i : A::width};
          const std::uint64_t bits =
              A::above(A::load(x + i, part.n, A::set1(T(0))), least) & in_use(part);
          above |= bits << (i - start);
        }
      }
      for (; above != 0; above &= above - 1) positions[count++] = start + __builtin_ctzll(above);
    }
    for (int j = begin; j < count; ++j)
      values[j] = A::first(A::load(x + positions[j], 1, A::set1(T(0))));
    return count;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
