// Rows along one axis, with any stride, as the selection sees them: elements as unsigned integers
// of which a larger one comes first.
#pragma once

#include "cuda/row_access.h"
#include "cuda/selection.h"
#include "cuda/topk_plan.h"
#include "kernels/ordered.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// What kernels are told: of `first_row` and the rows behind it.
struct TopkParameters : Parameters {
  Selection selection;
  int item;        // bytes of an element of x
  bool sums_rest;  // blocks are summed without their maxima as well
  void* maxima;    // of each thread's elements, or null
  char* scores;
  char* candidates;  // null: in shared memory
  std::int64_t capacity;
  int sorted_at_once;
  int pieces_at_once;
};

// NaN is the first of all.
template <class T>
FASTSOFTMAX_HD inline Ordered<T> key_of(T score) {
  return score == score ? ordered(score) : ~Ordered<T>{0};
}

// Floating types. Elements that are not admitted, by `where` or, where the smallest are wanted, as
// NaN, have the score -inf and the key 0. With a temperature of NaN all scores are NaN.
template <class Arithmetic, class Element>
struct ScoredRow {
  using A = Arithmetic;
  using In = Element;
  using T = typename A::T;
  using Key = Ordered<T>;
  static constexpr bool has_scores = true;
  static constexpr int per_thread = kPerThread<A>;
  static constexpr bool has_packs = true;
  using Packed = Pack<In, per_thread>;

  const char* x;
  const char* where;
  std::int64_t step;
  std::int64_t where_step;
  T temperature;
  T shift = 0;  // subtracted from every score
  bool negated;
  bool aligned_x;

  FASTSOFTMAX_HD ScoredRow(const TopkParameters& p, const Offsets& at)
      : x(p.x + at.x),
        where(p.where == nullptr ? nullptr : p.where + at.where),
        step(p.reduced.axis[0].x),
        where_step(p.reduced.axis[0].where),
        temperature(temperature_of<T>(p, at.temperature, p.selection.zero_is_one)),
        negated(p.selection.smallest),
        aligned_x(step == sizeof(In) && reinterpret_cast<std::uintptr_t>(x) % sizeof(Packed) == 0) {
  }

  // The scores of per_thread elements from `at` on; -inf in place of all but the first `inside`.
  FASTSOFTMAX_HD void read(std::int64_t at, int inside, T* v) const {
    unpack<A>(stored(at, inside), v);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c)
      v[c] = c < inside ? score_of(at + c, v[c]) : -infinity<T>();
  }
  // The same elements as they are stored,
  FASTSOFTMAX_HD Packed stored(std::int64_t at, int inside) const {
    if (aligned_x && inside >= per_thread) return *packed(at);
    Packed pack = filler();
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) pack.set(c, *reinterpret_cast<const In*>(x + (at + c) * step));
    }
    return pack;
  }
  FASTSOFTMAX_HD static Packed filler() { return Packed::lowest(); }
  FASTSOFTMAX_HD const Packed* packed(std::int64_t at) const {
    return reinterpret_cast<const Packed*>(x + at * static_cast<std::int64_t>(sizeof(In)));
  }
  // As Row does, of rows that are not negated.
  template <class Tile>
  FASTSOFTMAX_HD void adjust(std::int64_t start, int count, int s, Tile& z) const {
    if (where != nullptr) {
      for_each_pack<A, Tile::steps>(s, count, [&](int k, int at, int inside) {
        FASTSOFTMAX_UNROLL
        for (int c = 0; c < per_thread; ++c) {
          if (c < inside && where[(start + at + c) * where_step] == 0) z.v[k][c] = -infinity<T>();
        }
      });
    }
    constexpr int n = Tile::steps * per_thread;
    T* const v = z.v[0];
    if (temperature != T(1)) divide<A, n>(v, temperature);
    if (shift == T(0)) return;
    FASTSOFTMAX_UNROLL
    for (int i = 0; i < n; ++i) v[i] = A::sub(v[i], shift);
  }
  FASTSOFTMAX_HD T score(std::int64_t at) const { return score_of(at, load(at)); }

  // Of the first `inside` elements from `at` on; 0 in place of the others.
  FASTSOFTMAX_HD void keys(std::int64_t at, int inside, Key* keys) const {
    T v[per_thread];
    read(at, inside, v);
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) keys[c] = c < inside ? key_at(at + c, v[c]) : Key{0};
  }
  FASTSOFTMAX_HD Key key(std::int64_t at) const { return key_at(at, score(at)); }

  // A bound for elements of keys of which `largest` is the one for their largest score. -inf may
  // also stand for what is not admitted, and so may NaN where that is the temperature.
  FASTSOFTMAX_HD Key bound_of(Key largest) const {
    return largest <= key_of(-infinity<T>()) || temperature != temperature ? Key{0} : largest;
  }

 private:
  FASTSOFTMAX_HD T load(std::int64_t at) const {
    return A::load(reinterpret_cast<const In*>(x + at * step));
  }
  FASTSOFTMAX_HD T score_of(std::int64_t at, T v) const {
    if (negated) v = v == v ? -v : -infinity<T>();
    if (where != nullptr && where[at * where_step] == 0) v = -infinity<T>();
    if (temperature != T(1)) v = A::div(v, temperature);
    return shift == T(0) ? v : A::sub(v, shift);
  }
  FASTSOFTMAX_HD Key key_at(std::int64_t at, T score) const {
    return !(score > -infinity<T>()) && !admits(at) ? Key{0} : key_of(score);
  }
  FASTSOFTMAX_HD bool admits(std::int64_t at) const {
    if (where != nullptr) return where[at * where_step] != 0;
    const T v = load(at);
    return !negated || v == v;
  }
};

// Integers. They are selected, and nothing else.
struct IntegerRow {
  using A = F64;
  using Key = std::uint64_t;
  static constexpr bool has_scores = false;
  static constexpr int per_thread = kPerThread<A>;

  const char* x;
  std::int64_t step;
  DType dtype;
  bool negated;

  FASTSOFTMAX_HD IntegerRow(const TopkParameters& p, const Offsets& at)
      : x(p.x + at.x), step(p.reduced.axis[0].x), dtype(p.dtype), negated(p.selection.smallest) {}

  FASTSOFTMAX_HD void keys(std::int64_t at, int inside, Key* keys) const {
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      keys[c] = c < inside ? key(at + c) : 0;
    }
  }
  FASTSOFTMAX_HD Key key(std::int64_t at) const { return negated ? ~stored(at) : stored(at); }
  FASTSOFTMAX_HD Key bound_of(Key largest) const { return largest; }

 private:
  template <class Int>
  FASTSOFTMAX_HD Key as(std::int64_t at) const {
    constexpr Key sign = Int(-1) < Int(0) ? Key{1} << 63 : 0;
    return static_cast<Key>(*reinterpret_cast<const Int*>(x + at * step)) ^ sign;
  }
  FASTSOFTMAX_HD Key stored(std::int64_t at) const {
    switch (dtype) {
      case DType::i8:
        return as<std::int8_t>(at);
      case DType::i16:
        return as<std::int16_t>(at);
      case DType::i32:
        return as<std::int32_t>(at);
      case DType::i64:
        return as<std::int64_t>(at);
      case DType::u16:
        return as<std::uint16_t>(at);
      case DType::u32:
        return as<std::uint32_t>(at);
      case DType::u64:
        return as<std::uint64_t>(at);
      default:
        return as<std::uint8_t>(at);
    }
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
