// The CUDA kernels of gradients, run thread block by thread block on this CPU: the bits of the
// library.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/backward_device_call.h"
#include "dispatch.h"
#include "emulated_calls.h"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;
using cuda::Path;

constexpr std::array kBackward = {fs::Op::softmax, fs::Op::log_softmax};

// A plan for every path that can do the call, thread blocks kept small.
std::vector<cuda::Plan> plans_of(const cuda::BackwardCall& call) {
  std::vector<cuda::Plan> plans;
  const auto add = [&](Path path, int groups, std::int64_t shared_bytes) {
    cuda::Plan plan{};
    plan.path = path;
    plan.direct = call.layout == cuda::Layout::rows;
    plan.threads = groups * cuda::kGroup;
    plan.blocks = 2;
    plan.shared_bytes = static_cast<int>(shared_bytes);
    plans.push_back(plan);
    return &plans.back();
  };
  if (call.layout == cuda::Layout::columns) {
    add(Path::columns, cuda::kColumnThreads / cuda::kGroup, cuda::kColumnSharedBytes);
    return plans;
  }
  const auto block = static_cast<std::int64_t>(block_of(call.dtype));
  const std::int64_t blocks = (call.length + block - 1) / block;
  const std::int64_t lanes = block / fs::kernels::kTermsPerLane;
  if (blocks <= 1 && call.layout == cuda::Layout::rows) {
    for (const int steps : {1, 4, 16})
      if (call.length <= steps * lanes) add(Path::short_rows, 2, 0)->steps = steps;
  }
  for (const int groups : {2, 4}) {
    const int desk = cuda::gradient_desk_bytes(groups);
    add(Path::reread_rows, groups, desk);
    if (call.layout != cuda::Layout::rows) continue;
    if (blocks <= groups) add(Path::register_rows, groups, desk);
    add(Path::shared_rows, groups,
        desk + 2 * cuda::kept_row_bytes(call.length, fs::itemsize(call.dtype)));
    cuda::Plan* const parts = add(Path::parts, groups, 0);
    parts->part_blocks = groups == 2 ? 1 : 3;
    parts->rows_in_flight = groups == 2 ? 2 : 1;
  }
  return plans;
}

void on_cpu(fs::Op op, const fs::ConstView& grad, const fs::ConstView& y, const fs::View& out,
            std::span<const int> axes, const fs::BackwardOptions& options) {
  (op == fs::Op::softmax ? fs::softmax_backward : fs::log_softmax_backward)(grad, y, out, axes,
                                                                            options);
}

std::string case_name(fs::Op op, const cuda::BackwardCall& call, const cuda::Plan& plan) {
  return describe(op, call.dtype, fs::Algorithm::automatic) + " n " + std::to_string(call.length) +
         ", " + cuda::name(plan.path) + " of " + std::to_string(plan.threads) + " threads";
}

struct Rows {
  fs::Op op;
  fs::DType dtype;
  std::int64_t rows;
  std::int64_t n;
  Bytes grad;
  Bytes y;

  Array lay_out(const Bytes& elements, Layout layout) const {
    Array a = matrix(dtype, rows, n, layout);
    from_dense(a, elements);
    return a;
  }
};

// Gradients of every kind of row, and what the operation makes of others.
Rows make_rows(Random& random, fs::Op op, fs::DType dtype, std::int64_t rows, std::int64_t n) {
  Rows made{op, dtype, rows, n, {}, {}};
  const auto size = static_cast<std::size_t>(n);
  made.grad = random_rows(random, dtype, static_cast<std::size_t>(rows), size);
  made.y = random_rows(random, dtype, static_cast<std::size_t>(rows), size);
  // Some outputs are none.
  if (random.chance(0.7)) made.y = one_by_one(op, dtype, made.y, size);
  return made;
}

constexpr std::array kAxes = {1};

// All plans against the library, to an array apart or to one of the two.
void check(Tally& tally, const Rows& x, Layout of_grad, Layout of_y,
           const fs::BackwardOptions& options, Random& random) {
  const Array grad = x.lay_out(x.grad, of_grad);
  const Array y = x.lay_out(x.y, of_y);
  Array expected = matrix(x.dtype, x.rows, x.n, Layout::rows);
  on_cpu(x.op, grad.view(), y.view(), expected.out(), kAxes, options);
  const auto call_of = [&](const Array& g, const Array& o, Array& to) {
    return cuda::backward_call(
        fs::backward_calls(x.op, g.view(), o.view(), to.out(), kAxes, options, true));
  };
  Array apart = matrix(x.dtype, x.rows, x.n, of_y);
  for (const cuda::Plan& plan : plans_of(call_of(grad, y, apart))) {
    EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
    Array g = grad;
    Array o = y;
    Array out = apart;
    Array& to = of_grad == of_y && random.chance(0.3) ? g : random.chance(0.3) ? o : out;
    const cuda::BackwardCall call = call_of(g, o, to);
    launch(plan, call, launcher);
    tally.same(x.dtype, to_dense(expected), to_dense(to), [&] {
      return case_name(x.op, call, plan) + " " + name(of_grad) + " " + name(of_y);
    });
  }
}

std::vector<std::int64_t> lengths_around(std::size_t block) {
  const auto b = static_cast<std::int64_t>(block);
  const std::int64_t lanes = b / 16;
  return {
      1,     2, 3,     15,    17,        lanes - 1, lanes,    lanes + 1, 4 * lanes, 4 * lanes + 1,
      b - 1, b, b + 1, 2 * b, 2 * b + 3, 4 * b + 1, 5 * b - 7};
}

template <class F>
void for_each_op(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kBackward) f(dtype, op);
}

TEST_CASE("gradients of rows of every length have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const std::int64_t n : lengths_around(block_of(dtype))) {
      const Rows x = make_rows(random, op, dtype, n < 100 ? 5 : 3, n);
      fs::BackwardOptions options;
      if (random.chance(0.5)) options.temperature = random.uniform() + 0.1;
      check(tally, x, Layout::rows, Layout::rows, options, random);
      const auto layout = static_cast<Layout>(random.below(4));
      check(tally, x, layout, layout, options, random);
      check(tally, x, layout, static_cast<Layout>(random.below(4)), options, random);
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

TEST_CASE("gradients of every kind of row") {
  Random random(2);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const Pattern& of_grad : kPatterns) {
      for (const Pattern& of_y : kPatterns) {
        if (random.chance(0.8)) continue;
        const std::int64_t n = 1 + random.below(static_cast<std::int64_t>(3 * block_of(dtype)));
        const auto size = static_cast<std::size_t>(n);
        const Rows x{op,
                     dtype,
                     1,
                     n,
                     make_row(of_grad, dtype, size, random.bits()),
                     make_row(of_y, dtype, size, random.bits())};
        check(tally, x, Layout::rows, Layout::rows, {}, random);
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

// The doubles that results are formed from, which tell more than results do.
TEST_CASE("sums of blocks") {
  Random random(3);
  const fs::kernels::KernelTable& reference = fs::kernels_in_use();
  const auto compare = [&](auto a, auto element, const fs::kernels::BackwardKernels& kernels,
                           fs::kernels::RowOp op) {
    using A = decltype(a);
    using T = decltype(element);
    constexpr std::int64_t blocks = 5;
    const std::int64_t length = (blocks - 1) * A::block + 3 * A::lanes + 7;
    std::vector<T> grad(static_cast<std::size_t>(length));
    std::vector<T> y(static_cast<std::size_t>(length));
    for (T& v : grad) v = static_cast<T>(random.normal());
    for (T& v : y) v = static_cast<T>(random.normal());
    fs::kernels::BackwardJob job{};
    job.rows.op = op;
    job.rows.x = grad.data();
    job.output = y.data();
    job.rows.rows = 1;
    job.rows.length = length;
    fs::kernels::SumPair expected[blocks];
    kernels.sum(job, 0, blocks, expected);
    const fs::kernels::SumPair joined = kernels.join(expected, blocks);

    fs::kernels::SumPair sums[blocks];
    fs::kernels::SumPair total;
    cuda::BackwardParameters call{};
    call.op = op;
    call.temperature = 1.0;
    call.grad = reinterpret_cast<const char*>(grad.data());
    call.output = reinterpret_cast<const char*>(y.data());
    call.rows = 1;
    call.length = length;
    call.part_blocks = 2;
    call.sums = sums;
    call.totals = &total;
    EmulatedLauncher launcher{&random};
    launcher.launch<cuda::SumGradientParts<A, T>>(3, 32, 0, call);
    launcher.launch<cuda::JoinGradientParts<A>>(1, 32, cuda::kJoinSharedBytes, call);
    for (int b = 0; b < blocks; ++b) {
      CHECK(sums[b].hi == expected[b].hi);
      CHECK(sums[b].lo == expected[b].lo);
    }
    CHECK(total.hi == joined.hi);
    CHECK(total.lo == joined.lo);
  };
  for (const auto op : {fs::kernels::RowOp::softmax, fs::kernels::RowOp::log_softmax}) {
    compare(cuda::F32{}, float{}, reference.backward.f32, op);
    compare(cuda::F64{}, double{}, reference.backward.f64, op);
  }
}

// More blocks than the join fetches at a time.
TEST_CASE("a row of many blocks") {
  Random random(4);
  Tally tally;
  const auto n = static_cast<std::int64_t>(block_of(fs::DType::f64)) * 70 + 1;
  for (const fs::Op op : kBackward) {
    const Rows x = make_rows(random, op, fs::DType::f64, 1, n);
    const Array grad = x.lay_out(x.grad, Layout::rows);
    const Array y = x.lay_out(x.y, Layout::rows);
    Array expected = matrix(x.dtype, 1, n, Layout::rows);
    Array out = expected;
    on_cpu(op, grad.view(), y.view(), expected.out(), kAxes, {});
    const cuda::BackwardCall call = cuda::backward_call(
        fs::backward_calls(op, grad.view(), y.view(), out.out(), kAxes, {}, true));
    cuda::BackwardParameters parameters{};
    static_cast<cuda::BackwardCall&>(parameters) = call;
    std::vector<fs::kernels::SumPair> sums(72);
    parameters.sums = sums.data();
    parameters.totals = sums.data() + 71;
    parameters.part_blocks = 36;
    EmulatedLauncher launcher{&random};
    launcher.launch<cuda::SumGradientParts<cuda::F64, double>>(2, 64, 0, parameters);
    launcher.launch<cuda::JoinGradientParts<cuda::F64>>(1, 32, cuda::kJoinSharedBytes, parameters);
    launcher.launch<cuda::WriteGradientParts<cuda::F64, double>>(2, 64, 0, parameters);
    tally.same(x.dtype, to_dense(expected), to_dense(out), [&] { return std::string("parts"); });
  }
  CHECK(tally.failed() == 0);
}

// What the plan makes of them on devices of several sizes; rows that start anywhere.
TEST_CASE("planned gradients, misaligned rows") {
  Random random(5);
  Tally tally;
  constexpr cuda::Device devices[] = {
      {132, 227 * 1024, 50 << 20, 90}, {2, 48 * 1024, 1 << 20, 75}, {1, 16 * 1024, 1 << 14, 75}};
  for_each_op([&](fs::DType dtype, fs::Op op) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const std::int64_t n : {std::int64_t{5}, block, 3 * block - 1, 7 * block + 11}) {
      const std::int64_t rows = n < block ? 40 : 2;
      const Rows x = make_rows(random, op, dtype, rows, n);
      Array expected = matrix(dtype, rows, n, Layout::rows);
      on_cpu(op, x.lay_out(x.grad, Layout::rows).view(), x.lay_out(x.y, Layout::rows).view(),
             expected.out(), kAxes, {});
      const auto somewhere = [&] {
        return strided(dtype, {rows, n}, dense_strides({rows, n}, dtype),
                       static_cast<std::size_t>(random.below(4)) * item_bytes(dtype));
      };
      for (const cuda::Device& device : devices) {
        Array grad = somewhere();
        Array y = somewhere();
        Array out = somewhere();
        from_dense(grad, x.grad);
        from_dense(y, x.y);
        const cuda::BackwardCall call = cuda::backward_call(
            fs::backward_calls(op, grad.view(), y.view(), out.out(), kAxes, {}, true));
        const cuda::Plan plan = cuda::make_plan(call, device);
        EmulatedLauncher launcher;
        launch(plan, call, launcher);
        tally.same(dtype, to_dense(expected), to_dense(out),
                   [&] { return case_name(op, call, plan); });
      }
    }
  });
  CHECK(tally.failed() == 0);
}

// In any order of axes, some of them backwards.
Array any_array(Random& random, fs::DType dtype, const Shape& shape) {
  Shape order(shape.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (random.chance(0.7)) {
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1],
                order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
  }
  Shape strides(shape.size());
  std::int64_t step = fs::itemsize(dtype);
  for (const std::int64_t axis : order) {
    const auto at = static_cast<std::size_t>(axis);
    strides[at] = random.chance(0.2) ? -step : step;
    step *= shape[at];
  }
  return strided(dtype, shape, strides);
}

// grad, y and out each with strides of their own, a temperature for some of the axes.
TEST_CASE("gradients of arrays of many dimensions, with temperatures in arrays") {
  Random random(6);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const Shape& shape : {Shape{2, 19, 7}, Shape{2, 3, 2, 20}, Shape{4, 1, 6}, Shape{1}}) {
      for (int turn = 0; turn < 5; ++turn) {
        std::size_t size = 1;
        for (const std::int64_t n : shape) size *= static_cast<std::size_t>(n);
        Array grad = any_array(random, dtype, shape);
        Array y = turn < 2 ? grad : any_array(random, dtype, shape);
        Array out = turn == 0 ? grad : any_array(random, dtype, shape);
        Array expected = strided(dtype, shape, dense_strides(shape, dtype));
        from_dense(grad, random_rows(random, dtype, 1, size));
        from_dense(y, random_rows(random, dtype, 1, size));
        std::vector<int> axes;
        Shape per_row = shape;
        std::size_t values = 1;
        for (std::size_t i = 0; i < shape.size(); ++i) {
          const bool reduced = random.chance(0.5);
          if (reduced) axes.push_back(static_cast<int>(i));
          if (reduced || random.chance(0.3)) per_row[i] = 1;
          values *= static_cast<std::size_t>(per_row[i]);
        }
        std::vector<double> temperatures(values);
        for (double& t : temperatures) t = random.chance(0.2) ? 1.0 : random.uniform() + 0.1;
        const Shape steps = dense_strides(per_row, fs::DType::f64);
        fs::BackwardOptions options;
        options.temperatures = fs::ConstView{temperatures.data(), fs::DType::f64, per_row, steps};
        on_cpu(op, grad.view(), y.view(), expected.out(), axes, options);
        const cuda::BackwardCall call = cuda::backward_call(
            fs::backward_calls(op, grad.view(), y.view(), out.out(), axes, options, true));
        const cuda::Plan plan = cuda::make_plan(call, {4, 48 * 1024, 1 << 20, 90});
        EmulatedLauncher launcher{&random};
        launch(plan, call, launcher);
        tally.same(dtype, to_dense(expected), to_dense(out),
                   [&] { return case_name(op, call, plan); });
      }
    }
  });
  CHECK(tally.failed() == 0);
}

TEST_CASE("what gradients on a GPU do not take") {
  const Shape shape = {2, 3};
  const Shape strides = {24, 8};
  alignas(8) unsigned char memory[4][64] = {};
  const auto call = [&](fs::DType dtype, std::size_t past, const fs::BackwardOptions& options) {
    return cuda::backward_call(
        fs::backward_calls(fs::Op::softmax, {memory[0] + past, dtype, shape, strides},
                           {memory[1], dtype, shape, strides},
                           {memory[2], fs::DType::f64, shape, strides}, kAxes, options, true));
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
