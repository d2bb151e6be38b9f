// A temperature for each row on an emulated device.
#include <cmath>
#include <limits>

#include "emulated_operations.h"

namespace tests {
namespace {

constexpr cuda::Device kDevice{4, 48 * 1024, 1 << 20, 90};
const auto on_device = [](const auto& call) { return cuda::make_plan(call, kDevice); };

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// softmax, log_softmax and logsumexp of four rows, in layouts that take every path.
TEST_CASE("softmax with a temperature for each row, of any type") {
  Random random(7);
  Tally tally;
  const std::vector<double> numbers = {1.0, 2.0, 3.0, 4.0};
  const Array as_doubles = dense(fs::DType::f64, {4, 1}, encode(fs::DType::f64, numbers));
  for_each_operation<Forward>([&](fs::DType dtype, Forward forward) {
    for (int type = 0; type < static_cast<int>(fs::DType::boolean); ++type) {
      const auto of_temperatures = static_cast<fs::DType>(type);
      const auto n = random.chance(0.5) ? 1 + random.below(200) : 1000 + random.below(1500);
      const auto layout = static_cast<Layout>(random.below(4));
      std::vector<Array> in = {matrix(dtype, 4, n, layout)};
      from_dense(in[0], forward.rows(random, dtype, 4, n).elements[0]);
      const Shape shape = forward.result({4, n}, kRowAxis);
      Array out = matrix(dtype, shape[0], shape[1], layout, kMargin);
      Array expected = out;
      forward.options.temperatures = as_doubles.view();
      forward.on_cpu(in, expected, kRowAxis);
      const Array temperatures = dense(of_temperatures, {4, 1}, encode(of_temperatures, numbers));
      forward.options.temperatures = temperatures.view();
      CAPTURE(fs::name(of_temperatures));
      check_plan(tally, forward, in, out, kRowAxis, expected, &random, on_device);
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 4 * 3 * 12);
}

// Rows are NaN whatever they hold; their neighbours are not touched.
TEST_CASE("a temperature on the device that is none makes its row NaN") {
  const double inf = std::numeric_limits<double>::infinity();
  const Array temperatures =
      dense(fs::DType::f64, {8, 1},
            bytes_of(std::vector<double>{1.0, 0.0, -1.0, inf, -inf, std::nan(""), 1e-60, 1e60}));
  Random random(8);
  std::vector<float> x(8 * 70);
  const auto run = [&](const auto& operation) {
    const std::vector<Array> in(operation.inputs, dense(fs::DType::f32, {8, 70}, bytes_of(x)));
    Array out = dense(fs::DType::f32, operation.result({8, 70}, kRowAxis));
    const auto call = operation.call(in, out, kRowAxis);
    EmulatedLauncher launcher;
    launch(on_device(call), call, launcher);
    const std::size_t kept = static_cast<std::size_t>(out.shape[1]);
    for (std::size_t i = 0; i < 8 * kept; ++i)
      CHECK(std::isnan(load<float>(&out.bytes[i * sizeof(float)])) == (i >= kept));
  };
  for (const fs::Op op : kOps) {
    for (const fs::EmptyRow empty : {fs::EmptyRow::nan, fs::EmptyRow::zero}) {
      for (float& v : x) v = static_cast<float>(random.normal());
      for (std::size_t i = 0; i < 70; ++i) x[3 * 70 + i] = -std::numeric_limits<float>::infinity();
      Forward forward{op};
      forward.options.empty = empty;
      forward.options.temperatures = temperatures.view();
      run(forward);
      if (op == fs::Op::logsumexp) continue;
      Gradient gradient{op};
      gradient.options.temperatures = temperatures.view();
      run(gradient);
    }
  }
}

}  // namespace
}  // namespace tests
