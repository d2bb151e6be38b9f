// The CUDA kernels of topk and softmax_topk, run thread block by thread block on this CPU: the bits
// and the indices of the library.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/launch.h"
#include "cuda/topk_launch.h"
#include "cuda/topk_rows_call.h"
#include "emulated_device.h"
#include "fastsoftmax/topk.hpp"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

struct TopkLauncher : EmulatedLauncher {
  void normalize(const cuda::Plan& plan, const cuda::RowsCall& call, void* workspace) {
    if (call.dtype == fs::DType::f64)
      cuda::launch<cuda::F64, double>(plan, call, workspace, *this);
    else
      cuda::launch<cuda::F32, float>(plan, call, workspace, *this);
  }
};

void launch(const cuda::TopkRowsCall& call, const cuda::TopkPlan& plan, Random* order) {
  std::vector<std::max_align_t> memory(
      static_cast<std::size_t>(plan.workspace.bytes) / sizeof(std::max_align_t) + 1);
  std::memset(memory.data(), 0xa5, memory.size() * sizeof(std::max_align_t));
  TopkLauncher launcher{{order}};
  const auto rows = [&](auto row) {
    cuda::launch_topk<typename decltype(row)::type>(plan, call, memory.data(), launcher);
  };
  switch (call.dtype) {
    case fs::DType::f32:
      return rows(std::type_identity<cuda::ScoredRow<cuda::F32, float>>{});
    case fs::DType::f64:
      return rows(std::type_identity<cuda::ScoredRow<cuda::F64, double>>{});
    case fs::DType::f16:
      return rows(std::type_identity<cuda::ScoredRow<cuda::F32, fs::f16>>{});
    case fs::DType::bf16:
      return rows(std::type_identity<cuda::ScoredRow<cuda::F32, fs::bf16>>{});
    default:
      return rows(std::type_identity<cuda::IntegerRow>{});
  }
}

// Sizes that lead rows of a test's length to every path: all candidates in shared memory; a bound
// from maxima; more candidates than there is room for; candidates in the workspace.
constexpr cuda::Device kDevices[] = {{4, 227 * 1024, 1 << 20}, {1, 13 * 1024, 1 << 12}};

cuda::TopkPlan plan_of(const cuda::TopkRowsCall& call, Random& random) {
  cuda::TopkPlan plan = cuda::make_topk_plan(call, kDevices[random.below(2)]);
  return plan;
}

struct Found {
  Bytes values;
  Bytes indices;
  Bytes logsumexp;
};

struct Case {
  std::int64_t k;
  bool selection = false;
  bool largest = true;
  bool logsumexp = false;
  fs::TopKOptions options{};
};

struct Outputs {
  Array values;
  Array indices;
  Array sums;
  fs::View logsumexp;

  Outputs(const Array& x, const Case& c)
      : values(dense(x.dtype, {x.shape[0], c.k})),
        indices(dense(fs::DType::i64, {x.shape[0], c.k})),
        sums(dense(x.dtype, {x.shape[0], 1})),
        logsumexp(sums.out()) {}
  const fs::View* sum(const Case& c) const { return c.logsumexp ? &logsumexp : nullptr; }
  Found found() const { return {values.bytes, indices.bytes, sums.bytes}; }
};

Found on_cpu(const Array& x, const Case& c) {
  Outputs out(x, c);
  if (c.selection)
    fs::topk(x.view(), c.k, 1, out.values.out(), out.indices.out(), c.largest);
  else
    fs::softmax_topk(x.view(), c.k, 1, out.values.out(), out.indices.out(), c.options, out.sum(c));
  return out.found();
}

Found on_device(const Array& x, const Case& c, Random& random) {
  Outputs out(x, c);
  const auto call = [&] {
    if (c.selection)
      return cuda::topk_rows_call(
          fs::topk_call(x.view(), c.k, 1, out.values.out(), out.indices.out(), c.largest, 1));
    return cuda::topk_rows_call(fs::topk_call(x.view(), c.k, 1, out.values.out(),
                                              out.indices.out(), c.options, out.sum(c)));
  }();
  launch(call, plan_of(call, random), random.chance(0.5) ? &random : nullptr);
  return out.found();
}

void check(Tally& tally, const Array& x, const Case& c, Random& random, const char* what) {
  const Found expected = on_cpu(x, c);
  const Found found = on_device(x, c, random);
  const auto text = [&](const char* part) {
    return std::string(what) + " " + std::string(fs::name(x.dtype)) + " n " +
           std::to_string(x.shape[1]) + " k " + std::to_string(c.k) +
           (c.selection ? c.largest ? " largest" : " smallest" : "") +
           (c.options.log ? " log" : "") +
           (c.options.normalize == fs::Normalize::topk ? " over the k" : "") + ": " + part;
  };
  tally.same(x.dtype, expected.values, found.values, [&] { return text("values"); });
  tally.same(fs::DType::i64, expected.indices, found.indices, [&] { return text("indices"); });
  tally.same(x.dtype, expected.logsumexp, found.logsumexp, [&] { return text("logsumexp"); });
}

std::int64_t some_k(Random& random, std::int64_t n) {
  const std::int64_t all[] = {1, 2, 8, 50, 200, 1000, n / 2, n};
  return std::clamp<std::int64_t>(all[random.below(8)], 1, n);
}

Case some_case(Random& random, std::int64_t n) {
  Case c{some_k(random, n)};
  c.selection = random.chance(0.3);
  c.largest = random.chance(0.5);
  c.logsumexp = random.chance(0.5);
  c.options.log = random.chance(0.5);
  if (random.chance(0.4)) c.options.normalize = fs::Normalize::topk;
  if (random.chance(0.5)) c.options.empty = fs::EmptyRow::zero;
  if (!c.selection && random.chance(0.5)) c.options.temperature = 0.1 + random.uniform();
  return c;
}

TEST_CASE("topk on a device: every pattern and length") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{300},
                                  block + 1, 5 * block + 5}) {
        Bytes x;
        for (int row = 0; row < 2; ++row) {
          const Bytes one = make_row(pattern, dtype, n, random.bits());
          x.insert(x.end(), one.begin(), one.end());
        }
        const auto length = static_cast<std::int64_t>(n);
        Array in = matrix(dtype, 2, length, static_cast<Layout>(random.below(4)));
        from_dense(in, x);
        check(tally, in, some_case(random, length), random, pattern.name);
      }
    }
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
