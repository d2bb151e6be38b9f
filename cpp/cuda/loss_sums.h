// What losses need to know of a row (kernels/loss.h), from tiles of its blocks.
#pragma once

#include "cuda/dot_lanes.h"
#include "cuda/loss_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What the loss needs of a block of scores in z, with coefficients 1 or none.
template <class A, int Steps, class Group>
FASTSOFTMAX_HD inline LossBlock loss_block(const Group& group, bool with_coefficients, int count,
                                           Tile<A, Steps>& z) {
  LossBlock block{};
  if (with_coefficients) {
    DotLanes<A> scores;
    for_each_pack<A, Steps>(group.s(), count, [&](int k, int, int inside) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c)
        if (c < inside) scores.add(c, z.v[k][c]);
    });
    block.scores = scores.join(group);
    block.coefficients = {static_cast<double>(count), 0.0};
  }
  block.sum = sum_tile<A, true>(group, z, count);
  return block;
}

// Of a block of any row, by way of shared memory, so that the code that makes a score is there
// once.
template <class A, int Steps, class Group, class Row>
FASTSOFTMAX_HD inline LossBlock any_loss_block(const Group& group, const Row& row,
                                               std::int64_t start, int count,
                                               typename A::T* through, Tile<A, Steps>& z) {
  using T = typename A::T;
  using Packed = Pack<T, kPerThread<A>>;
  const bool given = row.call->coefficients == Coefficients::given;
  DotLanes<A> scores;
  DotLanes<A> coefficients;
  FASTSOFTMAX_ROLLED
  for (int k = 0; k < Steps; ++k) {
    const int at = k * A::lanes + group.s() * kPerThread<A>;
    Packed pack;
    row.read(start + at, count - at, pack.v);
    *reinterpret_cast<Packed*>(through + at) = pack;
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) {
      if (!given || at + c >= count) continue;
      const T weight = row.coefficient(start + at + c);
      scores.add_product(c, weight == T(0) ? T(0) : pack.v[c], weight);
      coefficients.add(c, weight);
    }
  }
  for_each_pack<A, Steps>(group.s(), count, [&](int k, int at, int) {
    const Packed pack = *reinterpret_cast<const Packed*>(through + at);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c) z.v[k][c] = pack.v[c];
  });
  LossBlock block = loss_block(group, row.call->coefficients == Coefficients::ones, count, z);
  if (given) {
    block.scores = scores.join(group);
    block.coefficients = coefficients.join(group);
  }
  return block;
}

template <class A>
struct LossSums {
  RowTotal<true> total;
  SumPair scores{};
  SumPair coefficients{};
  double max = -__builtin_inf();  // or NaN

  FASTSOFTMAX_HD void join(const LossBlock& block) {
    total.join(block.sum);
    join_others(block);
  }
  FASTSOFTMAX_HD void join_others(const LossBlock& block) {
    max = larger_or_nan(max, block.sum.max);
    add_sum(scores, {block.scores.hi, block.scores.lo});
    add_sum(coefficients, {block.coefficients.hi, block.coefficients.lo});
  }
  // With the score of the target.
  FASTSOFTMAX_HD RowLoss row(double target) const {
    return row_loss(finish_row<A, true>(total), target, coefficients, scores);
  }
};

template <class A, class Group>
FASTSOFTMAX_HD inline void join_in_order(const Group& group, LossSums<A>& sums, LossBlock* blocks,
                                         int count) {
  join_sums<A>(group, sums.total, count, [&](int i) -> BlockSum& { return blocks[i].sum; });
  if (group.s() != 0) return;
  LossSums<A> joined = sums;
  for (int i = 0; i < count; ++i) joined.join_others(blocks[i]);
  sums = joined;
}

// Whether a row's scores, less their maximum, are to be summed again.
FASTSOFTMAX_HD inline bool is_to_repeat(const LossParameters& call, const RowLoss& row) {
  return row.kind == RowLoss::irregular ||
         (call.coefficients == Coefficients::given && cancels(row));
}

// The row after that: its maximum, and what the sums were without it.
FASTSOFTMAX_HD inline RowLoss repeated(const RowLoss& row, double max, const RowLoss& without) {
  constexpr double nan = __builtin_nan("");
  if (row.kind == RowLoss::regular) {
    RowLoss same = row;
    same.distance = max - max == 0.0 ? without.distance : nan;
    return same;
  }
  if (max - max != 0.0) return {RowLoss::irregular, max, nan, nan, nan, nan};
  RowLoss shifted = without;
  shifted.max = max;
  return shifted;
}

// What becomes of the scores of a row.
template <class A>
struct RowGradient {
  using T = typename A::T;
  LossSlope<A> slope;
  T at_target;
  T shift;
  LossGradient::Kind kind;
};

// `score` is that of the target.
template <class Row>
FASTSOFTMAX_HD inline RowGradient<typename Row::A> row_gradient(const Row& row, std::int64_t index,
                                                                std::int64_t target, double score,
                                                                const RowLoss& found) {
  using A = typename Row::A;
  using T = typename A::T;
  const LossParameters& call = *row.call;
  LossGradient how{};
  how.kind = target == kIgnored ? LossGradient::zero : LossGradient::nan;
  if (target != kIgnored && target != kNoClass)
    how = gradient_of(weights_of(call, index, target), found);
  GradientBatch<A, 1, 1> batch;
  const double shift = how.kind == LossGradient::regular ? gradient_shift<A>(how.max) : 0.0;
  if (how.kind == LossGradient::regular) {
    batch.max[0] = how.max - shift;
    batch.log_sum[0] = how.log_sum;
    batch.target[0] = target < 0 ? 0.0 : score - how.max;
  }
  batch.form();
  double coefficient = -0.0;
  if (call.coefficients == Coefficients::none)
    how.coefficient = coefficient;  // what its slope adds to every element
  else if (call.coefficients == Coefficients::ones || target < 0)
    coefficient = how.coefficient;
  else
    coefficient = how.coefficient * static_cast<double>(row.coefficient(target));
  return {LossSlope<A>(how, batch, 0, shift, call.softcap),
          slope_at_target<T>(how, batch.p[0], batch.rest[0], coefficient, call.softcap,
                             batch.target[0] + how.max),
          static_cast<T>(shift), how.kind};
}

// The gradient of a pack of scores less the row's shift, in their place.
template <class Row>
FASTSOFTMAX_HD inline void to_gradient(const Row& row, const RowGradient<typename Row::A>& how,
                                       std::int64_t target, std::int64_t at, int inside,
                                       typename Row::T* v) {
  using A = typename Row::A;
  using T = typename A::T;
  const LossParameters& call = *row.call;
  const std::int64_t ahead = target - at;
  const int here = ahead >= 0 && ahead < kPerThread<A> ? static_cast<int>(ahead) : -1;
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < kPerThread<A>; ++c) {
    const T z = v[c];
    T slope;
    if (Row::is_any && call.coefficients == Coefficients::given)
      slope = how.slope.template of_score<Coefficients::given>(
          z, c < inside ? row.coefficient(at + c) : T(0));
    else
      slope = how.slope.template of_score<Coefficients::ones>(z, T(0));
    if (Row::is_any && call.softcap != 0.0) slope = how.slope.before_softcap(slope, z);
    slope = slope == slope ? slope : static_cast<T>(__builtin_nan(""));
    v[c] = c == here ? how.at_target : slope;
  }
}

// Steps of a block whose gradient is formed at a time.
inline constexpr int kGradientSteps = 4;

// That of a block, from scores that load(start, count, z) gets, a few packs at a time.
template <class Row, class Load>
FASTSOFTMAX_HD inline void write_gradient(const Row& row, const RowGradient<typename Row::A>& how,
                                          std::int64_t target, int s, std::int64_t start, int count,
                                          Load&& load) {
  using A = typename Row::A;
  constexpr int steps = kGradientSteps;
  FASTSOFTMAX_ROLLED
  for (int done = 0; done < count; done += steps * A::lanes) {
    Tile<A, steps> z;
    load(start + done, count - done, z);
    for_each_pack<A, steps>(s, count - done, [&](int k, int at, int inside) {
      to_gradient(row, how, target, start + done + at, inside, z.v[k]);
    });
    write_packs(row, start + done, count - done, s, z);
  }
}
// Of scores that are read once more.
template <class Row>
FASTSOFTMAX_HD inline void write_gradient(const Row& row, const RowGradient<typename Row::A>& how,
                                          std::int64_t target, int s, std::int64_t start,
                                          int count) {
  using A = typename Row::A;
  if constexpr (Row::is_any) {
    FASTSOFTMAX_ROLLED
    for (int at = s * kPerThread<A>; at < count; at += A::lanes) {
      typename A::T v[kPerThread<A>];
      row.read(start + at, count - at, v);
      to_gradient(row, how, target, start + at, count - at, v);
      row.write(start + at, count - at, v);
    }
  } else {
    write_gradient(row, how, target, s, start, count,
                   [&](std::int64_t at, int left, auto& z) { load_tile(row, at, left, s, z); });
  }
}
// Of scores in registers.
template <int Steps, class Row>
FASTSOFTMAX_HD inline void write_gradient_of(const Tile<typename Row::A, Steps>& z, const Row& row,
                                             const RowGradient<typename Row::A>& how,
                                             std::int64_t target, int s, std::int64_t start,
                                             int count) {
  using A = typename Row::A;
  constexpr int steps = kGradientSteps;
  FASTSOFTMAX_UNROLL
  for (int first = 0; first < Steps; first += steps) {
    const int done = first * A::lanes;
    if (done >= count) break;
    Tile<A, steps> v;
    for_each_pack<A, steps>(s, count - done, [&](int k, int at, int inside) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c) v.v[k][c] = z.v[first + k][c];
      to_gradient(row, how, target, start + done + at, inside, v.v[k]);
    });
    write_packs(row, start + done, count - done, s, v);
  }
}

// That of all elements of a row without one: zero, or NaN.
template <class T>
FASTSOFTMAX_HD inline T gradient_without_scores(LossGradient::Kind kind) {
  return kind == LossGradient::zero ? T(0) : static_cast<T>(__builtin_nan(""));
}

// The loss and logsumexp of a row.
template <class A>
FASTSOFTMAX_HD inline void put_loss(const LossParameters& call, std::int64_t index,
                                    std::int64_t target, const RowLoss& found) {
  using T = typename A::T;
  double loss = target == kIgnored ? 0.0 : __builtin_nan("");
  if (target != kIgnored && target != kNoClass)
    loss = loss_of(weights_of(call, index, target), found);
  if (call.losses != nullptr)
    call.losses[index] = loss;
  else
    put_number<T>(call.loss, index, loss);
  if (call.logsumexp != nullptr)
    put_number<T>(call.logsumexp, index, fastsoftmax::logsumexp_of(found));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
