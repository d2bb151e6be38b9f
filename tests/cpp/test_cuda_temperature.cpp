// A temperature for each row on an emulated device.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include <cmath>
#include <limits>

#include "cuda/backward_device_call.h"
#include "cuda/device_call.h"
#include "emulated_calls.h"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

constexpr cuda::Device kDevice{4, 48 * 1024, 1 << 20, 90};
constexpr std::array kAxes = {1};

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
  const Shape per_row = {4, 1};
  const double numbers[] = {1.0, 2.0, 3.0, 4.0};
  const Shape steps = {8, 8};
  for (const fs::DType dtype : kFloatTypes) {
    for (const fs::Op op : kOps) {
      for (int type = 0; type < static_cast<int>(fs::DType::boolean); ++type) {
        const auto of_temperatures = static_cast<fs::DType>(type);
        const auto n = random.chance(0.5) ? 1 + random.below(200) : 1000 + random.below(1500);
        const auto layout = static_cast<Layout>(random.below(4));
        Array in = matrix(dtype, 4, n, layout);
        from_dense(in, random_rows(random, dtype, 4, static_cast<std::size_t>(n)));
        Array expected = matrix(dtype, 4, op == fs::Op::logsumexp ? 1 : n, layout);
        Array out = expected;
        fs::Options options;
        options.temperatures = fs::ConstView{numbers, fs::DType::f64, per_row, steps};
        apply(op, in.view(), expected.out(), kAxes, options);
        const Bytes values = encode(of_temperatures, numbers);
        const Shape own_steps = dense_strides(per_row, of_temperatures);
        options.temperatures = fs::ConstView{values.data(), of_temperatures, per_row, own_steps};
        const cuda::RowsCall call =
            cuda::rows_call(fs::make_call(op, in.view(), out.out(), kAxes, options, true, true));
        const cuda::Plan plan = cuda::make_plan(call, kDevice);
        EmulatedLauncher launcher{&random};
        launch(plan, call, launcher);
        tally.same(dtype, to_dense(expected), to_dense(out), [&] {
          return describe(op, dtype, fs::Algorithm::automatic) + " by " +
                 std::string(fs::name(of_temperatures)) + ", " + cuda::name(plan.path);
        });
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 4 * 3 * 12);
}

// Rows are NaN whatever they hold; their neighbours are not touched.
TEST_CASE("a temperature on the device that is none makes its row NaN") {
  const double inf = std::numeric_limits<double>::infinity();
  const Shape shape = {8, 70};
  const Shape per_row = {8, 1};
  const Shape steps = {8, 8};
  const std::vector<double> temperatures = {1.0, 0.0, -1.0, inf, -inf, std::nan(""), 1e-60, 1e60};
  Random random(8);
  for (const fs::Op op : kOps) {
    for (const fs::EmptyRow empty : {fs::EmptyRow::nan, fs::EmptyRow::zero}) {
      std::vector<float> x(8 * 70);
      for (float& v : x) v = static_cast<float>(random.normal());
      for (std::size_t i = 0; i < 70; ++i) x[3 * 70 + i] = -std::numeric_limits<float>::infinity();
      const Array in = dense(fs::DType::f32, shape, bytes_of(x));
      const std::int64_t kept = op == fs::Op::logsumexp ? 1 : 70;
      Array out = dense(fs::DType::f32, {8, kept});
      fs::Options options;
      options.empty = empty;
      options.temperatures = fs::ConstView{temperatures.data(), fs::DType::f64, per_row, steps};
      const cuda::RowsCall call =
          cuda::rows_call(fs::make_call(op, in.view(), out.out(), kAxes, options, true, true));
      EmulatedLauncher launcher;
      launch(cuda::make_plan(call, kDevice), call, launcher);
      std::vector<float> result(out.bytes.size() / sizeof(float));
      std::memcpy(result.data(), out.bytes.data(), out.bytes.size());
      for (std::size_t i = 0; i < result.size(); ++i)
        CHECK(std::isnan(result[i]) == (i >= static_cast<std::size_t>(kept)));
      if (op == fs::Op::logsumexp) continue;

      Array gradient = dense(fs::DType::f32, shape);
      fs::BackwardOptions backward;
      backward.temperatures = options.temperatures;
      const cuda::BackwardCall call_back = cuda::backward_call(
          fs::backward_calls(op, in.view(), in.view(), gradient.out(), kAxes, backward, true));
      launch(cuda::make_plan(call_back, kDevice), call_back, launcher);
      std::memcpy(result.data(), gradient.bytes.data(), gradient.bytes.size());
      for (std::size_t i = 0; i < result.size(); ++i) CHECK(std::isnan(result[i]) == (i >= 70));
    }
  }
}

}  // namespace
}  // namespace tests
