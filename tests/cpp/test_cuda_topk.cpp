// The CUDA kernels of topk and softmax_topk, run thread block by thread block on this CPU: the bits
// and the indices of the library.
#include "cuda/topk_desk.h"
#include "cuda/topk_rows_call.h"
#include "emulated_launch.h"
#include "fastsoftmax/topk.hpp"
#include "run.h"

namespace tests {
namespace {

// What a row goes through: all of it sorted; a bound from its maxima; more that reach the bound
// than there is room for; candidates in the workspace, sorted chunk by chunk.
enum class Way { planned, bounded, overflowing, workspace };

constexpr cuda::Device kDevice{4, 227 * 1024, 1 << 20, 90};

// Another plan of the same call: room for so many candidates, so many of them in shared memory, and
// few rows, pieces and thread blocks at a time.
cuda::TopkPlan plan_of(const cuda::TopkRowsCall& call, Way way, Random& random) {
  if (way == Way::planned) return cuda::make_topk_plan(call, kDevice);
  const int sorted_bytes = way == Way::workspace ? 256 : way == Way::overflowing ? 512 : 2048;
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

struct Found {
  Bytes values;
  Bytes indices;
  Bytes logsumexp;
};

Shape with_length(Shape shape, std::int64_t length) {
  shape[1] = length;
  return shape;
}

struct Case {
  std::int64_t k;
  bool selection = false;
  bool largest = true;
  bool logsumexp = false;
  bool zero_is_one = false;
  fs::TopKOptions options{};
};

struct Outputs {
  Array values;
  Array indices;
  Array sums;
  fs::View logsumexp;

  Outputs(const Array& x, const Case& c)
      : values(dense(x.dtype, with_length(x.shape, c.k))),
        indices(dense(fs::DType::i64, with_length(x.shape, c.k))),
        sums(dense(x.dtype, with_length(x.shape, 1))),
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

Found on_device(const Array& x, const Case& c, Way way, Random& random) {
  Outputs out(x, c);
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
void check(Tally& tally, const Found& expected, const Array& x, const Case& c, Random& random,
           const char* what) {
  const auto way = static_cast<Way>(random.below(4));
  const Found found = on_device(x, c, way, random);
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

void check(Tally& tally, const Array& x, const Case& c, Random& random, const char* what) {
  check(tally, on_cpu(x, c), x, c, random, what);
}

std::int64_t some_k(Random& random, std::int64_t n) {
  const std::int64_t all[] = {1, 2, 8, 16, 17, 50, 200, 1000, n / 2, n};
  return std::clamp<std::int64_t>(all[random.below(10)], 1, n);
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

TEST_CASE("topk on a device: every pattern and length, in every layout") {
  Random random(1);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t block = block_of(dtype);
    for (const Pattern& pattern : kPatterns) {
      for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{300},
                                  block - 1, block, block + 1, 3 * block + 5}) {
        if (n > 64 && random.chance(0.5)) continue;
        const auto length = static_cast<std::int64_t>(n);
        Array in = matrix(dtype, 2, length, static_cast<Layout>(random.below(4)));
        from_dense(in, rows_of(pattern, random, dtype, 2, n));
        check(tally, in, some_case(random, length), random, pattern.name);
      }
    }
  }
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 1000);
}

TEST_CASE("topk on a device: NaN, infinities and zeros of both signs") {
  Random random(2);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const std::size_t item = item_bytes(dtype);
    for (const std::size_t n : {std::size_t{9}, std::size_t{64}, block_of(dtype) + 70}) {
      for (const double special :
           {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity}) {
        for (int turn = 0; turn < 5; ++turn) {
          Bytes x = rows_of(kPatterns[1], random, dtype, 3, n);
          const auto anywhere = [&] {
            return static_cast<std::size_t>(random.below(static_cast<std::int64_t>(n))) * item;
          };
          for (int i = 0; i < 1 << turn; ++i) {
            put(dtype, &x[anywhere()], special);
            put(dtype, &x[n * item + anywhere()], random.chance(0.5) ? 0.0 : -0.0);
            put(dtype, &x[2 * n * item + anywhere()], special);
            put(dtype, &x[2 * n * item + anywhere()], -kInfinity);
          }
          Array in = dense(dtype, {3, static_cast<std::int64_t>(n)}, x);
          check(tally, in, some_case(random, static_cast<std::int64_t>(n)), random, "special");
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk on a device: masks") {
  Random random(3);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{40}, block_of(dtype) + 70}) {
      for (const double share : {0.0, 0.02, 0.5, 0.98}) {
        for (const Pattern& pattern : {kPatterns[1], kPatterns[10], kPatterns[18], kPatterns[28]}) {
          const auto length = static_cast<std::int64_t>(n);
          Array in = matrix(dtype, 3, length, static_cast<Layout>(random.below(4)));
          Bytes x = rows_of(pattern, random, dtype, 3, n);
          if (random.chance(0.3)) put(dtype, x.data(), std::numeric_limits<double>::quiet_NaN());
          from_dense(in, x);
          const Mask mask(random, 3, length, share);
          Case c = some_case(random, length);
          c.selection = false;
          c.options.where = mask.view();
          check(tally, in, c, random, "masked");
        }
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk on a device: integers") {
  Random random(4);
  Tally tally;
  for (const fs::DType dtype :
       {fs::DType::i8, fs::DType::i16, fs::DType::i32, fs::DType::i64, fs::DType::u8,
        fs::DType::u16, fs::DType::u32, fs::DType::u64, fs::DType::boolean}) {
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{100}, std::int64_t{1200}}) {
      for (const bool few : {false, true}) {
        Array in = matrix(dtype, 2, n, static_cast<Layout>(random.below(4)));
        Bytes x(static_cast<std::size_t>(2 * n) * item_bytes(dtype));
        for (unsigned char& b : x)
          b = static_cast<unsigned char>(few || dtype == fs::DType::boolean ? random.below(2)
                                                                            : random.below(256));
        from_dense(in, x);
        Case c{some_k(random, n), true, random.chance(0.5)};
        check(tally, in, c, random, "integers");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

// Rows that start anywhere, further axes on both sides of the reduced one, and strides backwards.
TEST_CASE("topk on a device: arrays of three dimensions, misaligned and reversed") {
  Random random(5);
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (int turn = 0; turn < 12; ++turn) {
      const Shape shape = {2, 1 + random.below(90), 3};
      Shape strides =
          dense_strides(turn % 2 == 0 ? Shape{2, shape[1], 3} : Shape{2, 3, shape[1]}, dtype);
      if (turn % 2 != 0) std::swap(strides[1], strides[2]);
      if (turn % 3 == 0) strides[1] = -strides[1];
      Array in = strided(dtype, shape, strides,
                         static_cast<std::size_t>(random.below(4)) * item_bytes(dtype));
      from_dense(in,
                 rows_of(kPatterns[23], random, dtype, 1, static_cast<std::size_t>(6 * shape[1])));
      check(tally, in, some_case(random, shape[1]), random, "strided");
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("topk on a device: a temperature for each row, of any type") {
  Random random(6);
  Tally tally;
  const std::vector<double> numbers = {0.0, 1.0, 2.0, 3.0};
  const std::vector<double> zero_is_one = {1.0, 1.0, 2.0, 3.0};
  const Array exact = dense(fs::DType::f64, {4, 1}, encode(fs::DType::f64, zero_is_one));
  for (const fs::DType dtype : kFloatTypes) {
    for (int type = 0; type < static_cast<int>(fs::DType::boolean); ++type) {
      for (const std::int64_t n : {1 + random.below(400), 1000 + random.below(1500)}) {
        const auto of_temperatures = static_cast<fs::DType>(type);
        Array in = matrix(dtype, 4, n, static_cast<Layout>(random.below(4)));
        from_dense(in, random_rows(random, dtype, 4, static_cast<std::size_t>(n)));
        const Mask mask(random, 4, n, 0.7);
        Case c = some_case(random, n);
        c.selection = false;
        if (random.chance(0.4)) c.options.where = mask.view();
        c.options.temperatures = exact.view();
        const Found expected = on_cpu(in, c);
        const Array temperatures = dense(of_temperatures, {4, 1}, encode(of_temperatures, numbers));
        c.options.temperatures = temperatures.view();
        c.zero_is_one = true;
        check(tally, expected, in, c, random, "temperatures");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

// Values are NaN, whatever the row holds and however it is masked; indices are those of NaN.
TEST_CASE("topk on a device: a temperature that is none makes its row NaN") {
  Random random(7);
  Tally tally;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr std::int64_t rows = 8;
  const std::vector<double> numbers = {1.0, 0.0, -1.0, kInfinity, -kInfinity, nan, 1e-60, 1e60};
  const Array temperatures = dense(fs::DType::f64, {rows, 1}, encode(fs::DType::f64, numbers));
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::bf16}) {
    // Of all rows but the first.
    const auto set_nan = [&](Bytes& elements) {
      for (std::size_t at = elements.size() / rows; at < elements.size(); at += item_bytes(dtype))
        put(dtype, &elements[at], nan);
    };
    for (const std::int64_t n : {std::int64_t{40}, std::int64_t{600}, std::int64_t{2500}}) {
      for (const double share : {0.0, 0.03, 0.5, 1.0}) {
        const Array in =
            dense(dtype, {rows, n}, random_rows(random, dtype, rows, static_cast<std::size_t>(n)));
        Array of_nan = in;
        set_nan(of_nan.bytes);
        Bytes admitted(static_cast<std::size_t>(rows * n));
        const std::int64_t first = random.below(n);
        for (std::int64_t i = 0; i < rows * n; ++i)
          admitted[static_cast<std::size_t>(i)] = i % n >= first && random.chance(share) ? 1 : 0;
        const Shape mask_steps = {n, 1};
        Case c = some_case(random, n);
        c.selection = false;
        c.options.temperature = 1.0;
        c.options.where = fs::ConstView{admitted.data(), fs::DType::boolean, in.shape, mask_steps};
        Found expected = on_cpu(of_nan, c);
        set_nan(expected.values);
        if (c.logsumexp) set_nan(expected.logsumexp);
        c.options.temperatures = temperatures.view();
        check(tally, expected, in, c, random, "temperature of none");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
