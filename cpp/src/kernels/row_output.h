// The last pass over a row: what becomes of its blocks once its sum is known.
#pragma once

#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

template <class A, class Sink>
[[gnu::noinline]] void fill_blocks(Sink& sink, std::int64_t length, typename A::T value,
                                   std::int64_t first, std::int64_t last) {
  for_each_block<A>(length, first, last, [&](std::int64_t, std::int64_t start, int count) {
    map_block<A>(sink.block(start), count, false,
                 [&](int, auto) __attribute__((always_inline)) { return A::set1(value); });
    sink.done(start, count);
  });
}

// The last pass where exponentials are computed again.
template <class A, class Source, class Sink>
[[gnu::noinline]] void write_softmax(Source& source, Sink& sink, std::int64_t length,
                                     const RowState& state, std::int64_t first, std::int64_t last) {
  using T = typename A::T;
  using E = ExtExp<A>;
  const auto rounder = A::set1(sum_rounder<A>(static_cast<T>(state.exponent)));
  const auto quotient =
      quotient_of<A>(static_cast<T>(state.inverse_hi), static_cast<T>(state.inverse_lo),
                     static_cast<T>(state.shift));
  const auto fill = A::set1(T(0));
  for_each_block<A>(length, first, last, [&](std::int64_t, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    map_block<A>(sink.block(start), count, sink.stream,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   return quotient(E::term(load<A>(x + i, part, fill), rounder));
                 });
    sink.done(start, count);
  });
}

// The last pass where they were stored.
template <class A, class Sink>
[[gnu::noinline]] void write_stored_softmax(const StoredBlocks<typename A::T>& stored, Sink& sink,
                                            std::int64_t length, const RowState& state,
                                            std::int64_t first, std::int64_t last) {
  using T = typename A::T;
  constexpr T furthest = -static_cast<T>(ExpConstants<T>::field_bias + kSumBias + 1);
  const auto fill = A::set1(T(0));
  for_each_block<A>(length, first, last, [&](std::int64_t b, std::int64_t start, int count) {
    T shift = static_cast<T>(state.shift);
    if (stored.exponents != nullptr) shift += stored.exponents[b] - static_cast<T>(state.exponent);
    const auto quotient =
        quotient_of<A>(static_cast<T>(state.inverse_hi), static_cast<T>(state.inverse_lo),
                       shift > furthest ? shift : furthest);
    const T* e = stored.terms + start;
    map_block<A>(sink.block(start), count, sink.stream,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   return quotient(load<A>(e + i, part, fill));
                 });
    sink.done(start, count);
  });
}

// The last pass of log_softmax: (z - max) - log sum, from z or from stored z - max.
template <class A, bool Shifted, class Source, class Sink>
[[gnu::noinline]] void write_log_softmax(Source& source, Sink& sink, std::int64_t length,
                                         const RowState& state, std::int64_t first,
                                         std::int64_t last) {
  using T = typename A::T;
  const auto max = A::set1(static_cast<T>(state.max));
  const auto log_sum = A::set1(static_cast<T>(state.log_sum));
  for_each_block<A>(length, first, last, [&](std::int64_t, std::int64_t start, int count) {
    const auto* x = source.block(start, count);
    map_block<A>(sink.block(start), count, sink.stream,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   auto v = load<A>(x + i, part, max);
                   if constexpr (!Shifted) v = A::sub(v, max);
                   return A::sub(v, log_sum);
                 });
    sink.done(start, count);
  });
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
