// Gradients of rows that lie next to each other along a strided axis: columns of memory. Registers
// go across the columns, each of which has its own lanes in memory: the order of additions is that
// of contiguous rows, and so are the bits.
#pragma once

#include "kernels/gradient.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::BackwardJob;

// One lane of A::join_lanes columns.
template <class A, bool F32 = sizeof(typename A::T) == sizeof(float)>
struct ColumnLane {
  typename A::Wide sum;

  [[gnu::always_inline]] void clear() {
    const typename A::reg zeros[A::join_lanes / A::width] = {};
    sum = A::widen(zeros);
  }
  template <bool Products, class In, class Count>
  [[gnu::always_inline]] void add(const In* x, const In* y, Count count) {
    if constexpr (Products)
      sum = add_product<A>(sum, x, y, count);
    else
      sum = A::add(load_wide<A>(x, count), sum);
  }
  [[gnu::always_inline]] void join(const ColumnLane& other) { sum = A::add(sum, other.sum); }
  void store(double* hi, double* lo) const {
    A::store(hi, sum);
    for (int c = 0; c < A::join_lanes; ++c) lo[c] = 0.0;
  }
};

template <class A>
struct ColumnLane<A, false> {
  static constexpr int registers = A::join_lanes / A::width;
  typename A::reg sum[registers];
  typename A::reg error[registers];

  [[gnu::always_inline]] void clear() {
    FASTSOFTMAX_UNROLL
    for (int r = 0; r < registers; ++r) sum[r] = error[r] = A::set1(0);
  }
  template <bool Products, class In, class Count>
  [[gnu::always_inline]] void add(const In* x, const In* y, Count count) {
    const WideElements<A> terms(x, count);
    const WideElements<A> factors(Products ? y : x, count);
    FASTSOFTMAX_UNROLL
    for (int r = 0; r < registers; ++r)
      add_carried<A, Products>(sum[r], error[r], terms.r[r], factors.r[r]);
  }
  [[gnu::always_inline]] void join(const ColumnLane& other) {
    FASTSOFTMAX_UNROLL
    for (int r = 0; r < registers; ++r) {
      auto lost = A::set1(0);
      add_carried<A, false>(sum[r], lost, other.sum[r], lost);
      error[r] = A::add(lost, A::add(error[r], other.error[r]));
    }
  }
  void store(double* hi, double* lo) const {
    FASTSOFTMAX_UNROLL
    for (int r = 0; r < registers; ++r) {
      A::store(hi + r * A::width, sum[r]);
      A::store(lo + r * A::width, error[r]);
    }
  }
};

// A job's strides are from element to element of a row; its rows lie next to each other.
template <class A, class In, RowOp O>
struct BackwardColumns {
  using T = typename A::T;
  using Lane = ColumnLane<A>;
  static constexpr bool products = O == RowOp::softmax;
  static constexpr int group = A::join_lanes;
  static constexpr int groups = 4;  // of a tile
  // Lines of rows asked for ahead: the hardware does not follow elements that lie pages apart.
  static constexpr std::int64_t kRowsAhead = 12;

  const BackwardJob& job;

  static const In* at(const void* p, std::int64_t stride, std::int64_t i, std::int64_t column) {
    return reinterpret_cast<const In*>(static_cast<const char*>(p) + i * stride) + column;
  }
  const In* grad(std::int64_t i, std::int64_t column) const {
    return at(job.rows.x, job.rows.x_stride, i, column);
  }
  const In* output(std::int64_t i, std::int64_t column) const {
    return at(job.output, job.output_stride, i, column);
  }
  In* result(std::int64_t i, std::int64_t column) const {
    return reinterpret_cast<In*>(static_cast<char*>(job.rows.y) + i * job.rows.y_stride) + column;
  }

  // The sums of a block of Groups * group columns.
  template <int Groups, class Count>
  void sum_block(std::int64_t column, std::int64_t first, int rows, Count count, double* hi,
                 double* lo) const {
    alignas(64) Lane lanes[A::lanes][Groups];
    int used = rows < A::lanes ? rows : A::lanes;
    const auto take = [&](int i, Lane* lane, bool is_first) __attribute__((always_inline)) {
      const In* x = grad(first + i, column);
      const In* y = output(first + i, column);
      prefetch(x, kRowsAhead * job.rows.x_stride);
      if constexpr (products) prefetch(y, kRowsAhead * job.output_stride);
      FASTSOFTMAX_UNROLL
      for (int g = 0; g < Groups; ++g) {
        Lane sum;
        if (is_first)
          sum.clear();
        else
          sum = lane[g];
        sum.template add<products>(x + g * group, y + g * group, count);
        lane[g] = sum;
      }
    };
    for (int i = 0; i < used; ++i) take(i, lanes[i], true);
    for (int i = used; i < rows; ++i) take(i, lanes[i % A::lanes], false);
    for (int h = A::lanes / 2; h > 0; h /= 2) {
      for (int l = 0; l + h < used; ++l) {
        FASTSOFTMAX_UNROLL
        for (int g = 0; g < Groups; ++g) lanes[l][g].join(lanes[l + h][g]);
      }
      if (used > h) used = h;
    }
    for (int g = 0; g < Groups; ++g) lanes[0][g].store(hi + g * group, lo + g * group);
  }

  template <int Groups, class Count>
  void run_tile(std::int64_t column, int columns, Count count) const {
    SumPair sums[Groups * group];
    const std::int64_t length = job.rows.length;
    for (std::int64_t first = 0; first < length; first += A::block) {
      const std::int64_t left = length - first;
      double hi[Groups * group];
      double lo[Groups * group];
      sum_block<Groups>(column, first, left < A::block ? static_cast<int>(left) : A::block, count,
                        hi, lo);
      for (int c = 0; c < Groups * group; ++c) {
        const SumPair of_block{hi[c], lo[c]};
        if (first == 0)
          sums[c] = of_block;
        else
          add(sums[c], of_block);
      }
    }
    T hi[Groups * group];
    T lo[Groups * group];
    T temperatures[Groups * group];
    bool divides = false;
    for (int c = 0; c < Groups * group; ++c) {
      const ArithmeticPair<T> pair(sums[c]);
      hi[c] = pair.hi;
      lo[c] = pair.lo;
      temperatures[c] = c < columns ? static_cast<T>(temperature_of(job.rows, column + c)) : T(1);
      divides |= temperatures[c] != T(1);
    }
    if (divides)
      write<Groups, true>(column, count, hi, lo, temperatures);
    else
      write<Groups, false>(column, count, hi, lo, temperatures);
  }

  template <int Groups, bool Divides, class Count>
  void write(std::int64_t column, Count count, const T* hi, const T* lo,
             const T* temperatures) const {
    constexpr int registers = group / A::width;
    constexpr std::uintptr_t alignment = A::width * sizeof(In);
    const auto nan = A::set1(static_cast<T>(__builtin_nan("")));
    const std::uintptr_t place = reinterpret_cast<std::uintptr_t>(result(0, column)) |
                                 static_cast<std::uintptr_t>(job.rows.y_stride);
    const bool streams = job.rows.stream && is_whole(count) && place % alignment == 0;
    for (std::int64_t i = 0; i < job.rows.length; ++i) {
      const In* x = grad(i, column);
      const In* y = output(i, column);
      In* out = result(i, column);
      if constexpr (!products) prefetch(y, kRowsAhead * job.output_stride);
      if (!streams) prefetch(out, kRowsAhead * job.rows.y_stride);
      FASTSOFTMAX_UNROLL
      for (int g = 0; g < Groups; ++g) {
        const WideElements<A> grads(x + g * group, count);
        const WideElements<A> outputs(y + g * group, count);
        FASTSOFTMAX_UNROLL
        for (int r = 0; r < registers; ++r) {
          const int c = g * group + r * A::width;
          const auto v = gradient<A, O, Divides>(grads.r[r], outputs.r[r], A::load(hi + c),
                                                 A::load(lo + c), A::load(temperatures + c), nan);
          if (streams)
            A::stream(out + c, v);
          else
            store_some(out + c, v, r * A::width, count);
        }
      }
    }
  }
  static constexpr bool is_whole(Whole) { return true; }
  static constexpr bool is_whole(Part) { return false; }
  static void store_some(In* p, typename A::reg v, int, Whole) { A::store(p, v); }
  static void store_some(In* p, typename A::reg v, int from, Part part) {
    const int left = part.n - from;
    if (left > 0) A::store(p, v, left < A::width ? left : A::width);
  }

  void run() const {
    std::int64_t column = 0;
    for (; column + groups * group <= job.rows.rows; column += groups * group)
      run_tile<groups>(column, groups * group, Whole{});
    for (; column + group <= job.rows.rows; column += group) run_tile<1>(column, group, Whole{});
    const int left = static_cast<int>(job.rows.rows - column);
    if (left > 0) run_tile<1>(column, left, Part{left});
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
