// The CUDA kernels, run thread block by thread block on this CPU: the bits of the library.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/device_call.h"
#include "dispatch.h"
#include "emulated_calls.h"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

std::int64_t blocks_of(const cuda::RowsCall& call) {
  const auto block = static_cast<std::int64_t>(block_of(call.dtype));
  return (call.length + block - 1) / block;
}

int block_bytes(const cuda::RowsCall& call) {
  return static_cast<int>(block_of(call.dtype) * item_bytes(call.dtype));
}

// Whether bulk copies can fetch its rows.
bool aligned(const cuda::RowsCall& call) {
  const auto bytes = call.length * static_cast<std::int64_t>(item_bytes(call.dtype));
  bool is = reinterpret_cast<std::uintptr_t>(call.x) % 16 == 0 && bytes % 16 == 0;
  for (int d = 0; d < call.outer.count; ++d) is = is && call.outer.axis[d].x % 16 == 0;
  return is;
}

// A plan for every path that can do the call, thread blocks kept small.
std::vector<cuda::Plan> plans_of(const cuda::RowsCall& call) {
  using cuda::Path;
  std::vector<cuda::Plan> plans;
  const auto add = [&](Path path, int groups, std::int64_t blocks, int shared_bytes) {
    cuda::Plan plan{};
    plan.path = path;
    plan.direct = call.layout == cuda::Layout::rows;
    plan.cluster = 1;
    plan.threads = groups * cuda::kGroup;
    plan.blocks = blocks;
    plan.shared_bytes = shared_bytes;
    plans.push_back(plan);
    return &plans.back();
  };
  const std::int64_t blocks = blocks_of(call);
  if (call.layout == cuda::Layout::columns) {
    add(Path::columns, cuda::kColumnThreads / cuda::kGroup, 2, cuda::kColumnSharedBytes);
    return plans;
  }
  if (call.layout == cuda::Layout::gathered) {
    for (const int groups : {2, 4})
      add(Path::reread_rows, groups, 2, cuda::desk_bytes(groups) + groups * cuda::kBlockBytes);
    return plans;
  }
  const std::int64_t lanes = call.dtype == fs::DType::f64 ? 32 : 64;
  if (blocks <= 1) {
    for (const int steps : {1, 4, 16})
      if (call.length <= steps * lanes) add(Path::short_rows, 2, 2, 0)->steps = steps;
  }
  // Rows of this crew, with so many slots more than it needs.
  const auto add_crew = [&](Path path, int groups, int cluster, int ahead) {
    const std::int64_t rounds = (blocks + groups * cluster - 1) / (groups * cluster);
    cuda::Plan* const plan =
        add(path, groups, std::int64_t{2} * cluster, cuda::desk_bytes(groups * cluster));
    plan->cluster = cluster;
    plan->in_registers = path != Path::shared_rows && rounds <= 1;
    plan->bulk = ahead > 0 && aligned(call);
    plan->slots = plan->in_registers ? plan->bulk ? ahead : 0 : static_cast<int>(rounds) + ahead;
    plan->shared_bytes += plan->slots * groups * cuda::slot_bytes(block_bytes(call));
  };
  for (const int groups : {2, 4}) {
    const int desk = cuda::desk_bytes(groups);
    const int ahead = groups / 2;
    if (blocks <= groups) {
      add_crew(Path::register_rows, groups, 1, 0);
      add_crew(Path::register_rows, groups, 1, ahead);
    }
    add_crew(Path::shared_rows, groups, 1, 0);
    add_crew(Path::shared_rows, groups, 1, ahead);
    add_crew(Path::cluster_rows, 2, groups, 0);
    add_crew(Path::cluster_rows, 2, groups, ahead);
    add(Path::reread_rows, groups, 2, desk);
    cuda::Plan* const parts = add(Path::parts, groups, 1, desk);
    parts->part_blocks = groups == 2 ? 1 : 3;
    parts->rows_in_flight = groups == 2 ? 2 : 1;
  }
  return plans;
}

struct Case {
  fs::Op op;
  fs::DType dtype;
  std::int64_t n;
  Layout layout;
};

std::string case_name(const Case& c, const cuda::Plan& plan) {
  return describe(c.op, c.dtype, fs::Algorithm::automatic) + " n " + std::to_string(c.n) + " " +
         name(c.layout) + ", " + cuda::name(plan.path) + " of " + std::to_string(plan.threads) +
         " threads, clusters of " + std::to_string(plan.cluster) + ", " +
         std::to_string(plan.slots) + (plan.bulk ? " bulk slots" : " slots");
}

Array result_for(const Case& c, std::int64_t rows, std::int64_t columns = 0) {
  return matrix(c.dtype, rows, c.op == fs::Op::logsumexp ? 1 : c.n + columns, c.layout);
}

// All plans against the library, on a matrix that goes through the case's layout.
void check(Tally& tally, const Case& c, const Bytes& x, const fs::Options& options,
           Random& random) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(c.dtype)) / c.n;
  Array in = matrix(c.dtype, rows, c.n, c.layout);
  from_dense(in, x);
  const std::array axes = {1};
  Array expected = result_for(c, rows);
  apply(c.op, in.view(), expected.out(), axes, options);
  const auto call_of = [&](const Array& from, Array& to) {
    return cuda::rows_call(fs::make_call(c.op, from.view(), to.out(), axes, options));
  };
  for (const cuda::Plan& plan : plans_of(call_of(in, expected))) {
    if (random.chance(0.3)) continue;  // every path comes often enough
    const bool in_place = c.op != fs::Op::logsumexp && random.chance(0.3);
    Array out = in_place ? in : result_for(c, rows);
    EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
    launch(plan, call_of(in_place ? out : in, out), launcher);
    tally.same(c.dtype, to_dense(expected), to_dense(out), [&] { return case_name(c, plan); });
  }
}

std::vector<std::int64_t> lengths_around(std::size_t block) {
  const auto b = static_cast<std::int64_t>(block);
  const std::int64_t lanes = b / 16;
  return {1,
          2,
          3,
          15,
          16,
          17,
          lanes / 2 + 1,
          lanes - 1,
          lanes,
          lanes + 1,
          2 * lanes + 5,
          4 * lanes - 1,
          4 * lanes,
          4 * lanes + 1,
          b - 1,
          b,
          b + 1,
          2 * b,
          2 * b + 3,
          4 * b + 1,
          5 * b - 7};
}

template <class F>
void for_each_op(F&& f) {
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps) f(dtype, op);
}

TEST_CASE("rows of every length and kind have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const std::int64_t n : lengths_around(block_of(dtype))) {
      if (dtype != fs::DType::f32 && random.chance(0.5)) continue;
      const Bytes x = random_rows(random, dtype, n < 100 ? 5 : 3, static_cast<std::size_t>(n));
      const auto layout = static_cast<Layout>(random.below(4));
      check(tally, {op, dtype, n, Layout::rows}, x, {}, random);
      if (layout != Layout::rows) check(tally, {op, dtype, n, layout}, x, {}, random);
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

// Whatever the size of the cluster, the number of slots and of rows that a crew takes; rows outside
// the domain among them.
TEST_CASE("rows of clusters, in slots") {
  Random random(6);
  Tally tally;
  std::int64_t bulk = 0;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const int cluster : {2, 4, 8}) {
      const std::int64_t places = 2 * cluster;
      const std::int64_t length = places * block;
      for (const std::int64_t n : {length - block, length - 8, length, length + 8,
                                   2 * length - block + 3, 3 * length + 24}) {
        if (dtype != fs::DType::f32 && random.chance(0.7)) continue;
        constexpr std::int64_t rows = 3;
        Bytes x = random_rows(random, dtype, rows, static_cast<std::size_t>(n));
        const Pattern& pattern = kPatterns[static_cast<std::size_t>(
            random.below(static_cast<std::int64_t>(std::size(kPatterns))))];
        const Bytes one = make_row(pattern, dtype, static_cast<std::size_t>(n), random.bits());
        std::copy(one.begin(), one.end(), x.begin() + random.below(rows) * std::ssize(one));
        Array in = matrix(dtype, rows, n, Layout::rows);
        from_dense(in, x);
        const Case c{op, dtype, n, Layout::rows};
        Array out = result_for(c, rows);
        const std::array axes = {1};
        const cuda::RowsCall call =
            cuda::rows_call(fs::make_call(op, in.view(), out.out(), axes, {}));
        const Bytes expected = run_matrix(op, dtype, n, x, Layout::rows, {});
        const std::int64_t rounds = (n + length - 1) / length;
        for (const int slots : {0, 1, 2}) {
          if (random.chance(0.4)) continue;
          cuda::Plan plan{};
          plan.path = cuda::Path::cluster_rows;
          plan.direct = true;
          plan.threads = 2 * cuda::kGroup;
          plan.cluster = cluster;
          plan.blocks = random.chance(0.6) ? cluster : 2 * cluster;
          plan.in_registers = rounds == 1 && random.chance(0.7);
          plan.bulk = slots > 0 && aligned(call);
          plan.slots =
              plan.in_registers ? plan.bulk ? slots : 0 : static_cast<int>(rounds) + slots - 1;
          if (!plan.in_registers && slots == 0) plan.slots = 0;
          plan.shared_bytes =
              cuda::desk_bytes(2 * cluster) + 2 * plan.slots * cuda::slot_bytes(block_bytes(call));
          bulk += plan.bulk ? 1 : 0;
          EmulatedLauncher launcher{random.chance(0.7) ? &random : nullptr};
          launch(plan, call, launcher);
          tally.same(dtype, expected, to_dense(out), [&] { return case_name(c, plan); });
        }
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(bulk > 50);
}

TEST_CASE("every kind of row, masked and with a temperature") {
  Random random(2);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const Pattern& pattern : kPatterns) {
      if (dtype != fs::DType::f32 && random.chance(0.5)) continue;
      const auto n = static_cast<std::int64_t>(block_of(dtype)) / 8 + random.below(700);
      Bytes x;
      for (int row = 0; row < 3; ++row) {
        const Bytes one = make_row(pattern, dtype, static_cast<std::size_t>(n), random.bits());
        x.insert(x.end(), one.begin(), one.end());
      }
      fs::Options options;
      if (random.chance(0.5)) options.temperature = random.uniform() + 0.1;
      if (random.chance(0.5)) options.empty = fs::EmptyRow::zero;
      Bytes admitted(static_cast<std::size_t>(3 * n));
      const double share = random.uniform();
      for (unsigned char& b : admitted) b = random.chance(share) ? 1 : 0;
      if (random.chance(0.3)) std::fill_n(admitted.begin(), n, static_cast<unsigned char>(0));
      const Shape shape = {3, n};
      const Shape steps = {n, 1};
      const fs::ConstView mask{admitted.data(), fs::DType::boolean, shape, steps};
      for (const Layout layout : {Layout::rows, static_cast<Layout>(random.below(4))}) {
        check(tally, {op, dtype, n, layout}, x, options, random);
        options.where = mask;
      }
    }
  });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

// The doubles that results are formed from, which tell more than results do.
template <class A, class T>
void compare_block_sums(Random& random, const fs::kernels::RowKernels& reference) {
  constexpr std::int64_t blocks = 5;
  const std::int64_t length = (blocks - 1) * A::block + 3 * A::lanes + 7;
  std::vector<T> x(static_cast<std::size_t>(length));
  for (T& v : x) v = static_cast<T>(3.0 * random.normal());
  fs::kernels::RowsJob job{};
  job.op = fs::kernels::RowOp::log_softmax;
  job.algorithm = fs::kernels::RowAlgorithm::online;
  job.x = x.data();
  job.rows = 1;
  job.length = length;
  fs::kernels::BlockSum expected[blocks];
  reference.accumulate(job, {}, 0, blocks, expected);

  fs::kernels::BlockSum sums[blocks];
  cuda::Parameters call{};
  call.op = fs::kernels::RowOp::log_softmax;
  call.temperature = 1.0;
  call.x = reinterpret_cast<const char*>(x.data());
  call.rows = 1;
  call.length = length;
  call.part_blocks = 2;
  call.sums = sums;
  EmulatedLauncher launcher{&random};
  launcher.launch<cuda::SumParts<A, T, true>>(3, 32, 0, call);
  for (int b = 0; b < blocks; ++b) {
    CAPTURE(b);
    CHECK(sums[b].hi == expected[b].hi);
    CHECK(sums[b].lo == expected[b].lo);
    CHECK(sums[b].exponent == expected[b].exponent);
    if (!expected[b].has_rest) continue;
    CHECK(sums[b].rest_hi == expected[b].rest_hi);
    CHECK(sums[b].rest_lo == expected[b].rest_lo);
    CHECK(sums[b].max == expected[b].max);
  }
}

TEST_CASE("sums of blocks") {
  Random random(5);
  const fs::kernels::KernelTable& reference = fs::kernels_in_use();
  for (int turn = 0; turn < 5; ++turn) {
    compare_block_sums<cuda::F32, float>(random, reference.f32);
    compare_block_sums<cuda::F64, double>(random, reference.f64);
  }
}

// What the plan makes of them on devices of several sizes; rows that start anywhere.
TEST_CASE("planned calls, misaligned rows") {
  Random random(3);
  Tally tally;
  constexpr cuda::Device devices[] = {
      {132, 227 * 1024, 50 << 20, 90}, {2, 48 * 1024, 1 << 20, 75}, {1, 16 * 1024, 1 << 14, 120}};
  for_each_op([&](fs::DType dtype, fs::Op op) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const std::int64_t n : {std::int64_t{5}, block, 3 * block - 1, 7 * block + 11}) {
      const std::int64_t rows = n < block ? 40 : 2;
      const auto size = static_cast<std::size_t>(rows * n);
      const Bytes x =
          random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n));
      const Bytes expected = run_matrix(op, dtype, n, x, Layout::rows, {});
      const std::size_t item = item_bytes(dtype);
      for (const cuda::Device& device : devices) {
        const std::size_t past = static_cast<std::size_t>(random.below(4)) * item;
        Array in = strided(dtype, {rows, n}, dense_strides({rows, n}, dtype), past);
        from_dense(in, x);
        const Shape shape = {rows, op == fs::Op::logsumexp ? 1 : n};
        Array out = strided(dtype, shape, dense_strides(shape, dtype),
                            static_cast<std::size_t>(random.below(4)) * item);
        const std::array axes = {1};
        const cuda::RowsCall call =
            cuda::rows_call(fs::make_call(op, in.view(), out.out(), axes, {}));
        const cuda::Plan plan = cuda::make_plan(call, device);
        EmulatedLauncher launcher;
        launch(plan, call, launcher);
        tally.same(dtype, expected, to_dense(out), [&] {
          return case_name({op, dtype, n, Layout::rows}, plan) + " " + std::to_string(size);
        });
      }
    }
  });
  CHECK(tally.failed() == 0);
}

// Reductions over several axes, batches of columns, and more columns than a thread block has.
TEST_CASE("arrays of many dimensions") {
  Random random(4);
  Tally tally;
  for_each_op([&](fs::DType dtype, fs::Op op) {
    for (const Shape& shape : {Shape{2, 19, 7}, Shape{2, 3, 2, 20}, Shape{4, 1, 6}, Shape{1}}) {
      for (int turn = 0; turn < 3; ++turn) {
        Shape order(shape.size());
        std::iota(order.begin(), order.end(), std::int64_t{0});
        for (std::size_t i = order.size(); i > 1; --i)
          std::swap(order[i - 1],
                    order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
        Shape strides(shape.size());
        std::int64_t step = fs::itemsize(dtype);
        for (const std::int64_t axis : order) {
          strides[static_cast<std::size_t>(axis)] = step;
          step *= shape[static_cast<std::size_t>(axis)];
        }
        std::vector<int> axes;
        for (std::size_t i = 0; i < shape.size(); ++i)
          if (random.chance(0.5)) axes.push_back(static_cast<int>(i));
        Array in = strided(dtype, shape, strides);
        std::size_t size = 1;
        for (const std::int64_t n : shape) size *= static_cast<std::size_t>(n);
        from_dense(in, random_rows(random, dtype, 1, size));
        Shape kept = shape;
        if (op == fs::Op::logsumexp)
          for (const int axis : axes) kept[static_cast<std::size_t>(axis)] = 1;
        Array expected = strided(dtype, kept, dense_strides(kept, dtype));
        Array out =
            strided(dtype, kept, op == fs::Op::logsumexp ? dense_strides(kept, dtype) : strides);
        apply(op, in.view(), expected.out(), axes, {});
        const cuda::RowsCall call =
            cuda::rows_call(fs::make_call(op, in.view(), out.out(), axes, {}));
        const cuda::Plan plan = cuda::make_plan(call, {4, 48 * 1024, 1 << 20, 90});
        EmulatedLauncher launcher{&random};
        launch(plan, call, launcher);
        tally.same(dtype, to_dense(expected), to_dense(out),
                   [&] { return describe(op, dtype, fs::Algorithm::automatic); });
      }
    }
  });
  CHECK(tally.failed() == 0);
}

TEST_CASE("what a GPU does not take") {
  const Shape shape = {2, 3};
  const Shape strides = {24, 8};
  alignas(8) unsigned char x[64] = {};
  alignas(8) unsigned char y[64] = {};
  const std::array axes = {1};
  const auto call = [&](fs::DType dtype, std::size_t past) {
    return cuda::rows_call(fs::make_call(fs::Op::softmax, {x + past, dtype, shape, strides},
                                         {y, fs::DType::f64, shape, strides}, axes, {}));
  };
  CHECK_NOTHROW(call(fs::DType::f64, 0));
  CHECK_THROWS_AS(call(fs::DType::i64, 0), fs::InvalidType);
  CHECK_THROWS_AS(call(fs::DType::f64, 4), fs::InvalidArgument);
}

}  // namespace
}  // namespace tests
