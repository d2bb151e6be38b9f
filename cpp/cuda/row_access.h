// Rows in device memory, as the threads of a group read and write them: kPerThread neighbouring
// elements at a time.
#pragma once

#include <type_traits>

#include "cuda/divide.h"
#include "cuda/geometry.h"
#include "cuda/temperature.h"
#include "kernels/row.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Neighbouring lanes that a thread of a group has.
template <class A>
constexpr int kPerThread = A::lanes / kGroup;

template <class In>
FASTSOFTMAX_HD constexpr In negative_infinity() {
  if constexpr (std::is_same_v<In, f16>)
    return f16{0xfc00};
  else if constexpr (std::is_same_v<In, bf16>)
    return bf16{0xff80};
  else
    return -infinity<In>();
}

// N neighbouring elements as they are stored, 16-bit ones two to a word: taking words apart as they
// come would wait for each load before the next is issued.
template <class In, int N>
struct [[gnu::may_alias]] alignas(N * sizeof(In)) Pack {
  using Word = std::conditional_t<sizeof(In) == 2, std::uint32_t, In>;
  static constexpr int per_word = sizeof(Word) / sizeof(In);
  static constexpr int words = N / per_word;
  Word v[words];

  // -inf in all places.
  FASTSOFTMAX_HD static Pack lowest() {
    Pack pack{};
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < N; ++c) pack.set(c, negative_infinity<In>());
    return pack;
  }
  FASTSOFTMAX_HD In operator[](int c) const {
    if constexpr (per_word == 1) {
      return v[c];
    } else {
      const auto half = static_cast<std::uint16_t>(v[c / 2] >> (c % 2 * 16));
      In element;
      __builtin_memcpy(&element, &half, sizeof half);
      return element;
    }
  }
  FASTSOFTMAX_HD void set(int c, In element) {
    if constexpr (per_word == 1) {
      v[c] = element;
    } else {
      std::uint16_t half;
      __builtin_memcpy(&half, &element, sizeof half);
      const int shift = c % 2 * 16;
      v[c / 2] = (v[c / 2] & ~(std::uint32_t{0xffff} << shift)) | std::uint32_t{half} << shift;
    }
  }
};

template <class A, class In, int N>
FASTSOFTMAX_HD inline void unpack(const Pack<In, N>& pack, typename A::T* v) {
  FASTSOFTMAX_UNROLL
  for (int c = 0; c < N; ++c) {
    const In element = pack[c];
    v[c] = A::load(&element);
  }
}
template <class A, class In, int N>
FASTSOFTMAX_HD inline void pack_up(const typename A::T* v, Pack<In, N>& pack) {
  if constexpr (Pack<In, N>::per_word == 1) {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < N; ++c) A::store(&pack.v[c], v[c]);
  } else {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < N; c += 2) pack.v[c / 2] = two_from_f32<In>(v[c], v[c + 1]);
  }
}

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
  static constexpr bool has_packs = L == Layout::rows;
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
    if constexpr (L == Layout::rows) {
      unpack<A>(stored(at, inside), v);
    } else {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = c < inside ? element(at + c) : -infinity<T>();
    }
    adjust<per_thread>(v);
  }

  // The same elements as they are stored. Layout::rows.
  FASTSOFTMAX_HD Packed stored(std::int64_t at, int inside) const {
    if (aligned_x && inside >= per_thread) return *packed(at);
    Packed pack = filler();
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) pack.set(c, reinterpret_cast<const In*>(x)[at + c]);
    }
    return pack;
  }
  // What stands in place of elements behind the row's.
  FASTSOFTMAX_HD static Packed filler() { return Packed::lowest(); }
  FASTSOFTMAX_HD const Packed* packed(std::int64_t at) const {
    return reinterpret_cast<const Packed*>(x + at * static_cast<std::int64_t>(sizeof(In)));
  }
  FASTSOFTMAX_HD void write(std::int64_t at, int inside, const T* v) const {
    if (L == Layout::rows && aligned_y && inside >= per_thread) {
      Packed pack;
      pack_up<A>(v, pack);
      *packed_output(at) = pack;
      return;
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) A::store(reinterpret_cast<In*>(y + y_offset(at + c)), v[c]);
    }
  }

  FASTSOFTMAX_HD Packed* packed_output(std::int64_t at) const {
    return reinterpret_cast<Packed*>(y + at * static_cast<std::int64_t>(sizeof(In)));
  }

  // The one element of a reduced row.
  FASTSOFTMAX_HD void put(T value) const { A::store(reinterpret_cast<In*>(y), value); }

  // What has been read becomes scores: elements over the temperature, less the shift.
  template <class Tile>
  FASTSOFTMAX_HD void adjust(std::int64_t, int, int, Tile& z) const {
    adjust<Tile::steps * per_thread>(z.v[0]);
  }

 private:
  template <int N>
  FASTSOFTMAX_HD void adjust(T* v) const {
    if (temperature != T(1)) divide<A, N>(v, temperature);
    if (shift != T(0)) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < N; ++c) v[c] = A::sub(v[c], shift);
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
