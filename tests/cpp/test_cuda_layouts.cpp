// Calls of the emulated device under its own plan: softmax, its kin and their gradients, of arrays
// that lie in memory in any way.
#include "emulated_operations.h"

TYPE_TO_STRING(tests::Forward);
TYPE_TO_STRING(tests::Gradient);

namespace tests {
namespace {

constexpr auto on(const cuda::Device& device) {
  return [&device](const auto& call) { return cuda::make_plan(call, device); };
}

// Rows that start anywhere, on devices of several sizes.
TEST_CASE_TEMPLATE("planned calls, misaligned rows", Operation, Forward, Gradient) {
  Random random(3);
  Tally tally;
  constexpr cuda::Device devices[] = {
      {132, 227 * 1024, 50 << 20, 90}, {2, 48 * 1024, 1 << 20, 75}, {1, 16 * 1024, 1 << 14, 120}};
  for_each_operation<Operation>([&](fs::DType dtype, const Operation& operation) {
    const auto somewhere = [&](const Shape& shape) {
      return strided(dtype, shape, dense_strides(shape, dtype),
                     static_cast<std::size_t>(random.below(4)) * item_bytes(dtype));
    };
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const std::int64_t n : {std::int64_t{5}, block, 3 * block - 1, 7 * block + 11}) {
      const Inputs x = operation.rows(random, dtype, n < block ? 40 : 2, n);
      for (const cuda::Device& device : devices) {
        std::vector<Array> in;
        for (const Bytes& elements : x.elements) {
          in.push_back(somewhere({x.rows, n}));
          from_dense(in.back(), elements);
        }
        Array out = somewhere(operation.result({x.rows, n}, kRowAxis));
        Array expected = out;
        operation.on_cpu(in, expected, kRowAxis);
        check_plan(tally, operation, in, out, kRowAxis, expected, nullptr, on(device));
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 4 * 4 * 3 * static_cast<long>(Operation::ops.size()));
}

// In any order of axes, some of them backwards.
Shape any_strides(Random& random, fs::DType dtype, const Shape& shape) {
  std::vector<std::size_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), std::size_t{0});
  if (random.chance(0.7)) random.shuffle(axes);
  Shape strides(shape.size());
  std::int64_t step = fs::itemsize(dtype);
  for (const std::size_t axis : axes) {
    strides[axis] = random.chance(0.2) ? -step : step;
    step *= shape[axis];
  }
  return strides;
}

// Reductions over several axes, batches of columns, more columns than a thread block has; a
// temperature for some of the axes. In the first turns arrays lie alike.
TEST_CASE_TEMPLATE("arrays of many dimensions, with temperatures in arrays", Operation, Forward,
                   Gradient) {
  Random random(4);
  Tally tally;
  constexpr cuda::Device device{4, 48 * 1024, 1 << 20, 90};
  const auto size_of = [](const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies{});
  };
  const auto check = [&](fs::DType dtype, Operation operation, const Shape& shape, int turn) {
    std::vector<int> axes;
    Shape per_row = shape;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const bool reduced = random.chance(0.5);
      if (reduced) axes.push_back(static_cast<int>(i));
      if (reduced || random.chance(0.3)) per_row[i] = 1;
    }
    const Shape alike = any_strides(random, dtype, shape);
    std::vector<Array> in;
    for (std::size_t i = 0; i < Operation::inputs; ++i) {
      in.push_back(strided(dtype, shape, turn < 2 ? alike : any_strides(random, dtype, shape)));
      from_dense(in[i], random_rows(random, dtype, 1, static_cast<std::size_t>(size_of(shape))));
    }
    const Shape of_result = operation.result(shape, axes);
    Array out = strided(
        dtype, of_result,
        turn == 0 && of_result == shape ? alike : any_strides(random, dtype, of_result), kMargin);
    std::vector<double> temperatures(static_cast<std::size_t>(size_of(per_row)));
    for (double& t : temperatures) t = random.chance(0.2) ? 1.0 : random.uniform() + 0.1;
    const Shape steps = dense_strides(per_row, fs::DType::f64);
    if (turn > 0)
      operation.options.temperatures =
          fs::ConstView{temperatures.data(), fs::DType::f64, per_row, steps};
    Array expected = out;
    operation.on_cpu(in, expected, axes);
    check_plan(tally, operation, in, out, axes, expected, &random, on(device));
  };
  for_each_operation<Operation>([&](fs::DType dtype, const Operation& operation) {
    for (const Shape& shape : {Shape{2, 19, 7}, Shape{2, 3, 2, 20}, Shape{4, 1, 6}, Shape{1}})
      for (int turn = 0; turn < 5; ++turn) check(dtype, operation, shape, turn);
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 4 * 4 * 5 * static_cast<long>(Operation::ops.size()));
}

}  // namespace
}  // namespace tests
