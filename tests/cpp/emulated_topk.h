// topk and softmax_topk as tests of the emulated device have them: what the library selects, and
// the ways in which a device must come to the same.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "cuda/topk_desk.h"
#include "cuda/topk_rows_call.h"
#include "emulated_launch.h"
#include "fastsoftmax/topk.hpp"
#include "run.h"

namespace tests {

// What a row goes through: all of it sorted; a bound from its maxima; more that reach the bound
// than there is room for; candidates in the workspace, sorted chunk by chunk.
enum class TopkWay { planned, bounded, overflowing, workspace };

// Another plan of the same call: room for so many candidates, so many of them in shared memory, and
// few rows, pieces and thread blocks at a time.
inline cuda::TopkPlan plan_of(const cuda::TopkRowsCall& call, TopkWay way, Random& random) {
  if (way == TopkWay::planned) return cuda::make_topk_plan(call, {4, 227 * 1024, 1 << 20, 90});
  const int sorted_bytes = way == TopkWay::workspace     ? 256
                           : way == TopkWay::overflowing ? 512
                                                         : 2048;
  const auto fixed = static_cast<int>(sizeof(cuda::TopkDesk) + 2048 * sizeof(std::uint32_t));
  cuda::TopkPlan plan =
      cuda::make_topk_plan(call, {1, cuda::kStaticSharedBytes + fixed + sorted_bytes, 1 << 12, 75});
  if (plan.short_blocks != 0) {
    plan.short_blocks = 1;
    return plan;
  }
  plan.choose_threads = 32 << random.below(3);
  plan.choose_blocks = std::min<std::int64_t>(plan.choose_blocks, 1 + random.below(2));
  plan.observe_blocks = 1 + random.below(3);
  plan.rows_in_flight = 1 + random.below(plan.rows_in_flight);
  if (plan.pieces_at_once > 0) plan.pieces_at_once = std::min(plan.pieces_at_once, 48);
  return plan;
}

struct Selected {
  Bytes values;
  Bytes indices;
  Bytes logsumexp;
};

inline Shape with_length(Shape shape, std::int64_t length) {
  shape[1] = length;
  return shape;
}

struct TopkCase {
  std::int64_t k;
  bool selection = false;
  bool largest = true;
  bool logsumexp = false;
  bool zero_is_one = false;
  fs::TopKOptions options{};
};

struct TopkOutputs {
  Array values;
  Array indices;
  Array sums;
  fs::View logsumexp;

  TopkOutputs(const Array& x, const TopkCase& c)
      : values(dense(x.dtype, with_length(x.shape, c.k))),
        indices(dense(fs::DType::i64, with_length(x.shape, c.k))),
        sums(dense(x.dtype, with_length(x.shape, 1))),
        logsumexp(sums.out()) {}
  const fs::View* sum(const TopkCase& c) const { return c.logsumexp ? &logsumexp : nullptr; }
  Selected found() const { return {values.bytes, indices.bytes, sums.bytes}; }
};

inline Selected on_cpu(const Array& x, const TopkCase& c) {
  TopkOutputs out(x, c);
  if (c.selection)
    fs::topk(x.view(), c.k, 1, out.values.out(), out.indices.out(), c.largest);
  else
    fs::softmax_topk(x.view(), c.k, 1, out.values.out(), out.indices.out(), c.options, out.sum(c));
  return out.found();
}

inline Selected on_device(const Array& x, const TopkCase& c, TopkWay way, Random& random) {
  TopkOutputs out(x, c);
  const fs::View values = out.values.out();
  const fs::View indices = out.indices.out();
  cuda::TopkRowsCall call = cuda::topk_rows_call(
      c.selection ? fs::topk_call(x.view(), c.k, 1, values, indices, c.largest, 1)
                  : fs::topk_call(x.view(), c.k, 1, values, indices, c.options, out.sum(c), true));
  call.selection.zero_is_one = c.zero_is_one;
  const cuda::TopkPlan plan = plan_of(call, way, random);
  EmulatedLauncher launcher{random.chance(0.5) ? &random : nullptr};
  launch(plan, call, launcher);
  return out.found();
}

// What is `expected` of a case, on a device.
inline void check(Tally& tally, const Selected& expected, const Array& x, const TopkCase& c,
                  Random& random, const char* what) {
  const auto way = static_cast<TopkWay>(random.below(4));
  const Selected found = on_device(x, c, way, random);
  const auto text = [&](const char* part) {
    return std::string(what) + " " + std::string(fs::name(x.dtype)) + " n " +
           std::to_string(x.shape[1]) + " k " + std::to_string(c.k) + " way " +
           std::to_string(static_cast<int>(way)) +
           (c.selection ? c.largest ? " largest" : " smallest" : "") +
           (c.options.log ? " log" : "") +
           (c.options.normalize == fs::Normalize::topk ? " over the k" : "") + ": " + part;
  };
  tally.same(x.dtype, expected.values, found.values, [&] { return text("values"); });
  tally.same(fs::DType::i64, expected.indices, found.indices, [&] { return text("indices"); });
  tally.same(x.dtype, expected.logsumexp, found.logsumexp, [&] { return text("logsumexp"); });
}

inline void check(Tally& tally, const Array& x, const TopkCase& c, Random& random,
                  const char* what) {
  check(tally, on_cpu(x, c), x, c, random, what);
}

inline std::int64_t some_k(Random& random, std::int64_t n) {
  const std::int64_t all[] = {1, 2, 8, 16, 17, 50, 200, 1000, n / 2, n};
  return std::clamp<std::int64_t>(all[random.below(10)], 1, n);
}

inline TopkCase some_case(Random& random, std::int64_t n) {
  TopkCase c{some_k(random, n)};
  c.selection = random.chance(0.3);
  c.largest = random.chance(0.5);
  c.logsumexp = random.chance(0.5);
  c.options.log = random.chance(0.5);
  if (random.chance(0.4)) c.options.normalize = fs::Normalize::topk;
  if (random.chance(0.5)) c.options.empty = fs::EmptyRow::zero;
  if (!c.selection && random.chance(0.5)) c.options.temperature = 0.1 + random.uniform();
  return c;
}

}  // namespace tests
