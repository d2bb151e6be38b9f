// The CUDA kernels of sample, run thread block by thread block on this CPU: the indices of the
// library, and the bits of its log-probabilities.
#include "cuda/sample_desk.h"
#include "emulated_sample.h"
#include "sample_settings.h"

namespace tests {
namespace {

void check(Tally& tally, const Array& x, const fs::SampleOptions& options, Random& random,
           const std::string& what) {
  cuda::SamplePlan plan{};
  const int groups = random.chance(0.7) ? 2 : 4;
  plan.threads = groups * cuda::kGroup;
  plan.shared_bytes = cuda::kSampleDeskBytes + groups * cuda::kBlockBytes;
  plan.rows = 2;
  plan.part_blocks = random.chance(0.7) ? 0 : 1 + random.below(3);
  const Drawn found = drawn_on_device(
      x, options, [&](const auto&) { return plan; }, random.chance(0.5) ? &random : nullptr);
  check_drawn(tally, x.dtype, drawn_on_cpu(x, options), found, [&] {
    return what + " " + std::string(fs::name(x.dtype)) + " n=" + std::to_string(x.shape[1]) +
           " groups=" + std::to_string(groups) + " parts of " + std::to_string(plan.part_blocks);
  });
}

Array matrix_of(fs::DType dtype, std::int64_t n, Layout layout, const Bytes& x) {
  Array in = matrix(dtype, static_cast<std::int64_t>(x.size() / item_bytes(dtype)) / n, n, layout);
  from_dense(in, x);
  return in;
}

TEST_CASE("sample on a device: rows of every length and kind, under every filter") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    for (const std::int64_t n :
         {std::int64_t{1}, std::int64_t{2}, std::int64_t{63}, std::int64_t{64}, std::int64_t{65},
          block - 1, block, block + 1, 3 * block + 5, 9 * block - 3}) {
      for (const SampleSetting& setting : kSampleSettings) {
        const Bytes rows = random_rows(random, dtype, 3, static_cast<std::size_t>(n));
        fs::SampleOptions options;
        setting.set(options);
        options.random.seed.value = random.bits();
        options.random.position.value = static_cast<std::uint64_t>(random.below(100));
        const auto layout = static_cast<Layout>(random.below(4));
        check(tally, matrix_of(dtype, n, layout, rows), options, random, setting.name);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 4 * 10 * 2 * static_cast<long>(kSampleSettings.size()));
}

TEST_CASE("sample on a device: every kind of row, masked") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const Pattern& pattern : kPatterns) {
      const auto n = static_cast<std::int64_t>(block_of(dtype)) + random.below(2000);
      const Bytes rows = rows_of(pattern, random, dtype, 3, static_cast<std::size_t>(n));
      Mask mask(random, 3, n, random.uniform());
      if (random.chance(0.3)) mask.leave_out_first_row();
      for (int i = 0; i < 4; ++i) {
        const SampleSetting& setting =
            kSampleSettings[static_cast<std::size_t>(random.below(std::ssize(kSampleSettings)))];
        fs::SampleOptions options;
        setting.set(options);
        options.random.seed.value = random.bits();
        if (i > 1) options.where = mask.view();
        check(tally, matrix_of(dtype, n, Layout::rows, rows), options, random,
              std::string(pattern.name) + " " + setting.name);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 500);
}

TEST_CASE("sample on a device: the plan") {
  const auto plan_of = [](fs::DType dtype, std::int64_t rows, std::int64_t length, bool filter) {
    cuda::SampleCall call{};
    call.rows.dtype = dtype;
    call.rows.rows = rows;
    call.rows.length = length;
    call.may_filter = filter;
    const cuda::SamplePlan plan = cuda::make_sample_plan(call, {132, 227 * 1024, 50 << 20, 90});
    const cuda::SampleWorkspace memory(call);
    CHECK(plan.threads % 32 == 0);
    CHECK(plan.threads <= cuda::kSampleThreads);
    CHECK(plan.shared_bytes + cuda::kStaticSharedBytes <= 48 * 1024);
    CHECK(plan.rows >= 1);
    CHECK(plan.rows <= rows);
    CHECK(memory.bytes % 64 == 0);
    const bool fits = plan.rows * memory.bytes <= std::int64_t{1} << 30;
    CHECK((plan.rows == 1 || !filter || fits));
    return plan;
  };
  using enum fs::DType;
  // A thread block for each row; long rows are summed ahead.
  CHECK(plan_of(f32, 512, 131072, true).rows == 512);
  CHECK(plan_of(f32, 512, 131072, true).part_blocks == 64);
  CHECK(plan_of(f32, 1, 131072, true).part_blocks == 8);
  CHECK(plan_of(f32, 1, std::int64_t{1} << 31, true).rows == 1);
  CHECK(plan_of(bf16, 1 << 20, 100, true).part_blocks == 0);
  CHECK(plan_of(bf16, 1 << 20, 100, true).threads == 32);
  CHECK(plan_of(bf16, 1 << 20, 100, true).rows == 132 * 32);
  CHECK(plan_of(f64, 4, 5000, false).threads == cuda::kSampleThreads);
  CHECK(plan_of(f64, 4, 5000, false).part_blocks == 0);
}

}  // namespace
}  // namespace tests
