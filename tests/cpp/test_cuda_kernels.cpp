// The CUDA kernels, run thread block by thread block on this CPU: the bits of the library.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/device_call.h"
#include "cuda/launch.h"
#include "emulated_device.h"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

void launch(const cuda::Plan& plan, const cuda::RowsCall& call, EmulatedLauncher& launcher) {
  std::vector<std::max_align_t> workspace(
      static_cast<std::size_t>(cuda::workspace_bytes(call, plan)) / sizeof(std::max_align_t) + 1);
  switch (call.dtype) {
    case fs::DType::f32:
      return cuda::launch<cuda::F32, float>(plan, call, workspace.data(), launcher);
    case fs::DType::f64:
      return cuda::launch<cuda::F64, double>(plan, call, workspace.data(), launcher);
    case fs::DType::f16:
      return cuda::launch<cuda::F32, fs::f16>(plan, call, workspace.data(), launcher);
    default:
      return cuda::launch<cuda::F32, fs::bf16>(plan, call, workspace.data(), launcher);
  }
}

std::int64_t blocks_of(const cuda::RowsCall& call) {
  const auto block = static_cast<std::int64_t>(block_of(call.dtype));
  return (call.length + block - 1) / block;
}

// A plan for every path that can do the call, thread blocks kept small.
std::vector<cuda::Plan> plans_of(const cuda::RowsCall& call) {
  using cuda::Path;
  std::vector<cuda::Plan> plans;
  const auto add = [&](Path path, int groups, std::int64_t blocks, int shared_bytes) {
    cuda::Plan plan{};
    plan.path = path;
    plan.direct = call.layout == cuda::Layout::rows;
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
  for (const int groups : {2, 4}) {
    const int desk = cuda::desk_bytes(groups);
    const auto row = static_cast<int>(call.length) * (call.dtype == fs::DType::f64 ? 8 : 4);
    if (blocks <= groups) add(Path::register_rows, groups, 2, desk);
    add(Path::shared_rows, groups, 2, desk + row);
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
         cuda::name(plan.path) + " of " + std::to_string(plan.threads) + " threads";
}

// All plans against the library, on a matrix that goes through `layout`.
void check(Tally& tally, const Case& c, const Bytes& x, const fs::Options& options,
           Random& random) {
  const auto rows = static_cast<std::int64_t>(x.size() / item_bytes(c.dtype)) / c.n;
  const Bytes expected = run_matrix(c.op, c.dtype, c.n, x, c.layout, options);
  Array in = matrix(c.dtype, rows, c.n, c.layout);
  from_dense(in, x);
  const std::array axes = {1};
  Array probe = matrix(c.dtype, rows, c.op == fs::Op::logsumexp ? 1 : c.n, c.layout);
  const auto of = [&](Array& out) {
    return cuda::rows_call(fs::make_call(c.op, in.view(), out.out(), axes, options));
  };
  for (const cuda::Plan& plan : plans_of(of(probe))) {
    Array out = matrix(c.dtype, rows, c.op == fs::Op::logsumexp ? 1 : c.n, c.layout);
    EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
    launch(plan, of(out), launcher);
    tally.same(c.dtype, expected, to_dense(out), [&] { return case_name(c, plan); });
  }
}

std::vector<std::int64_t> lengths_around(std::size_t block) {
  const auto b = static_cast<std::int64_t>(block);
  const std::int64_t lanes = b / 16;
  return {1,
          2,
          3,
          7,
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

TEST_CASE("rows of every length and kind have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes)
    for (const fs::Op op : kOps)
      for (const std::int64_t n : lengths_around(block_of(dtype)))
        for (const Layout layout : kLayouts) {
          const std::size_t rows = n < 100 ? 5 : 3;
          const Bytes x = random_rows(random, dtype, rows, static_cast<std::size_t>(n));
          check(tally, {op, dtype, n, layout}, x, {}, random);
        }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

}  // namespace
}  // namespace tests
