// The CUDA kernels of sample, run thread block by thread block on this CPU: the indices of the
// library, and the bits of its log-probabilities.
#include <doctest/doctest.h>

#define FASTSOFTMAX_ISA cuda
#include "simd/vec_cuda.h"

#include "cuda/sample_host.h"
#include "cuda/sample_launch.h"
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
    Setting{"top_k", [](fs::SampleOptions& o) { o.top_k.value = 40; }},
    Setting{"top_k 1", [](fs::SampleOptions& o) { o.top_k.value = 1; }},
    Setting{"large top_k", [](fs::SampleOptions& o) { o.top_k.value = 1500; }},
    Setting{"top_k and top_p",
            [](fs::SampleOptions& o) {
              o.top_k.value = 150;
              o.top_p.value = 0.7;
              o.min_p.value = 0.001;
            }},
    Setting{"top_k and typical_p",
            [](fs::SampleOptions& o) {
              o.top_k.value = 70;
              o.typical_p.value = 0.6;
            }},
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
              o.top_k.value = 100;
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

// An array of options, as an integer or floating type of the device's and as the CPU takes it.
struct OptionArray {
  Shape shape;
  Array given;
  Array wide;  // f64 or u64

  OptionArray(fs::DType dtype, const Shape& shape_, const std::vector<double>& values,
              bool integers)
      : shape(shape_),
        given(dense(dtype, shape_)),
        wide(dense(integers ? fs::DType::u64 : fs::DType::f64, shape_)) {
    const std::size_t item = item_bytes(dtype);
    for (std::size_t i = 0; i < values.size(); ++i) {
      unsigned char* const at = given.bytes.data() + i * item;
      if (integers) {
        const auto value = static_cast<std::int64_t>(values[i]);
        std::memcpy(at, &value, item);
        std::memcpy(wide.bytes.data() + i * 8, &value, 8);
      } else {
        put(dtype, at, values[i]);
        const auto value = static_cast<double>(get(dtype, at));
        std::memcpy(wide.bytes.data() + i * 8, &value, 8);
      }
    }
  }
  fs::ConstView view(bool on_device) const { return (on_device ? given : wide).view(); }
};

Drawn drawn_along_1(const Array& x, const fs::SampleOptions& options, bool on_device) {
  const Shape shape = {x.shape[0], 1, x.shape[2]};
  Array indices = dense(fs::DType::i64, shape);
  Array logprobs = dense(x.dtype, shape);
  const fs::View logs = logprobs.out();
  if (on_device) {
    const cuda::SampleCall call = cuda::sample_call(x.view(), 1, indices.out(), options, &logs);
    const cuda::SamplePlan plan = cuda::make_sample_plan(call, {2, 64 * 1024, 1 << 20, 75});
    std::vector<std::max_align_t> workspace(
        static_cast<std::size_t>(plan.rows * cuda::SampleWorkspace(call).bytes) /
        sizeof(std::max_align_t));
    EmulatedLauncher launcher;
    cuda::launch_sample(plan, call, workspace.data(), launcher);
  } else {
    fs::sample(x.view(), 1, indices.out(), options, &logs);
  }
  return {indices.bytes, logprobs.bytes};
}

TEST_CASE("sample on a device: options in arrays of any type") {
  using enum fs::DType;
  Random random(3);
  Tally tally;
  constexpr std::array reals = {f16, bf16, f32, f64};
  constexpr std::array integers = {i8, i16, i32, i64, u8, u16, u32, u64};
  for (std::size_t i = 0; i < 24; ++i) {
    const fs::DType dtype = kFloatTypes[i % 4];
    const Shape shape = {2, 70 + random.below(70), 3};
    const auto size = static_cast<std::size_t>(6 * shape[1]);
    Array x = dense(dtype, shape, random_rows(random, dtype, 1, size));
    const fs::DType real = reals[i % reals.size()];
    const fs::DType integer = integers[i % integers.size()];
    const OptionArray temperature(real, {2, 1, 1}, {0.0, 0.75}, false);
    const OptionArray top_p(reals[(i / 4) % 4], {1, 3}, {0.5, 1.0, 0.25}, false);
    const OptionArray top_k(integer, {2, 1, 3}, {0, 5, 127, 70, 1, 20}, true);
    const OptionArray min_p(real, {1, 1, 3}, {0.0, 0.125, 0.0}, false);
    const OptionArray typical_p(real, {2, 1, 3}, {1, 1, 1, 1, 0.5, 1}, false);
    const OptionArray sigma(integer, {1}, {2}, true);
    const OptionArray sigma_wide(f64, {1}, {2.0}, false);
    const OptionArray seed(integer, {2, 1, 3}, {1, 2, 3, 4, 5, 100}, true);
    const OptionArray position(integer, {2, 1, 1}, {0, 7}, true);
    const OptionArray ids(integers[(i / 8) % 8], {1, 1, 3}, {9, 8, 7}, true);
    const auto options = [&](bool on_device) {
      fs::SampleOptions o;
      o.temperature.values = temperature.view(on_device);
      o.top_p.values = top_p.view(on_device);
      o.top_k.values = top_k.view(on_device);
      if (!on_device) o.top_k.values->dtype = i64;
      o.min_p.values = min_p.view(on_device);
      o.typical_p.values = typical_p.view(on_device);
      o.top_n_sigma.values = on_device ? sigma.view(true) : sigma_wide.view(false);
      o.random.seed.values = seed.view(on_device);
      o.random.position.values = position.view(on_device);
      o.random.row_ids = ids.view(on_device);
      return o;
    };
    const Drawn expected = drawn_along_1(x, options(false), false);
    const Drawn found = drawn_along_1(x, options(true), true);
    const auto described = [&] { return "options " + std::to_string(i); };
    tally.same(i64, expected.indices, found.indices, described);
    tally.same(dtype, expected.logprobs, found.logprobs, described);
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() == 48);
}

TEST_CASE("sample on a device: an option outside its range gives the index -1 for its row") {
  using enum fs::DType;
  Random random(4);
  const Shape shape = {2, 80, 3};
  const Array x = dense(f32, shape, random_rows(random, f32, 6, 80));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect_bad = [&](const fs::SampleOptions& options, std::size_t bad) {
    const Drawn drawn = drawn_along_1(x, options, true);
    for (std::size_t row = 0; row < 6; ++row) {
      const auto index = load<std::int64_t>(drawn.indices.data() + 8 * row);
      const auto logprob = load<float>(drawn.logprobs.data() + 4 * row);
      CHECK((index == -1) == (row == bad));
      if (row == bad) CHECK(std::isnan(logprob));
      CHECK(index < 80);
    }
  };
  const Shape all = {2, 1, 3};
  for (const double value : {-0.1, 1.5, nan, kInfinity, -kInfinity}) {
    const OptionArray p(f64, all, {0.5, 0.5, value, 0.5, 0.5, 0.5}, false);
    for (const auto member :
         {&fs::SampleOptions::top_p, &fs::SampleOptions::min_p, &fs::SampleOptions::typical_p}) {
      fs::SampleOptions options;
      (options.*member).values = p.view(true);
      expect_bad(options, 2);
    }
  }
  for (const double value : {-1.0, nan, kInfinity, 1e39, 1e-60}) {
    const OptionArray t(f64, all, {1, 1, 1, 1, value, 1}, false);
    fs::SampleOptions options;
    options.temperature.values = t.view(true);
    expect_bad(options, 4);
  }
  const OptionArray negative(i32, all, {0, -1, 0, 0, 0, 0}, true);
  fs::SampleOptions options;
  options.random.seed.values = negative.view(true);
  expect_bad(options, 1);
  options = {};
  options.random.row_ids = negative.view(true);
  expect_bad(options, 1);
  options = {};
  options.top_k.values = negative.view(true);
  expect_bad(options, 1);
  const OptionArray far(u64, all, {0, 0, 0, 0, 0, 0x1p32}, true);
  options = {};
  options.random.position.values = far.view(true);
  expect_bad(options, 5);
}

TEST_CASE("sample on a device: what is refused") {
  using enum fs::DType;
  const Array x = dense(f32, {2, 5});
  Array indices = dense(i64, {2, 1});
  Array logprobs = dense(f32, {2, 1});
  const fs::SampleOptions plain;
  const auto refused = [&](const Array& from, int axis, Array& to, fs::SampleOptions options) {
    const fs::View logs = logprobs.out();
    CHECK_THROWS_AS(cuda::sample_call(from.view(), axis, to.out(), options, &logs),
                    fs::InvalidArgument);
  };
  CHECK_NOTHROW(cuda::sample_call(x.view(), 1, indices.out(), plain, nullptr));
  refused(x, 0, indices, plain);
  refused(x, 2, indices, plain);
  refused(dense(f32, {2, 0}), 1, indices, plain);
  refused(dense(i32, {2, 5}), 1, indices, plain);
  Array wrong = dense(i32, {2, 1});
  refused(x, 1, wrong, plain);
  Array repeated = indices;
  repeated.strides[0] = 0;
  refused(x, 1, repeated, plain);
  const auto with = [&](auto set) {
    fs::SampleOptions options;
    set(options);
    refused(x, 1, indices, options);
  };
  with([](auto& o) { o.top_k.value = -1; });
  with([](auto& o) { o.max_surprise.value = 3.0; });
  with([](auto& o) { o.top_p.value = 1.5; });
  with([](auto& o) { o.temperature.value = -1.0; });
  with([](auto& o) { o.random.position.value = std::uint64_t{1} << 32; });
  const Array flags = dense(boolean, {2, 1});
  with([&](auto& o) { o.top_p.values = flags.view(); });
  const Array floats = dense(f32, {2, 1});
  with([&](auto& o) { o.top_k.values = floats.view(); });
  with([&](auto& o) { o.random.seed.values = floats.view(); });
  with([&](auto& o) { o.random.row_ids = floats.view(); });
  with([&](auto& o) { o.random.seed.values = indices.view(); });  // overlaps an output
  const Array per_element = dense(f32, {2, 5});
  with([&](auto& o) { o.top_p.values = per_element.view(); });
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
