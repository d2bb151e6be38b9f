// Where the blocks of a row come from and go to. A direct row is contiguous in memory. A gathered
// one passes through a buffer of one block in L1: any stride, type, mask, temperature or shift.
#pragma once

#include "kernels/block.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

using kernels::FetchFn;
using kernels::StoreFn;

template <class In>
struct DirectSource {
  const In* x;

  const In* block(std::int64_t start, int) const { return x + start; }
};

template <class A>
struct GatheredSource {
  using T = typename A::T;

  FetchFn fetch;
  const void* context;
  std::int64_t row;
  T temperature;
  T shift = 0;
  alignas(64) T buffer[A::block];

  GatheredSource(FetchFn fetch_, const void* context_, std::int64_t row_, T temperature_)
      : fetch(fetch_), context(context_), row(row_), temperature(temperature_) {}

  const T* block(std::int64_t start, int count) {
    fetch(context, row, start, count, buffer);
    if (temperature != T(1))
      transform(count, [this](auto v) { return A::div(v, A::set1(temperature)); });
    if (shift != T(0)) transform(count, [this](auto v) { return A::sub(v, A::set1(shift)); });
    return buffer;
  }

 private:
  template <class F>
  void transform(int count, F&& f) {
    map_block<A>(buffer, count, false, [&](int i, auto part) __attribute__((always_inline)) {
      return f(load<A>(buffer + i, part, A::set1(T(0))));
    });
  }
};

// The FetchFn of a contiguous row; the context is the row itself.
template <class A, class In>
void fetch_contiguous(const void* context, std::int64_t, std::int64_t start, int count,
                      void* buffer) {
  const In* x = static_cast<const In*>(context) + start;
  map_block<A>(static_cast<typename A::T*>(buffer), count, false,
               [&](int i, auto part) __attribute__((always_inline)) {
                 return load<A>(x + i, part, A::set1(typename A::T(0)));
               });
}

// The same for a row whose elements are divided by a temperature.
template <class A, class In>
struct ScaledRow {
  const In* x;
  typename A::T temperature;

  static void fetch(const void* context, std::int64_t, std::int64_t start, int count,
                    void* buffer) {
    const auto& row = *static_cast<const ScaledRow*>(context);
    const In* x = row.x + start;
    const auto temperature = A::set1(row.temperature);
    map_block<A>(static_cast<typename A::T*>(buffer), count, false,
                 [&](int i, auto part) __attribute__((always_inline)) {
                   prefetch(x + i, 2 * A::block * static_cast<std::int64_t>(sizeof(In)));
                   return A::div(load<A>(x + i, part, A::set1(typename A::T(0))), temperature);
                 });
  }
};

template <class Out>
struct DirectSink {
  Out* y;
  bool stream;

  Out* block(std::int64_t start) const { return y + start; }
  void done(std::int64_t, int) const {}
};

template <class A>
struct GatheredSink {
  using T = typename A::T;

  StoreFn store;
  const void* context;
  std::int64_t row;
  static constexpr bool stream = false;
  alignas(64) T buffer[A::block];

  GatheredSink(StoreFn store_, const void* context_, std::int64_t row_)
      : store(store_), context(context_), row(row_) {}

  T* block(std::int64_t) { return buffer; }
  void done(std::int64_t start, int count) { store(context, row, start, count, buffer); }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
