// The CUDA kernels of gradients, run thread block by thread block on this CPU: the bits of the
// library.
#include "emulated_operations.h"

namespace tests {
namespace {

TEST_CASE("gradients of rows of every length have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for_each_operation<Gradient>([&](fs::DType dtype, Gradient gradient) {
    for (const std::int64_t n : lengths_around(block_of(dtype))) {
      const Inputs x = gradient.rows(random, dtype, n < 100 ? 5 : 3, n);
      gradient.options.temperature = random.chance(0.5) ? random.uniform() + 0.1 : 1.0;
      const auto any = [&] { return static_cast<Layout>(random.below(4)); };
      const Layout same = any();
      check_plans(tally, gradient, x, {Layout::rows, Layout::rows, Layout::rows}, random);
      check_plans(tally, gradient, x, {same, same, same}, random);
      check_plans(tally, gradient, x, {any(), any(), any()}, random);
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

// The device's own plans, on both sides of the lengths at which another cluster takes the row.
TEST_CASE("gradients of rows that clusters of every size keep in registers") {
  constexpr cuda::Device device{1, 227 * 1024, std::int64_t{50} << 20, 90};
  Random random(3);
  Tally tally;
  const auto check = [&](const Gradient& gradient, fs::DType dtype, std::int64_t n, int cluster) {
    const Inputs x = gradient.rows(random, dtype, 2, n);
    std::vector<Array> in(2, matrix(dtype, 2, n, Layout::rows, kMargin));
    for (std::size_t i = 0; i < in.size(); ++i) from_dense(in[i], x.elements[i]);
    Array apart = in[0];
    Array expected = in[0];
    gradient.on_cpu(in, expected, kRowAxis);
    Array& out = random.chance(0.5) ? in[static_cast<std::size_t>(random.below(2))] : apart;
    check_plan(tally, gradient, in, out, kRowAxis, expected, &random,
               [&](const cuda::BackwardCall& call) {
                 const cuda::Plan plan = cuda::make_plan(call, device);
                 CHECK(plan.cluster == cluster);
                 CHECK(plan.in_registers == (cluster > 1 || blocks_of(call) <= 24));
                 return plan;
               });
  };
  for_each_operation<Gradient>([&](fs::DType dtype, const Gradient& gradient) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const auto& [blocks, cluster] : {std::pair{24, 1}, {48, 2}, {96, 4}, {192, 8}}) {
      if (blocks > 48 && (dtype == fs::DType::f16 || dtype == fs::DType::f64)) continue;
      check(gradient, dtype, blocks * block, cluster);
      check(gradient, dtype, blocks * block + 1, cluster < 8 ? 2 * cluster : 1);
    }
  });
  CHECK(tally.failed() == 0);
}

// The first and the last block cancel; which of the others' last bits are left tells their order.
TEST_CASE("sums of blocks join in order") {
  Random random(4);
  Tally tally;
  for_each_operation<Gradient>([&](fs::DType dtype, const Gradient& gradient) {
    if (dtype == fs::DType::f16) return;  // too small a range
    const double large = dtype == fs::DType::f64 ? 0x1p106 : 0x1p53;
    for (const std::size_t blocks : {4, 7, 16}) {
      std::vector<double> grad(blocks * block_of(dtype));
      std::vector<double> y(grad.size());
      for (double& v : grad) v = random.uniform();
      for (double& v : y) v = random.uniform();
      grad.front() = large;
      grad.back() = -large;
      y.front() = y.back() = 1.0;
      const Inputs x{dtype,
                     1,
                     static_cast<std::int64_t>(grad.size()),
                     {encode(dtype, grad), encode(dtype, y)}};
      check_plans(tally, gradient, x, {Layout::rows, Layout::rows, Layout::rows}, random);
    }
  });
  CHECK(tally.failed() == 0);
}

TEST_CASE("gradients of every kind of row") {
  Random random(2);
  Tally tally;
  for_each_operation<Gradient>([&](fs::DType dtype, const Gradient& gradient) {
    for (const Pattern& of_grad : kPatterns) {
      for (const Pattern& of_y : kPatterns) {
        if (random.chance(0.8)) continue;
        const std::int64_t n = 1 + random.below(static_cast<std::int64_t>(3 * block_of(dtype)));
        const auto size = static_cast<std::size_t>(n);
        const Inputs x{dtype,
                       1,
                       n,
                       {make_row(of_grad, dtype, size, random.bits()),
                        make_row(of_y, dtype, size, random.bits())}};
        check_plans(tally, gradient, x, {Layout::rows, Layout::rows, Layout::rows}, random);
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

TEST_CASE("what gradients on a GPU do not take") {
  const Shape shape = {2, 3};
  const Shape strides = {24, 8};
  alignas(8) unsigned char memory[4][64] = {};
  const auto call = [&](fs::DType dtype, std::size_t past, const fs::BackwardOptions& options) {
    return cuda::backward_call(
        fs::backward_calls(fs::Op::softmax, {memory[0] + past, dtype, shape, strides},
                           {memory[1], dtype, shape, strides},
                           {memory[2], fs::DType::f64, shape, strides}, kRowAxis, options, true));
  };
  CHECK_NOTHROW(call(fs::DType::f64, 0, {}));
  CHECK_THROWS_WITH_AS(call(fs::DType::i64, 0, {}),
                       "grad has dtype int64 on a GPU, expected float64 or dtype=None and a "
                       "floating type",
                       fs::InvalidType);
  CHECK_THROWS_AS(call(fs::DType::f64, 4, {}), fs::InvalidArgument);
  const Shape per_row = {2, 1};
  const Shape odd = {12, 8};
  fs::BackwardOptions options;
  options.temperatures = fs::ConstView{memory[3], fs::DType::f64, per_row, odd};
  CHECK_THROWS_WITH_AS(call(fs::DType::f64, 0, options),
                       "elements of temperature must be aligned on a GPU", fs::InvalidArgument);
  options.temperatures = fs::ConstView{memory[3], fs::DType::f64, shape, strides};
  CHECK_THROWS_AS(call(fs::DType::f64, 0, options), fs::InvalidArgument);
}

}  // namespace
}  // namespace tests
