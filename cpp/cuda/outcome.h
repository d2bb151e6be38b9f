// What becomes of a row once its blocks have been summed.
#pragma once

#include "cuda/tile_sum.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// For the sums of a row whose scores had `shift` subtracted.
template <class A, bool Log>
FASTSOFTMAX_HD inline RowOutcome outcome_of(const Parameters& call, const RowTotal<Log>& total,
                                            typename A::T shift) {
  RowOutcome outcome{};
  outcome.state = finish_row<A, Log>(total);
  outcome.shift = static_cast<double>(shift);
  if (outcome.state.kind == RowState::all_nan) {
    outcome.is_constant = true;
    outcome.constant = __builtin_nan("");
  }
  // The maximum of the scores as they came, of which no row outside the domain has 0.
  if (Log && call.op == RowOp::logsumexp && shift != typename A::T(0))
    outcome.state.max = outcome.shift;
  return outcome;
}

// For a row outside the domain with this maximum, or NaN. Where that is finite it is to be
// subtracted, and the row summed again.
FASTSOFTMAX_HD inline RowOutcome exceptional_outcome(const Parameters& call, double max) {
  RowOutcome outcome{};
  outcome.state.kind = RowState::exceptional;
  outcome.shift = max;
  outcome.is_constant = !(max - max == 0.0);
  outcome.constant = __builtin_nan("");
  if (call.op == RowOp::logsumexp)
    outcome.constant = max;
  else if (max == -__builtin_inf() && call.empty_is_zero)
    outcome.constant = call.op == RowOp::softmax ? 0.0 : max;
  return outcome;
}

// The canonical NaN, or the number.
template <class T>
FASTSOFTMAX_HD inline T constant_of(const RowOutcome& outcome) {
  return outcome.constant == outcome.constant ? static_cast<T>(outcome.constant)
                                              : static_cast<T>(__builtin_nan(""));
}

// What an element becomes: from its score, or from its term under the exponent `of_terms`.
template <class A, bool Log>
struct Writer {
  using T = typename A::T;
  T max;
  T log_sum;
  T rounder;
  Quotient<A> quotient;

  FASTSOFTMAX_HD explicit Writer(const RowState& state)
      : Writer(state, static_cast<T>(state.shift)) {}
  FASTSOFTMAX_HD Writer(const RowState& state, std::int32_t of_terms)
      : Writer(state, shift_of(state, of_terms)) {}

  FASTSOFTMAX_HD T from_score(T z) const {
    if constexpr (Log) return A::sub(A::sub(z, max), log_sum);
    return quotient(ExtExp<A>::term(z, rounder));
  }
  FASTSOFTMAX_HD T from_term(T term) const { return quotient(term); }

 private:
  FASTSOFTMAX_HD Writer(const RowState& state, T shift)
      : max(static_cast<T>(state.max)),
        log_sum(static_cast<T>(state.log_sum)),
        rounder(sum_rounder<A>(static_cast<T>(state.exponent))),
        quotient(quotient_of<A>(static_cast<T>(state.inverse_hi), static_cast<T>(state.inverse_lo),
                                shift)) {}

  FASTSOFTMAX_HD static T shift_of(const RowState& state, std::int32_t of_terms) {
    constexpr T furthest = -static_cast<T>(ExpConstants<T>::field_bias + kSumBias + 1);
    const T shift =
        static_cast<T>(state.shift) + (static_cast<T>(of_terms) - static_cast<T>(state.exponent));
    return shift > furthest ? shift : furthest;
  }
};

// The output of one block: from what sum_tile has left in registers, scores with Log and terms
// under the exponent `of_terms` without;
template <class A, bool Log, int Steps, int G = kGroup, class Row>
FASTSOFTMAX_HD inline void write_tile(const Row& row, const RowState& state, int s,
                                      std::int64_t start, int count, const Tile<A, Steps>& z,
                                      std::int32_t of_terms) {
  const Writer<A, Log> writer(state, of_terms);
  Tile<A, Steps> v;
  FASTSOFTMAX_UNROLL
  for (int k = 0; k < Steps; ++k) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < kPerThread<A>; ++c)
      v.v[k][c] = Log ? writer.from_score(z.v[k][c]) : writer.from_term(z.v[k][c]);
  }
  write_packs<G>(row, start, count, s, v);
}

// from scores that load(start, count, z) gets, a quarter of the block at a time;
template <class A, bool Log, int Steps, class Row, class Load>
FASTSOFTMAX_HD inline void write_block(const Row& row, const RowState& state, int s,
                                       std::int64_t start, int count, Load&& load) {
  constexpr int steps = Steps < 4 ? Steps : 4;
  const Writer<A, Log> writer(state);
  FASTSOFTMAX_ROLLED
  for (int done = 0; done < count; done += steps * A::lanes) {
    Tile<A, steps> z;
    load(start + done, count - done, z);
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < steps; ++k) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < kPerThread<A>; ++c) z.v[k][c] = writer.from_score(z.v[k][c]);
    }
    write_packs(row, start + done, count - done, s, z);
  }
}
// or that are in memory;
template <class A, bool Log, int Steps, class Row>
FASTSOFTMAX_HD inline void write_block(const Row& row, const RowState& state, int s,
                                       std::int64_t start, int count) {
  write_block<A, Log, Steps>(row, state, s, start, count, [&](std::int64_t at, int left, auto& z) {
    load_tile(row, at, left, s, z);
  });
}

// or one number.
template <class A, int Steps, int G = kGroup, class Row>
FASTSOFTMAX_HD inline void fill_block(const Row& row, typename A::T value, int s,
                                      std::int64_t start, int count) {
  typename A::T v[kPerThread<A>];
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < kPerThread<A>; ++c) v[c] = value;
  for_each_pack_in_turn<A, Steps, G>(s, count,
                                     [&](int at, int inside) { row.write(start + at, inside, v); });
}

template <class T>
FASTSOFTMAX_HD inline T logsumexp_of(const RowOutcome& outcome) {
  if (outcome.is_constant) return constant_of<T>(outcome);
  return static_cast<T>(outcome.state.max + outcome.state.log_sum);
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
