// What kernels for losses read and write: scores, targets, coefficients, numbers of rows.
#pragma once

#include "cuda/loss_parameters.h"
#include "cuda/tile_sum.h"
#include "kernels/loss_formula.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

// Of a row whose target is no class.
inline constexpr std::int64_t kNoClass = -3;

FASTSOFTMAX_HD inline double floating_at(const char* p, DType dtype) {
  switch (dtype) {
    case DType::f64:
      return *reinterpret_cast<const double*>(p);
    case DType::f32:
      return static_cast<double>(*reinterpret_cast<const float*>(p));
    case DType::f16:
      return static_cast<double>(to_f32(*reinterpret_cast<const f16*>(p)));
    default:
      return static_cast<double>(to_f32(*reinterpret_cast<const bf16*>(p)));
  }
}

// What no int64 holds becomes the largest one.
FASTSOFTMAX_HD inline std::int64_t integer_at(const char* p, DType dtype) {
  switch (dtype) {
    case DType::i8:
      return *reinterpret_cast<const std::int8_t*>(p);
    case DType::i16:
      return *reinterpret_cast<const std::int16_t*>(p);
    case DType::i32:
      return *reinterpret_cast<const std::int32_t*>(p);
    case DType::i64:
      return *reinterpret_cast<const std::int64_t*>(p);
    case DType::u8:
      return *reinterpret_cast<const std::uint8_t*>(p);
    case DType::u16:
      return *reinterpret_cast<const std::uint16_t*>(p);
    case DType::u32:
      return *reinterpret_cast<const std::uint32_t*>(p);
    default: {
      const std::uint64_t v = *reinterpret_cast<const std::uint64_t*>(p);
      return static_cast<std::int64_t>(v < INT64_MAX ? v : INT64_MAX);
    }
  }
}

FASTSOFTMAX_HD inline const char* element_at(const RowArray& array, std::int64_t row) {
  return array.data + far_offsets_of(array.axes, row).x;
}

FASTSOFTMAX_HD inline bool has_probabilities(const LossParameters& call) {
  static_assert(DType::f16 < DType::i8 && DType::bf16 < DType::i8 && DType::f32 < DType::i8 &&
                DType::f64 < DType::i8);
  return call.targets.dtype < DType::i8;
}

// The class, or kNoTarget, kIgnored, kNoClass.
FASTSOFTMAX_HD inline std::int64_t target_of(const LossParameters& call, std::int64_t row) {
  if (has_probabilities(call)) return kNoTarget;
  const std::int64_t target = integer_at(element_at(call.targets, row), call.targets.dtype);
  if (target == call.ignore_index) return kIgnored;
  return is_class(target, call.length) ? target : kNoClass;
}

FASTSOFTMAX_HD inline double class_weight(const LossParameters& call, std::int64_t i) {
  return floating_at(call.weight + i * call.weight_step, call.weight_dtype);
}
// Of a row with this target.
FASTSOFTMAX_HD inline double weight_of(const LossParameters& call, std::int64_t target) {
  return call.weight == nullptr || target < 0 ? 1.0 : class_weight(call, target);
}

FASTSOFTMAX_HD inline LossWeights weights_of(const LossParameters& call, std::int64_t row,
                                             std::int64_t target) {
  const double weight = weight_of(call, target);
  double upstream = call.weights.upstream;
  if (call.upstream.data != nullptr)
    upstream = floating_at(element_at(call.upstream, row), call.upstream.dtype);
  const double scale = call.reduction == RowSum::mean ? 1.0 / *call.divisor : 1.0;
  return {call.weights.target * weight, call.weights.coefficients, call.weights.z * weight,
          upstream * scale};
}

// Rows as they lie, columns, or any (Layout::gathered): along one axis, soft-capped, with
// coefficients of their own.
template <class Arithmetic, class Element, Layout L>
struct LossRow {
  using A = Arithmetic;
  using In = Element;
  using T = typename A::T;
  static constexpr int per_thread = kPerThread<A>;
  static constexpr bool is_any = L == Layout::gathered;
  static constexpr bool has_packs = L == Layout::rows;
  using Packed = Pack<In, per_thread>;

  const LossParameters* call;
  Row<A, In, is_any ? Layout::columns : L> row;
  const char* probabilities;
  T softcap;
  T shift = 0;  // subtracted from every score
  bool aligned_x;
  bool aligned_y;

  FASTSOFTMAX_HD LossRow(const LossParameters& p, const Offsets& at, std::int64_t index)
      : call(&p),
        row(p, at),
        probabilities(is_any && has_probabilities(p) ? element_at(p.targets, index) : nullptr),
        softcap(static_cast<T>(p.softcap)),
        aligned_x(row.aligned_x),
        aligned_y(row.aligned_y) {
    // Constants to the compiler.
    row.temperature = T(1);
    row.where = nullptr;
  }

  // As Row does.
  FASTSOFTMAX_HD void read(std::int64_t at, int inside, T* v) const {
    row.read(at, inside, v);
    if (is_any && softcap != T(0)) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c)
        if (c < inside) v[c] = soft_capped<A>(v[c], softcap);
    }
    if (shift != T(0)) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) v[c] = A::sub(v[c], shift);
    }
  }
  FASTSOFTMAX_HD Packed stored(std::int64_t at, int inside) const { return row.stored(at, inside); }
  FASTSOFTMAX_HD static Packed filler() { return Packed::lowest(); }
  FASTSOFTMAX_HD const Packed* packed(std::int64_t at) const { return row.packed(at); }
  FASTSOFTMAX_HD Packed* packed_output(std::int64_t at) const { return row.packed_output(at); }
  template <class Tile>
  FASTSOFTMAX_HD void adjust(std::int64_t, int, int, Tile& z) const {
    if (shift == T(0)) return;
    FASTSOFTMAX_UNROLL
    for (int k = 0; k < Tile::steps; ++k) {
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) z.v[k][c] = A::sub(z.v[k][c], shift);
    }
  }
  FASTSOFTMAX_HD void write(std::int64_t at, int inside, const T* v) const {
    row.write(at, inside, v);
  }

  // 0 where there is no such element.
  FASTSOFTMAX_HD double score(std::int64_t i) const {
    if (i < 0) return 0.0;
    T v[per_thread];
    read(i, 1, v);
    return static_cast<double>(v[0]);
  }
  // What it is less the row's shift, had before there was one.
  FASTSOFTMAX_HD double shifted_score(std::int64_t i, double score) const {
    return i < 0 || shift == T(0) ? score
                                  : static_cast<double>(A::sub(static_cast<T>(score), shift));
  }

  // k_i.
  FASTSOFTMAX_HD T coefficient(std::int64_t i) const {
    T k = T(1);
    if (probabilities != nullptr)
      k = static_cast<T>(floating_at(probabilities + i * call->target_step, call->targets.dtype));
    if (call->share != 1.0 || call->spread != 0.0)
      k = smoothed(k, static_cast<T>(call->share), static_cast<T>(call->spread));
    if (call->weight != nullptr) k = k * static_cast<T>(class_weight(*call, i));
    return k;
  }
};

// An f32 or f64 number of a row. Converted on a device, NaN has other bits.
template <class T>
FASTSOFTMAX_HD inline void put_number(char* to, std::int64_t row, double number) {
  const T v = static_cast<T>(number);
  reinterpret_cast<T*>(to)[row] = v == v ? v : static_cast<T>(__builtin_nan(""));
}

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
