// A row of the gradient, of the output and of the result, as the threads of a group read and write
// them: kPerThread neighbouring elements at a time.
#pragma once

#include "cuda/backward_parameters.h"
#include "cuda/row_access.h"

namespace fastsoftmax {
namespace FASTSOFTMAX_ISA {
namespace {

struct BackwardOffsets {
  std::int64_t grad = 0;
  std::int64_t output = 0;
  std::int64_t result = 0;
  std::int64_t temperature = 0;

  FASTSOFTMAX_HD void advance(const BackwardAxis& axis, std::int64_t i) {
    grad += i * axis.grad;
    output += i * axis.output;
    result += i * axis.result;
    temperature += i * axis.temperature;
  }
};

// Layout::columns: along one axis.
template <class Arithmetic, class Element, Layout L>
struct BackwardRow {
  using A = Arithmetic;
  using In = Element;
  using T = typename A::T;
  using At = BackwardOffsets;
  static constexpr int per_thread = kPerThread<A>;
  static constexpr bool has_packs = L == Layout::rows;
  using Packed = Pack<In, per_thread>;

  const BackwardParameters* call;
  const char* grad;
  const char* output;
  char* result;
  T temperature;
  bool sums_products;  // of grad and output, as softmax; otherwise grad alone
  bool aligned_inputs;
  bool aligned_y;

  FASTSOFTMAX_HD BackwardRow(const BackwardParameters& p, const At& at)
      : call(&p),
        grad(p.grad + at.grad),
        output(p.output + at.output),
        result(p.result + at.result),
        temperature(temperature_of<T>(p, at.temperature)),
        sums_products(p.op == RowOp::softmax),
        aligned_inputs(has_packs && is_aligned(grad) && is_aligned(output)),
        aligned_y(is_aligned(result)) {}

  // One of the inputs, as load_packs reads it; zeros in place of what is behind the row.
  template <std::int64_t At::* Operand>
  struct Input {
    using A = Arithmetic;
    using Packed = Pack<In, per_thread>;
    const BackwardRow& row;
    const char* x;
    bool aligned_x;

    FASTSOFTMAX_HD Packed stored(std::int64_t at, int inside) const {
      if (aligned_x && inside >= per_thread) return *packed(at);
      Packed pack = filler();
      FASTSOFTMAX_UNROLL
      for (int c = 0; c < per_thread; ++c) {
        if (c < inside)
          pack.set(c, *reinterpret_cast<const In*>(x + row.template offset<Operand>(at + c)));
      }
      return pack;
    }
    FASTSOFTMAX_HD static Packed filler() { return {}; }
    FASTSOFTMAX_HD const Packed* packed(std::int64_t at) const {
      return reinterpret_cast<const Packed*>(x + at * static_cast<std::int64_t>(sizeof(In)));
    }
  };
  FASTSOFTMAX_HD Input<&At::grad> grads() const { return {*this, grad, aligned_inputs}; }
  FASTSOFTMAX_HD Input<&At::output> outputs() const { return {*this, output, aligned_inputs}; }

  FASTSOFTMAX_HD void write(std::int64_t at, int inside, const T* v) const {
    if (L == Layout::rows && aligned_y && inside >= per_thread) {
      Packed pack;
      pack_up<A>(v, pack);
      *packed_output(at) = pack;
      return;
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) A::store(reinterpret_cast<In*>(result + offset<&At::result>(at + c)), v[c]);
    }
  }

  FASTSOFTMAX_HD Packed* packed_output(std::int64_t at) const {
    return reinterpret_cast<Packed*>(result + at * static_cast<std::int64_t>(sizeof(In)));
  }

 private:
  FASTSOFTMAX_HD static bool is_aligned(const char* p) {
    return reinterpret_cast<std::uintptr_t>(p) % sizeof(Packed) == 0;
  }
  template <std::int64_t At::* Operand>
  FASTSOFTMAX_HD std::int64_t offset(std::int64_t i) const {
    if constexpr (L == Layout::rows) return i * static_cast<std::int64_t>(sizeof(In));
    At at;
    if constexpr (L == Layout::columns)
      at.advance(call->reduced.axis[0], i);
    else
      at = far_offsets_of<At>(call->reduced, i);
    return at.*Operand;
  }
};

}  // namespace
}  // namespace FASTSOFTMAX_ISA
}  // namespace fastsoftmax
