// One block of a row: its sum, in the order of dot.h, and its gradient.
#pragma once

#include "cuda/backward_row.h"
#include "cuda/dot_lanes.h"
#include "kernels/gradient_element.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::kTermsPerLane;

// So many packs of grad and of the output, from the first of a block's on.
template <class Row, int Steps>
struct PairTile {
  using A = typename Row::A;
  using T = typename A::T;
  static constexpr int steps = Steps;
  typename Row::Packed grad[Steps];
  typename Row::Packed output[Steps];

  FASTSOFTMAX_HD void read(const Row& row, std::int64_t start, int count, int s) {
    load_packs(row.grads(), start, count, s, grad);
    load_packs(row.outputs(), start, count, s, output);
  }

  // What is summed of grad alone is a product too: with 1.
  FASTSOFTMAX_HD void add_to(DotLanes<A>& products, bool with_output) {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < Steps; ++k) {
      T g[kPerThread<A>];
      unpack<A>(grad[k], g);
      stay_packed(grad[k]);
      T y[kPerThread<A>];
      unpack<A>(output[k], y);
      stay_packed(output[k]);
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c)
        products.add_product(c, g[c], with_output ? y[c] : T(1));
    }
  }
  template <class Group>
  FASTSOFTMAX_HD SumPair sum(const Group& group, const Row& row) {
    DotLanes<A> products;
    add_to(products, row.sums_products);
    return products.join(group);
  }

  // A few packs at a time, which fit into registers beside those that are left.
  FASTSOFTMAX_HD void write(const Row& row, const ArithmeticPair<T>& sum, std::int64_t start,
                            int count, int s) const {
    constexpr int some = Steps < kAtOnce ? Steps : kAtOnce;
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < Steps; k += some) {
      Tile<A, some> v;
      if (row.sums_products)
        undivided<RowOp::softmax>(k, sum, v);
      else
        undivided<RowOp::log_softmax>(k, sum, v);
      finish(row, v);
      write_packs(row, start + k * A::lanes, count - k * A::lanes, s, v);
    }
  }

 private:
  static constexpr int kAtOnce = sizeof(T) == sizeof(double) ? 1 : 2;

  template <RowOp O, int N>
  FASTSOFTMAX_HD void undivided(int first, const ArithmeticPair<T>& sum, Tile<A, N>& v) const {
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < N; ++k) {
      T g[kPerThread<A>];
      T y[kPerThread<A>];
      unpack<A>(grad[first + k], g);
      unpack<A>(output[first + k], y);
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c)
        v.v[k][c] = undivided_gradient<A, O>(g[c], y[c], sum.hi, sum.lo);
    }
  }
  // Over the temperature; any NaN becomes the canonical one.
  template <int N>
  FASTSOFTMAX_HD static void finish(const Row& row, Tile<A, N>& v) {
    const auto each = [&](auto&& f) {
      FASTSOFTMAX_UNROLL
      for (int k = 0; k < N; ++k) {
        FASTSOFTMAX_UNROLL
        for (int c = 0; c < kPerThread<A>; ++c) v.v[k][c] = f(v.v[k][c]);
      }
    };
    if (row.temperature != T(1)) each([&](T x) { return A::div(x, row.temperature); });
    each([](T x) { return A::select_equal(x, x, x, static_cast<T>(__builtin_nan(""))); });
  }

  // Elements stay packed in registers, rather than what they have been converted to.
  FASTSOFTMAX_HD static void stay_packed([[maybe_unused]] typename Row::Packed& pack) {
#ifdef __CUDA_ARCH__
    if constexpr (Row::Packed::per_word > 1) {
      FASTSOFTMAX_UNROLL
      for (int i = 0; i < Row::Packed::words; ++i) asm volatile("" : "+r"(pack.v[i]));
    }
#endif
  }
};

// Steps of a block that are read at a time where it does not stay in registers.
inline constexpr int kPairsAtOnce = 4;

// The sum of a block and its gradient, from what read(start, count, tile) gets, a few packs at a
// time.
template <class Group, class Row, class Read>
FASTSOFTMAX_HD inline SumPair sum_of_block(const Group& group, const Row& row, std::int64_t start,
                                           int count, Read&& read) {
  using A = typename Row::A;
  DotLanes<A> products;
  FASTSOFTMAX_ROLLED
  for (int done = 0; done < count; done += kPairsAtOnce * A::lanes) {
    PairTile<Row, kPairsAtOnce> tile{};
    read(start + done, count - done, tile);
    tile.add_to(products, row.sums_products);
  }
  return products.join(group);
}
template <class Row, class Read>
FASTSOFTMAX_HD inline void write_block(const Row& row, const ArithmeticPair<typename Row::T>& sum,
                                       int s, std::int64_t start, int count, Read&& read) {
  FASTSOFTMAX_ROLLED
  for (int done = 0; done < count; done += kPairsAtOnce * Row::A::lanes) {
    PairTile<Row, kPairsAtOnce> tile;
    read(start + done, count - done, tile);
    tile.write(row, sum, start + done, count - done, s);
  }
}

// The same of a block in memory, which is read twice; the output for the sum only where it is
// needed.
template <class Group, class Row>
FASTSOFTMAX_HD inline SumPair sum_of_block(const Group& group, const Row& row, std::int64_t start,
                                           int count) {
  return sum_of_block(group, row, start, count, [&](std::int64_t at, int left, auto& tile) {
    load_packs(row.grads(), at, left, group.s(), tile.grad);
    if (row.sums_products) load_packs(row.outputs(), at, left, group.s(), tile.output);
  });
}
template <class Row>
FASTSOFTMAX_HD inline void write_block(const Row& row, const ArithmeticPair<typename Row::T>& sum,
                                       int s, std::int64_t start, int count) {
  write_block(row, sum, s, start, count,
              [&](std::int64_t at, int left, auto& tile) { tile.read(row, at, left, s); });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
