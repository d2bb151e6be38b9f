// softmax, its kin and their gradients as tests of the emulated device have them: what the library
// makes of arrays, and the call on a device that must come to the same bits.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cuda/backward_device_call.h"
#include "cuda/device_call.h"
#include "emulated_plans.h"
#include "fastsoftmax/backward.hpp"
#include "run.h"

namespace tests {

// Rows of n elements for each input of an operation, in dense order.
struct Inputs {
  fs::DType dtype;
  std::int64_t rows;
  std::int64_t n;
  std::vector<Bytes> elements;
};

struct Forward {
  static constexpr std::size_t inputs = 1;
  static constexpr auto ops = kOps;

  fs::Op op;
  fs::Options options{};

  Shape result(Shape shape, std::span<const int> axes) const {
    if (op == fs::Op::logsumexp)
      for (const int axis : axes) shape[static_cast<std::size_t>(axis)] = 1;
    return shape;
  }
  bool in_place() const { return op != fs::Op::logsumexp; }
  void on_cpu(const std::vector<Array>& in, Array& out, std::span<const int> axes) const {
    apply(op, in[0].view(), out.out(), axes, options);
  }
  cuda::RowsCall call(const std::vector<Array>& in, Array& out, std::span<const int> axes) const {
    return cuda::rows_call(fs::make_call(op, in[0].view(), out.out(), axes, options, true, true));
  }
  Inputs rows(Random& random, fs::DType dtype, std::int64_t rows, std::int64_t n) const {
    return {
        dtype,
        rows,
        n,
        {random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n))}};
  }
};

// Of the gradient of what `op` gave and of its output.
struct Gradient {
  static constexpr std::size_t inputs = 2;
  static constexpr std::array ops = {fs::Op::softmax, fs::Op::log_softmax};

  fs::Op op;
  fs::BackwardOptions options{};

  Shape result(Shape shape, std::span<const int>) const { return shape; }
  bool in_place() const { return true; }
  void on_cpu(const std::vector<Array>& in, Array& out, std::span<const int> axes) const {
    const auto backward = op == fs::Op::softmax ? fs::softmax_backward : fs::log_softmax_backward;
    backward(in[0].view(), in[1].view(), out.out(), axes, options);
  }
  cuda::BackwardCall call(const std::vector<Array>& in, Array& out,
                          std::span<const int> axes) const {
    return cuda::backward_call(
        fs::backward_calls(op, in[0].view(), in[1].view(), out.out(), axes, options, true));
  }
  // Some outputs are none.
  Inputs rows(Random& random, fs::DType dtype, std::int64_t rows, std::int64_t n) const {
    const Forward forward{op};
    Inputs x = forward.rows(random, dtype, rows, n);
    Bytes y = forward.rows(random, dtype, rows, n).elements[0];
    x.elements.push_back(random.chance(0.7) ? one_by_one(op, dtype, y, static_cast<std::size_t>(n))
                                            : std::move(y));
    return x;
  }
};

// f(dtype, operation) for all of a kind.
template <class Operation, class F>
void for_each_operation(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : Operation::ops) f(dtype, Operation{op});
}

inline constexpr std::array kRowAxis = {1};
inline constexpr std::size_t kMargin = 32;  // keeps what is aligned to 16 bytes so

// Runs the operation under a plan, or under the one that plan_of makes of the call.
template <class Operation, class PlanOf>
void check_plan(Tally& tally, const Operation& operation, const std::vector<Array>& in, Array& out,
                std::span<const int> axes, const Array& expected, Random* order, PlanOf&& plan_of) {
  const auto call = operation.call(in, out, axes);
  const cuda::Plan plan = plan_of(call);
  EmulatedLauncher launcher{order};
  launch(plan, call, launcher);
  const auto what = [&] {
    return describe(operation.op, out.dtype, fs::Algorithm::automatic) + " n " +
           std::to_string(call.length) + ", " + cuda::name(plan.path) + " of " +
           std::to_string(plan.threads) + " threads, clusters of " + std::to_string(plan.cluster) +
           ", " + std::to_string(plan.slots) + (plan.bulk ? " bulk slots" : " slots");
  };
  tally.same(out.dtype, to_dense(expected), to_dense(out), what);
  if (!margins_kept(out)) FAIL_CHECK(what() << ": wrote beside the array");
}

// Under every plan, for matrices of these layouts, the result's last; to an array apart, or in
// place of an input that lies as the result does.
template <class Operation>
void check_plans(Tally& tally, const Operation& operation, const Inputs& x,
                 const std::vector<Layout>& layouts, Random& random) {
  const auto as_matrix = [&](const Shape& shape, Layout layout) {
    return matrix(x.dtype, shape[0], shape[1], layout, kMargin);
  };
  const Shape shape = {x.rows, x.n};
  const Shape of_result = operation.result(shape, kRowAxis);
  std::vector<Array> in;
  for (std::size_t i = 0; i < Operation::inputs; ++i) {
    in.push_back(as_matrix(shape, layouts[i]));
    from_dense(in.back(), x.elements[i]);
  }
  const Array apart = as_matrix(of_result, layouts.back());
  Array expected = apart;
  operation.on_cpu(in, expected, kRowAxis);
  for (const cuda::Plan& plan : plans_of(operation.call(in, expected, kRowAxis))) {
    std::vector<Array> given = in;
    Array result = apart;
    Array* out = &result;
    for (std::size_t i = 0; i < Operation::inputs; ++i) {
      if (operation.in_place() && layouts[i] == layouts.back() && random.chance(0.3))
        out = &given[i];
    }
    check_plan(tally, operation, given, *out, kRowAxis, expected,
               random.chance(0.5) ? &random : nullptr, [&](const auto&) { return plan; });
  }
}

}  // namespace tests
