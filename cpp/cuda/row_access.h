// Rows in device memory, as the threads of a group read and write them: kPerThread neighbouring
// elements at a time.
#pragma once

#include "cuda/geometry.h"
#include "cuda/temperature.h"
#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Neighbouring lanes that a thread of a group has.
template <class A>
constexpr int kPerThread = A::lanes / kGroup;

template <class In, int N>
struct alignas(N * sizeof(In)) Pack {
  In v[N];
};

struct Offsets {
  std::int64_t x = 0;
  std::int64_t y = 0;
  std::int64_t where = 0;
  std::int64_t temperature = 0;

  FASTSOFTMAX_HD void advance(const Axis& axis, std::int64_t i) {
    x += i * axis.x;
    y += i * axis.y;
    where += i * axis.where;
    temperature += i * axis.temperature;
  }
};

// Of element `index` of the axes, counted in C order.
template <class At = Offsets, class AnyAxes>
FASTSOFTMAX_HD inline At offsets_of(const AnyAxes& axes, std::int64_t index) {
  At at;
  FASTSOFTMAX_ROLLED
  for (int d = axes.count - 1; d >= 0; --d) {
    const auto& axis = axes.axis[d];
    std::int64_t i = index;
    if (d > 0) {
      index /= axis.size;
      i -= index * axis.size;
    }
    at.advance(axis, i);
  }
  return at;
}

// The same where it is called in many places.
template <class At = Offsets, class AnyAxes>
FASTSOFTMAX_HD [[gnu::noinline]] inline At far_offsets_of(const AnyAxes& axes, std::int64_t index) {
  return offsets_of<At>(axes, index);
}

// Layout::columns: along one axis.
template <class Arithmetic, class Element, Layout L>
struct Row {
  using A = Arithmetic;
  using In = Element;
  using T = typename A::T;
  using At = Offsets;
  static constexpr int per_thread = kPerThread<A>;
  using Packed = Pack<In, per_thread>;

  const Parameters* call;
  const char* x;
  char* y;
  const char* where;
  T temperature;
  T shift = 0;  // subtracted from every score
  bool aligned_x;
  bool aligned_y;

  FASTSOFTMAX_HD Row(const Parameters& p, const Offsets& at)
      : call(&p),
        x(p.x + at.x),
        y(p.y + at.y),
        where(p.where == nullptr ? nullptr : p.where + at.where),
        temperature(temperature_of<T>(p, at.temperature)),
        aligned_x(reinterpret_cast<std::uintptr_t>(x) % sizeof(Packed) == 0),
        aligned_y(reinterpret_cast<std::uintptr_t>(y) % sizeof(Packed) == 0) {}

  // The scores of per_thread elements from `at` on; -inf in place of all but the first `inside`.
  FASTSOFTMAX_HD void read(std::int64_t at, int inside, T* v) const {
    if (L == Layout::rows && aligned_x && inside >= per_thread) {
      const Packed pack = *packed(at);
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = A::load(&pack.v[c]);
    } else {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = c < inside ? element(at + c) : -infinity<T>();
    }
    adjust(v);
  }
  // Likewise of elements that stored() got.
  FASTSOFTMAX_HD void score(const Packed& pack, int inside, T* v) const {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) v[c] = c < inside ? A::load(&pack.v[c]) : -infinity<T>();
    adjust(v);
  }

  // The same elements as they are stored; what is not inside means nothing. Layout::rows.
  FASTSOFTMAX_HD Packed stored(std::int64_t at, int inside) const {
    if (aligned_x && inside >= per_thread) return *packed(at);
    Packed pack{};
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) pack.v[c] = reinterpret_cast<const In*>(x)[at + c];
    }
    return pack;
  }

  // The row with elements in another place, aligned, from which on they are counted.
  FASTSOFTMAX_HD Row copied_to(const char* place) const {
    Row row = *this;
    row.x = place;
    row.aligned_x = true;
    return row;
  }

  FASTSOFTMAX_HD void write(std::int64_t at, int inside, const T* v) const {
    if (L == Layout::rows && aligned_y && inside >= per_thread) {
      Packed pack;
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) A::store(&pack.v[c], v[c]);
      *reinterpret_cast<Packed*>(y + at * sizeof(In)) = pack;
      return;
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) A::store(reinterpret_cast<In*>(y + y_offset(at + c)), v[c]);
    }
  }

  // The one element of a reduced row.
  FASTSOFTMAX_HD void put(T value) const { A::store(reinterpret_cast<In*>(y), value); }

 private:
  FASTSOFTMAX_HD const Packed* packed(std::int64_t at) const {
    return reinterpret_cast<const Packed*>(x + at * static_cast<std::int64_t>(sizeof(In)));
  }
  FASTSOFTMAX_HD void adjust(T* v) const {
    if (temperature != T(1)) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = A::div(v[c], temperature);
    }
    if (shift != T(0)) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = A::sub(v[c], shift);
    }
  }
  FASTSOFTMAX_HD T element(std::int64_t i) const {
    if constexpr (L == Layout::rows) return A::load(reinterpret_cast<const In*>(x) + i);
    Offsets at;
    if constexpr (L == Layout::columns) {
      const Axis& axis = call->reduced.axis[0];
      at = {i * axis.x, 0, i * axis.where, 0};
    } else {
      at = far_offsets_of(call->reduced, i);
    }
    if (where != nullptr && where[at.where] == 0) return -infinity<T>();
    return A::load(reinterpret_cast<const In*>(x + at.x));
  }
  FASTSOFTMAX_HD std::int64_t y_offset(std::int64_t i) const {
    if constexpr (L == Layout::rows) return i * static_cast<std::int64_t>(sizeof(In));
    if constexpr (L == Layout::columns) return i * call->reduced.axis[0].y;
    return far_offsets_of(call->reduced, i).y;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
