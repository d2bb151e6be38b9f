#include "cuda/sample_plan.h"

#include <algorithm>

#include "cuda/sample_desk.h"

namespace fastsoftmax::cuda {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// No more than this for lists where there is a choice.
constexpr std::int64_t kMostListBytes = std::int64_t{1} << 30;

// Threads of a multiprocessor that are asked for; its shared memory has room for no more.
constexpr std::int64_t kThreadsWanted = 1024;

}  // namespace

SampleWorkspace::SampleWorkspace(const SampleCall& call) {
  const bool f64 = call.rows.dtype == DType::f64;
  constexpr std::int64_t line = 64;
  blocks = ceil_div(call.rows.length, f64 ? kernels::kBlockF64 : kernels::kBlockF32);
  const auto lines = [](std::int64_t count, std::int64_t item) {
    return ceil_div(count * item, line) * line;
  };
  list_bytes = call.may_filter ? lines(call.rows.length, f64 ? 8 : 4) : 0;
  values_bytes = lines(call.most_k, f64 ? 8 : 4);
  const auto of_block = static_cast<std::int64_t>(2 * sizeof(kernels::BlockSum) + sizeof(double));
  sums_bytes = lines(blocks, of_block);
  bytes = sums_bytes + values_bytes + lines(2 * call.most_k, 8) + 2 * list_bytes;
}

SamplePlan make_sample_plan(const SampleCall& call, const Device& device) {
  const SampleWorkspace memory(call);
  const std::int64_t blocks = memory.blocks;
  const auto groups =
      static_cast<int>(std::clamp<std::int64_t>((blocks + 1) / 2 * 2, 2, kSampleGroups));
  SamplePlan plan{};
  plan.threads = groups * kGroup;
  plan.shared_bytes = kSampleDeskBytes + groups * kBlockBytes;
  const std::int64_t wanted = device.sms * (kThreadsWanted / plan.threads);
  const std::int64_t most = memory.list_bytes == 0 ? wanted : kMostListBytes / memory.bytes;
  plan.rows = std::max<std::int64_t>(std::min({wanted, most, call.rows.rows}), 1);
  if (blocks >= 4 * groups) {
    const std::int64_t parts = ceil_div(std::int64_t{4} * device.sms, plan.rows);
    plan.part_blocks = std::max<std::int64_t>(blocks / groups / parts, 1) * groups;
  }
  return plan;
}

}  // namespace fastsoftmax::cuda
