// One block of a row: its sum, in the order of dot.h, and its gradient.
#pragma once

#include "cuda/backward_row.h"
#include "cuda/dot_lanes.h"
#include "kernels/gradient_element.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::kTermsPerLane;

// Packs of grad and of the output.
template <class Row>
struct PackPair {
  typename Row::Packed grad;
  typename Row::Packed output;

  FASTSOFTMAX_HD void read(const Row& row, std::int64_t at, int inside) {
    row.read_grad(at, inside, grad);
    row.read_output(at, inside, output);
  }
};

// What is summed of grad alone is a product too: with 1.
template <class Row>
FASTSOFTMAX_HD inline void add_products(DotLanes<typename Row::A>& products, const Row& row,
                                        const PackPair<Row>& pair) {
  using A = typename Row::A;
  using T = typename A::T;
  T grad[kPerThread<A>];
  T output[kPerThread<A>];
  unpack<A>(pair.grad, grad);
  unpack<A>(pair.output, output);
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < kPerThread<A>; ++c)
    products.add_product(c, grad[c], row.sums_products ? output[c] : T(1));
}

template <RowOp O, class Row, class T>
FASTSOFTMAX_HD inline void undivided_gradients(const PackPair<Row>& pair,
                                               const ArithmeticPair<T>& sum, T* v) {
  using A = typename Row::A;
  T grad[kPerThread<A>];
  T output[kPerThread<A>];
  unpack<A>(pair.grad, grad);
  unpack<A>(pair.output, output);
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < kPerThread<A>; ++c)
    v[c] = undivided_gradient<A, O>(grad[c], output[c], sum.hi, sum.lo);
}

template <class Row>
FASTSOFTMAX_HD inline void write_gradients(const Row& row,
                                           const ArithmeticPair<typename Row::T>& sum,
                                           std::int64_t at, int inside, const PackPair<Row>& pair) {
  using A = typename Row::A;
  using T = typename A::T;
  T v[kPerThread<A>];
  if (row.sums_products)
    undivided_gradients<RowOp::softmax>(pair, sum, v);
  else
    undivided_gradients<RowOp::log_softmax>(pair, sum, v);
  if (row.temperature != T(1)) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) v[c] = A::div(v[c], row.temperature);
  }
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < kPerThread<A>; ++c)
    v[c] = A::select_equal(v[c], v[c], v[c], static_cast<T>(__builtin_nan("")));
  row.write(at, inside, v);
}

// Elements stay packed in registers, rather than what they have been converted to.
template <class In, int N>
FASTSOFTMAX_HD inline void stay_packed([[maybe_unused]] Pack<In, N>& pack) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof(In) == 2) {
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < N / 2; ++i) asm volatile("" : "+r"(pack.v[i]));
  }
#endif
}

// A block in registers.
template <class Row, int Steps>
struct PairTile {
  using A = typename Row::A;
  PackPair<Row> v[Steps];

  FASTSOFTMAX_HD void read(const Row& row, std::int64_t start, int count, int s) {
    for_each_pack<A, Steps>(s, count,
                            [&](int k, int at, int inside) { v[k].read(row, start + at, inside); });
  }
  template <class Group>
  FASTSOFTMAX_HD SumPair sum(const Group& group, const Row& row) {
    DotLanes<A> products;
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < Steps; ++k) {
      add_products(products, row, v[k]);
      stay_packed(v[k].grad);
      stay_packed(v[k].output);
    }
    return products.join(group);
  }
  FASTSOFTMAX_HD void write(const Row& row, const ArithmeticPair<typename Row::T>& sum,
                            std::int64_t start, int count, int s) const {
    for_each_pack<A, Steps>(s, count, [&](int k, int at, int inside) {
      if (inside > 0) write_gradients(row, sum, start + at, inside, v[k]);
    });
  }
};

// The sum of a block and its gradient, from what read(at, inside, pair) gets; for the sum it may
// leave the output out where that is not needed.
template <class Group, class Row, class Read>
FASTSOFTMAX_HD inline SumPair sum_of_block(const Group& group, const Row& row, std::int64_t start,
                                           int count, Read&& read) {
  using A = typename Row::A;
  DotLanes<A> products;
  for_each_pack_in_turn<A, kTermsPerLane>(group.s(), count, [&](int at, int inside) {
    PackPair<Row> pair{};
    read(start + at, inside, pair);
    add_products(products, row, pair);
  });
  return products.join(group);
}
template <class Row, class Read>
FASTSOFTMAX_HD inline void write_block(const Row& row, const ArithmeticPair<typename Row::T>& sum,
                                       int s, std::int64_t start, int count, Read&& read) {
  for_each_pack_in_turn<typename Row::A, kTermsPerLane>(s, count, [&](int at, int inside) {
    PackPair<Row> pair;
    read(start + at, inside, pair);
    write_gradients(row, sum, start + at, inside, pair);
  });
}

// The same of a block in memory, which is read twice.
template <class Group, class Row>
FASTSOFTMAX_HD inline SumPair sum_of_block(const Group& group, const Row& row, std::int64_t start,
                                           int count) {
  return sum_of_block(group, row, start, count,
                      [&](std::int64_t at, int inside, PackPair<Row>& pair) {
                        row.read_grad(at, inside, pair.grad);
                        if (row.sums_products) row.read_output(at, inside, pair.output);
                      });
}
template <class Row>
FASTSOFTMAX_HD inline void write_block(const Row& row, const ArithmeticPair<typename Row::T>& sum,
                                       int s, std::int64_t start, int count) {
  write_block(row, sum, s, start, count, [&](std::int64_t at, int inside, PackPair<Row>& pair) {
    pair.read(row, at, inside);
  });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
