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
  using Packed = Pack<In, per_thread>;

  const BackwardParameters* call;
  const char* grad;
  const char* output;
  char* result;
  T temperature;
  bool sums_products;  // of grad and output, as softmax; otherwise grad alone
  bool aligned_inputs;
  bool aligned_result;

  FASTSOFTMAX_HD BackwardRow(const BackwardParameters& p, const At& at)
      : call(&p),
        grad(p.grad + at.grad),
        output(p.output + at.output),
        result(p.result + at.result),
        temperature(temperature_of<T>(p, at.temperature)),
        sums_products(p.op == RowOp::softmax),
        aligned_inputs(is_aligned(grad) && is_aligned(output)),
        aligned_result(is_aligned(result)) {}

  // per_thread elements from `at` on; zeros in place of all but the first `inside`.
  FASTSOFTMAX_HD void read_grad(std::int64_t at, int inside, Packed& pack) const {
    read<&At::grad>(grad, at, inside, pack);
  }
  FASTSOFTMAX_HD void read_output(std::int64_t at, int inside, Packed& pack) const {
    read<&At::output>(output, at, inside, pack);
  }

  FASTSOFTMAX_HD void write(std::int64_t at, int inside, const T* v) const {
    if (L == Layout::rows && aligned_result && inside >= per_thread) {
      Packed pack;
      pack_up<A>(v, pack);
      *reinterpret_cast<Packed*>(result + at * sizeof(In)) = pack;
      return;
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      if (c < inside) A::store(reinterpret_cast<In*>(result + offset<&At::result>(at + c)), v[c]);
    }
  }

 private:
  FASTSOFTMAX_HD static bool is_aligned(const char* p) {
    return reinterpret_cast<std::uintptr_t>(p) % sizeof(Packed) == 0;
  }
  template <std::int64_t At::* Operand>
  FASTSOFTMAX_HD void read(const char* row, std::int64_t at, int inside, Packed& pack) const {
    if (L == Layout::rows && aligned_inputs && inside >= per_thread) {
      pack = *reinterpret_cast<const Packed*>(row + at * sizeof(In));
      return;
    }
    FASTSOFTMAX_UNROLL
    for (int c = 0; c < per_thread; ++c) {
      pack.set(c, In{});
      if (c < inside) pack.set(c, *reinterpret_cast<const In*>(row + offset<Operand>(at + c)));
    }
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
