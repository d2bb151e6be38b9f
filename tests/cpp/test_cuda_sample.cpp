// The CUDA kernels of sample, run thread block by thread block on this CPU: the indices of the
// library, and the bits of its log-probabilities.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/sample_host.h"
#include "cuda/sample_rows.h"
#include "emulated_device.h"
#include "run.h"

namespace tests {
namespace {

namespace cuda = fs::cuda;

struct Setting {
  const char* name;
  void (*set)(fs::SampleOptions&);
};
constexpr std::array kSettings = {
    Setting{"plain", [](fs::SampleOptions&) {}},
    Setting{"temperature", [](fs::SampleOptions& o) { o.temperature.value = 0.7; }},
    Setting{"greedy", [](fs::SampleOptions& o) { o.temperature.value = 0.0; }},
    Setting{"top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.85; }},
    Setting{"large top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.999; }},
    Setting{"small top_p", [](fs::SampleOptions& o) { o.top_p.value = 0.02; }},
    Setting{"top_p 0", [](fs::SampleOptions& o) { o.top_p.value = 0.0; }},
    Setting{"min_p", [](fs::SampleOptions& o) { o.min_p.value = 0.1; }},
    Setting{"typical_p", [](fs::SampleOptions& o) { o.typical_p.value = 0.5; }},
    Setting{"small typical_p", [](fs::SampleOptions& o) { o.typical_p.value = 0.01; }},
    Setting{"top_n_sigma", [](fs::SampleOptions& o) { o.top_n_sigma.value = 1.0; }},
    Setting{"all", [](fs::SampleOptions& o) {
              o.temperature.value = 1.5;
              o.top_n_sigma.value = 2.0;
              o.top_p.value = 0.9;
              o.min_p.value = 0.01;
              o.typical_p.value = 0.9;
            }}};

struct Drawn {
  Bytes indices;
  Bytes logprobs;
};

template <class Run>
Drawn drawn_by(const Array& x, Run run) {
  const Shape shape = {x.shape[0], 1};
  Array indices = dense(fs::DType::i64, shape);
  Array logprobs = dense(x.dtype, shape);
  run(indices.out(), logprobs.out());
  return {indices.bytes, logprobs.bytes};
}

Drawn on_cpu(const Array& x, const fs::SampleOptions& options) {
  return drawn_by(x, [&](const fs::View& indices, const fs::View& logprobs) {
    fs::sample(x.view(), 1, indices, options, &logprobs);
  });
}

// With so many groups in a thread block, and blocks of a row in a part.
Drawn on_device(const Array& x, const fs::SampleOptions& options, int groups,
                std::int64_t part_blocks, Random* order) {
  return drawn_by(x, [&](const fs::View& indices, const fs::View& logprobs) {
    const cuda::SampleCall call = cuda::sample_call(x.view(), 1, indices, options, &logprobs);
    cuda::SamplePlan plan{};
    plan.threads = groups * cuda::kGroup;
    plan.shared_bytes = cuda::kSampleDeskBytes + groups * cuda::kBlockBytes;
    plan.rows = 2;
    plan.part_blocks = part_blocks;
    std::vector<std::max_align_t> workspace(
        static_cast<std::size_t>(plan.rows * cuda::SampleWorkspace(call).bytes) /
        sizeof(std::max_align_t));
    EmulatedLauncher launcher{order};
    cuda::launch_sample(plan, call, workspace.data(), launcher);
  });
}

void check(Tally& tally, const Array& x, const fs::SampleOptions& options, Random& random,
           const std::string& what) {
  const Drawn expected = on_cpu(x, options);
  const int groups = random.chance(0.7) ? 2 : 4;
  const std::int64_t part_blocks = random.chance(0.7) ? 0 : 1 + random.below(3);
  const Drawn found =
      on_device(x, options, groups, part_blocks, random.chance(0.5) ? &random : nullptr);
  const auto described = [&] {
    return what + " " + std::string(fs::name(x.dtype)) + " n=" + std::to_string(x.shape[1]) +
           " groups=" + std::to_string(groups) + " parts of " + std::to_string(part_blocks);
  };
  tally.same(fs::DType::i64, expected.indices, found.indices, described);
  tally.same(x.dtype, expected.logprobs, found.logprobs, described);
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
      for (const Setting& setting : kSettings) {
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
  CHECK(tally.checked() == 4 * 10 * 2 * static_cast<long>(kSettings.size()));
}

TEST_CASE("sample on a device: every kind of row, masked") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const Pattern& pattern : kPatterns) {
      const auto n = static_cast<std::int64_t>(block_of(dtype)) + random.below(2000);
      Bytes rows;
      for (int r = 0; r < 3; ++r) {
        const Bytes row = make_row(pattern, dtype, static_cast<std::size_t>(n), random.bits());
        rows.insert(rows.end(), row.begin(), row.end());
      }
      Bytes admitted(static_cast<std::size_t>(3 * n));
      const double share = random.uniform();
      for (unsigned char& b : admitted) b = random.chance(share) ? 1 : 0;
      if (random.chance(0.3)) std::fill_n(admitted.begin(), n, static_cast<unsigned char>(0));
      const Shape shape = {3, n};
      const Shape steps = {n, 1};
      for (int i = 0; i < 4; ++i) {
        fs::SampleOptions options;
        const auto which =
            static_cast<std::size_t>(random.below(static_cast<std::int64_t>(kSettings.size())));
        kSettings[which].set(options);
        options.random.seed.value = random.bits();
        if (i > 1) options.where = fs::ConstView{admitted.data(), fs::DType::boolean, shape, steps};
        check(tally, matrix_of(dtype, n, Layout::rows, rows), options, random,
              std::string(pattern.name) + " " + kSettings[which].name);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 500);
}

}  // namespace
}  // namespace tests
