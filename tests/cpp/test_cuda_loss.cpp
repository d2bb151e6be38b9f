// The CUDA kernels for cross-entropy, run thread block by thread block on this CPU: the bits of the
// library.
#include "crew_cases.h"
#include "cuda/loss_arguments.h"
#include "fastsoftmax/cross_entropy.hpp"

namespace tests {
namespace {

constexpr std::int64_t kIgnore = -100;

struct Problem {
  fs::DType dtype;
  std::int64_t rows;
  std::int64_t n;
  Layout layout;
  Bytes scores;
  bool probabilities;
  fs::DType target_dtype;
  Bytes targets;                      // of target_dtype
  std::vector<std::int64_t> classes;  // the same as int64
  fs::DType weight_dtype;
  std::vector<double> weights;   // none: not given
  std::vector<double> upstream;  // none: not given; one; or for each row
  fs::CrossEntropyOptions options;
  bool with_gradient;
  bool with_logsumexp;
};

template <class T>
void put(Bytes& to, double v) {
  const T t = static_cast<T>(v);
  const auto* const p = reinterpret_cast<const unsigned char*>(&t);
  to.insert(to.end(), p, p + sizeof t);
}

Bytes integers(fs::DType dtype, const std::vector<std::int64_t>& values) {
  Bytes bytes;
  for (const std::int64_t v : values) {
    const auto* const p = reinterpret_cast<const unsigned char*>(&v);  // little-endian
    bytes.insert(bytes.end(), p, p + item_bytes(dtype));
  }
  return bytes;
}

Bytes random_probabilities(Random& random, fs::DType dtype, std::int64_t rows, std::int64_t n) {
  std::vector<double> p(static_cast<std::size_t>(rows * n));
  const double scale = random.chance(0.2) ? 0.0 : 2.0 / static_cast<double>(n);
  for (double& v : p) v = random.chance(0.2) ? 0.0 : scale * random.uniform();
  return encode(dtype, p);
}

Problem random_problem(Random& random, fs::DType dtype, std::int64_t rows, std::int64_t n,
                       Layout layout) {
  Problem p{};
  p.dtype = dtype;
  p.rows = rows;
  p.n = n;
  p.layout = layout;
  p.scores =
      random_rows(random, dtype, static_cast<std::size_t>(rows), static_cast<std::size_t>(n));
  p.probabilities = random.chance(0.25);
  p.options.reduction = static_cast<fs::Reduction>(random.below(3));
  p.options.ignore_index = kIgnore;
  if (random.chance(0.3)) p.options.label_smoothing = random.uniform();
  if (random.chance(0.3)) p.options.z_loss = 0.01 * random.uniform();
  if (random.chance(0.3)) p.options.softcap = 5.0 + 30.0 * random.uniform();
  if (p.probabilities) {
    p.target_dtype =
        random.chance(0.5) ? dtype : kFloatTypes[static_cast<std::size_t>(random.below(4))];
    p.targets = random_probabilities(random, p.target_dtype, rows, n);
  } else {
    constexpr std::array integer_types = {fs::DType::i8,  fs::DType::i16, fs::DType::i32,
                                          fs::DType::i64, fs::DType::u8,  fs::DType::u16,
                                          fs::DType::u32, fs::DType::u64};
    p.target_dtype = random.chance(0.5) ? fs::DType::i64
                                        : integer_types[static_cast<std::size_t>(random.below(8))];
    const bool is_signed = p.target_dtype <= fs::DType::i64;
    if (!is_signed) p.options.ignore_index = 3;
    const std::int64_t most = std::min<std::int64_t>(n, 127);
    for (std::int64_t r = 0; r < rows; ++r)
      p.classes.push_back(random.chance(0.3) ? p.options.ignore_index
                          : p.target_dtype >= fs::DType::i32 && p.target_dtype != fs::DType::u8
                              ? random.below(n)
                              : random.below(most));
    if (!is_signed && n <= 3)
      for (std::int64_t& c : p.classes) c = std::min<std::int64_t>(c, 0);
    p.targets = integers(p.target_dtype, p.classes);
  }
  p.weight_dtype = random.chance(0.5) ? fs::DType::f64 : fs::DType::f32;
  if (random.chance(0.4)) {
    for (std::int64_t c = 0; c < n; ++c)
      p.weights.push_back(c % 7 == 0 ? 0.0 : 0.5 + 0.0078125 * static_cast<double>(c % 64));
  }
  p.with_gradient = random.chance(0.8);
  p.with_logsumexp = random.chance(0.6);
  if (p.with_gradient && random.chance(0.5)) {
    const bool each = p.options.reduction == fs::Reduction::none && random.chance(0.7);
    for (std::int64_t r = 0; r < (each ? rows : 1); ++r)
      p.upstream.push_back(random.chance(0.1) ? 0.0 : static_cast<float>(random.normal()));
  }
  return p;
}

struct Result {
  Bytes loss, grad, logsumexp;
};

// run(logits, targets, out, options) with the problem's arrays, those of a GPU or converted as
// the CPU's interface wants them.
template <class Run>
Result with_arrays(const Problem& p, bool on_gpu, bool in_place, Run&& run) {
  Array scores = matrix(p.dtype, p.rows, p.n, p.layout);
  from_dense(scores, p.scores);
  Array grad = matrix(p.dtype, p.rows, p.n, p.layout);
  const fs::DType loss_dtype = p.dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  const bool each = p.options.reduction == fs::Reduction::none;
  Array loss = dense(loss_dtype, each ? Shape{p.rows, 1} : Shape{});
  Array logsumexp = dense(loss_dtype, {p.rows, 1});
  const Shape shape = p.probabilities ? Shape{p.rows, p.n} : Shape{p.rows};
  Array targets = dense(p.target_dtype, shape, p.targets);
  if (!p.probabilities && !on_gpu)
    targets = dense(fs::DType::i64, shape, integers(fs::DType::i64, p.classes));
  const auto doubles = [](const std::vector<double>& values, fs::DType dtype, const Shape& as) {
    Bytes bytes;
    for (const double v : values)
      dtype == fs::DType::f64 ? put<double>(bytes, v) : put<float>(bytes, v);
    return dense(dtype, as, bytes);
  };
  fs::CrossEntropyOptions options = p.options;
  const Array weights = doubles(p.weights, on_gpu ? p.weight_dtype : fs::DType::f64, {p.n});
  const Array upstream =
      doubles(p.upstream, on_gpu ? p.weight_dtype : fs::DType::f64,
              p.upstream.size() == 1 && !(each && p.rows == 1) ? Shape{} : Shape{p.rows});
  if (!p.weights.empty()) options.weight = weights.view();
  if (!p.upstream.empty()) options.grad_out = upstream.view();
  fs::CrossEntropyOutputs out;
  out.loss = loss.out();
  if (p.with_logsumexp) out.logsumexp = logsumexp.out();
  Array& gradient = in_place ? scores : grad;
  if (p.with_gradient) out.grad = gradient.out();
  run(scores.view(), targets.view(), out, options);
  return {loss.bytes, to_dense(gradient), logsumexp.bytes};
}

std::string describe(const Problem& p, const cuda::Plan& plan) {
  const fs::CrossEntropyOptions& o = p.options;
  return std::string(fs::name(p.dtype)) + " " + std::to_string(p.rows) + " x " +
         std::to_string(p.n) + " " + name(p.layout) + ", " + text_of(plan) + ", targets " +
         std::string(fs::name(p.target_dtype)) + (p.weights.empty() ? "" : ", weighted") +
         ", smoothing " + std::to_string(o.label_smoothing) + ", z " + std::to_string(o.z_loss) +
         ", softcap " + std::to_string(o.softcap) + ", reduction " +
         std::to_string(static_cast<int>(o.reduction));
}

void compare(Tally& tally, const Problem& p, const cuda::Plan& plan, const Result& expected,
             const Result& actual) {
  const fs::DType loss_dtype = p.dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  const auto text = [&](const char* part) { return describe(p, plan) + ": " + part; };
  tally.same(loss_dtype, expected.loss, actual.loss, [&] { return text("loss"); });
  tally.same(loss_dtype, expected.logsumexp, actual.logsumexp, [&] { return text("logsumexp"); });
  tally.same(p.dtype, expected.grad, actual.grad, [&] { return text("gradient"); });
}

Result on_host(const Problem& p) {
  return with_arrays(
      p, false, false,
      [](const auto& logits, const auto& targets, const auto& out, const auto& options) {
        fs::cross_entropy(logits, targets, 1, out, options);
      });
}

// plan_for(call) says how.
template <class PlanFor>
Result on_device(const Problem& p, bool in_place, Random* order, PlanFor&& plan_for) {
  return with_arrays(
      p, true, in_place,
      [&](const auto& logits, const auto& targets, const auto& out, const auto& options) {
        const cuda::LossCall call = cuda::loss_call(logits, targets, 1, out, options, 1.0);
        EmulatedLauncher launcher{order};
        launch(plan_for(call), call, launcher);
      });
}

// Under the device's plan, or without one under every plan that can do it.
void check(Tally& tally, const Problem& p, Random& random, const cuda::Device* device = nullptr) {
  const Result expected = on_host(p);
  std::vector<cuda::Plan> plans(1);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const bool in_place = p.with_gradient && random.chance(0.3);
    const Result actual = on_device(p, in_place, random.chance(0.5) ? &random : nullptr,
                                    [&](const cuda::LossCall& call) {
                                      if (i == 0 && device == nullptr)
                                        plans = crew_plans(call, random);
                                      if (device != nullptr)
                                        plans[0] = cuda::make_crew_plan(call, *device);
                                      return plans[i];
                                    });
    compare(tally, p, plans[i], expected, actual);
  }
}

TEST_CASE("losses of rows of every length and kind have the bits of the library on every path") {
  Random random(1);
  Tally tally;
  for_each_size(random, 8, 6,
                [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout) {
                  check(tally, random_problem(random, dtype, rows, n, layout), random);
                });
  CHECK(tally.failed() == 0);
  CHECK(tally.checked() > 3000);
}

// A thread block that is late finds the gradient of another in place of the target's score, unless
// it has read that before.
TEST_CASE("a cluster writes the gradient in place of scores") {
  Random random(4);
  Tally tally;
  for (int turn = 0; turn < 100; ++turn) {
    Problem p{};
    p.dtype = fs::DType::f64;
    p.rows = 8;
    p.n = 3 * 512 - 5;
    p.scores = random_rows(random, p.dtype, 8, static_cast<std::size_t>(p.n));
    p.target_dtype = fs::DType::i64;
    p.classes.assign(8, p.n - 1);  // the second thread block's
    p.targets = integers(p.target_dtype, p.classes);
    p.options.reduction = fs::Reduction::none;
    p.with_gradient = true;
    cuda::Plan plan = crew_plan(cuda::Path::cluster_rows, 2, 2, 0);
    plan.in_registers = true;
    compare(tally, p, plan, on_host(p),
            on_device(p, true, &random, [&](const cuda::LossCall&) { return plan; }));
  }
  CHECK(tally.failed() == 0);
}

// More rows than threads add up, too.
TEST_CASE("planned losses") {
  Random random(2);
  Tally tally;
  for_each_planned(random, [&](fs::DType dtype, std::int64_t rows, std::int64_t n, Layout layout,
                               const cuda::Device& device) {
    check(tally, random_problem(random, dtype, rows, n, layout), random, &device);
  });
  CHECK(tally.failed() == 0);
}

}  // namespace
}  // namespace tests
