// cross_entropy: values against the formula in long double, and the same bits from every
// instruction set, layout, batch and number of threads.
#include <algorithm>
#include <cmath>

#include "fastsoftmax/cross_entropy.hpp"
#include "float_environment.h"
#include "run.h"

using namespace tests;

namespace {

constexpr std::int64_t kIgnore = -100;

// What a call is given besides scores.
struct Case {
  const char* name;
  bool probabilities;
  bool weighted;
  double smoothing;
  double z_loss;
  double softcap;
};
constexpr std::array kLosses = {Case{"plain", false, false, 0.0, 0.0, 0.0},
                                Case{"z-loss", false, true, 0.0, 1e-2, 0.0},
                                Case{"smoothed", false, false, 0.1, 0.0, 0.0},
                                Case{"soft-capped", false, false, 0.0, 0.0, 9.0},
                                Case{"weighted", false, true, 0.2, 1e-3, 20.0},
                                Case{"soft", true, false, 0.0, 0.0, 0.0},
                                Case{"all", true, true, 0.3, 1e-2, 30.0}};

struct Problem {
  fs::DType dtype;
  std::int64_t rows;
  std::int64_t n;
  Bytes scores;
  std::vector<std::int64_t> targets;
  std::vector<double> weights;
  Bytes probabilities;

  Array lay_out(const Bytes& elements, Layout layout) const {
    Array a = matrix(dtype, rows, n, layout);
    from_dense(a, elements);
    return a;
  }
};

struct Result {
  Bytes loss, grad, logsumexp;
};

Problem make_problem(fs::DType dtype, std::int64_t rows, std::int64_t n, std::uint64_t seed) {
  Random random(seed);
  Problem p{dtype, rows, n, {}, {}, {}, {}};
  for (std::int64_t r = 0; r < rows; ++r) {
    const Bytes row = make_row(kPatterns[random.below(kPatterns.size())], dtype,
                               static_cast<std::size_t>(n), random.bits());
    const Bytes q = run_row(fs::Op::softmax, dtype,
                            make_row(kPatterns[0], dtype, static_cast<std::size_t>(n), seed + 1));
    p.scores.insert(p.scores.end(), row.begin(), row.end());
    p.probabilities.insert(p.probabilities.end(), q.begin(), q.end());
    p.targets.push_back(r % 5 == 3
                            ? kIgnore
                            : static_cast<std::int64_t>(random.below(static_cast<std::size_t>(n))));
  }
  for (std::int64_t c = 0; c < n; ++c)
    p.weights.push_back(c % 7 == 0 ? 0.0 : 0.5 + 0.01 * static_cast<double>(c % 100));
  return p;
}

Result run(const Problem& p, const Case& how, Layout layout, bool in_place, int threads = 1,
           fs::Reduction reduction = fs::Reduction::none) {
  Array scores = p.lay_out(p.scores, layout);
  const Array probabilities = p.lay_out(p.probabilities, layout);
  const fs::DType loss_dtype = p.dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  Array loss = dense(loss_dtype, reduction == fs::Reduction::none ? Shape{p.rows, 1} : Shape{});
  Array logsumexp = dense(loss_dtype, {p.rows, 1});
  Array grad = matrix(p.dtype, p.rows, p.n, layout);
  const Shape rows = {p.rows};
  const Shape classes = {p.n};
  const Shape step = {8};
  fs::CrossEntropyOptions options;
  options.label_smoothing = how.smoothing;
  options.z_loss = how.z_loss;
  options.softcap = how.softcap;
  options.reduction = reduction;
  options.max_threads = threads;
  if (how.weighted) options.weight = {p.weights.data(), fs::DType::f64, classes, step};
  const fs::ConstView targets = how.probabilities
                                    ? probabilities.view()
                                    : fs::ConstView{p.targets.data(), fs::DType::i64, rows, step};
  Array& gradient = in_place ? scores : grad;
  fs::cross_entropy(scores.view(), targets, 1, {loss.out(), gradient.out(), logsumexp.out()},
                    options);
  return {loss.bytes, to_dense(gradient), logsumexp.bytes};
}

// Each row as a call of its own, by the reference instruction set.
Result expected_of(const Problem& p, const Case& how) {
  const UseIsa reference(fs::Isa::scalar);
  Result all;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const auto part = [&](const Bytes& bytes) {
      const auto size = p.n * fs::itemsize(p.dtype);
      return Bytes(bytes.begin() + r * size, bytes.begin() + (r + 1) * size);
    };
    const Problem one{p.dtype,
                      1,
                      p.n,
                      part(p.scores),
                      {p.targets[static_cast<std::size_t>(r)]},
                      p.weights,
                      part(p.probabilities)};
    const Result result = run(one, how, Layout::rows, false);
    all.loss.insert(all.loss.end(), result.loss.begin(), result.loss.end());
    all.grad.insert(all.grad.end(), result.grad.begin(), result.grad.end());
    all.logsumexp.insert(all.logsumexp.end(), result.logsumexp.begin(), result.logsumexp.end());
  }
  return all;
}

void compare(Tally& tally, const Problem& p, const Case& how, const Result& expected,
             const Result& actual, const std::string& what) {
  const fs::DType loss_dtype = p.dtype == fs::DType::f64 ? fs::DType::f64 : fs::DType::f32;
  const auto text = [&](const char* part) {
    return std::string(how.name) + " " + std::string(fs::name(p.dtype)) +
           " n=" + std::to_string(p.n) + " " + what + ": " + part;
  };
  tally.same(loss_dtype, expected.loss, actual.loss, [&] { return text("loss"); });
  tally.same(loss_dtype, expected.logsumexp, actual.logsumexp, [&] { return text("logsumexp"); });
  tally.same(p.dtype, expected.grad, actual.grad, [&] { return text("gradient"); });
}

}  // namespace

TEST_CASE("cross_entropy: the same bits from every layout as from single rows of scalar kernels") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    const auto block = static_cast<std::int64_t>(block_of(dtype));
    std::vector<std::int64_t> lengths;
    for (std::int64_t n = 1; n <= 300; n += n < 70 ? 3 : 23) lengths.push_back(n);
    for (const std::int64_t n : {block - 1, block, block + 1, 2 * block + 63}) lengths.push_back(n);
    std::size_t turn = 0;
    for (const std::int64_t n : lengths) {
      const Problem p = make_problem(dtype, 19, n, static_cast<std::uint64_t>(n));
      for (std::size_t i = 0; i < 3; ++i) {
        const Case& how = kLosses[turn++ % kLosses.size()];
        const Result expected = expected_of(p, how);
        for (const Layout layout : kLayouts) {
          for (const bool in_place : {false, true})
            compare(tally, p, how, expected, run(p, how, layout, in_place),
                    std::string(name(layout)) + (in_place ? " in place" : ""));
        }
      }
    }
  }
  CHECK(tally.checked() > 2'000);
  CHECK(tally.failed() == 0);
}

namespace {

// Whether the largest element of a row is in the domain of the exponential, and no element NaN.
bool is_regular(fs::DType dtype, const Bytes& row) {
  long double max = -kInfinity;
  for (std::size_t at = 0; at < row.size(); at += item_bytes(dtype)) {
    const long double value = get(dtype, &row[at]);
    if (std::isnan(value)) return false;
    max = std::max(max, value);
  }
  return std::fabs(max) < kDomain;
}

// Rows side by side as kernels for columns take them, but one, perhaps.
Problem make_columns(fs::DType dtype, std::int64_t rows, std::int64_t n, bool special) {
  Problem p = make_problem(dtype, rows, n, static_cast<std::uint64_t>(rows * n));
  Random random(static_cast<std::uint64_t>(n));
  const auto length = static_cast<std::size_t>(n);
  p.scores.clear();
  for (std::int64_t r = 0; r < rows; ++r) {
    Bytes row;
    do row = make_row(kPatterns[random.below(kPatterns.size())], dtype, length, random.bits());
    while (!is_regular(dtype, row));
    if (special && r == rows * 2 / 3) {
      constexpr std::array values = {kInfinity, -kInfinity,
                                     std::numeric_limits<double>::quiet_NaN()};
      row = encode(dtype, std::vector<double>(length, values[random.below(values.size())]));
    }
    p.scores.insert(p.scores.end(), row.begin(), row.end());
  }
  return p;
}

}  // namespace

TEST_CASE("cross_entropy: few classes along a strided axis, bits of contiguous rows") {
  Tally tally;
  constexpr std::array<std::int64_t, 11> kRows = {2, 600, 15, 16, 17, 63, 64, 65, 100, 255, 257};
  std::size_t turn = 0;
  for (const fs::DType dtype : kFloatTypes) {
    for (std::int64_t n = 1; n <= 70; ++n) {
      const std::int64_t rows = kRows[turn % kRows.size()];
      const Problem p = make_columns(dtype, rows, n, turn % 3 == 1);
      const Case& how = kLosses[turn++ % 3];
      const Result expected = run(p, how, Layout::rows, false);
      for (const Layout layout : {Layout::columns, Layout::padded_columns}) {
        for (const bool in_place : {false, true})
          compare(tally, p, how, expected,
                  run(p, how, layout, in_place, 1 + static_cast<int>(n % 2)),
                  std::to_string(rows) + " " + name(layout) + (in_place ? " in place" : ""));
      }
    }
  }
  // So large that stores bypass the cache, as a rule.
  const Problem large = make_columns(fs::DType::f32, 300'000, 16, false);
  const Result expected = run(large, kLosses[0], Layout::rows, false);
  for (const int threads : {1, 3})
    compare(tally, large, kLosses[0], expected,
            run(large, kLosses[0], Layout::columns, false, threads), "large");
  CHECK(tally.checked() > 2'000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("cross_entropy: the same bits from any number of threads and with streaming stores") {
  Tally tally;
  for (const fs::DType dtype : kFloatTypes) {
    for (const auto& [rows, n] :
         {std::pair<std::int64_t, std::int64_t>{3, 300'001}, {300, 1500}, {5000, 30}}) {
      const Problem p = make_problem(dtype, rows, n, 11);
      for (const Case& how : {kLosses[0], kLosses[6]}) {
        const Result expected = run(p, how, Layout::rows, false);
        for (const int threads : {2, 5})
          compare(tally, p, how, expected, run(p, how, Layout::rows, false, threads),
                  std::to_string(threads) + " threads");
      }
    }
  }
  CHECK(tally.failed() == 0);
}

TEST_CASE("cross_entropy: the host's floating-point environment does not matter") {
  for (const fs::DType dtype : kFloatTypes) {
    const Problem p = make_problem(dtype, 7, 70, 3);
    for (const Case& how : kLosses) {
      CAPTURE(name(dtype));
      CAPTURE(how.name);
      check_in_each_environment([&] {
        const Result result = run(p, how, Layout::rows, false, 1, fs::Reduction::mean);
        return std::vector{result.loss, result.grad, result.logsumexp};
      });
    }
  }
}

TEST_CASE("cross_entropy: within the bounds of the header") {
  for (const fs::DType dtype : {fs::DType::f32, fs::DType::f64}) {
    const bool f64 = dtype == fs::DType::f64;
    const long double u = f64 ? 0x1p-53L : 0x1p-24L;
    for (const std::int64_t n : {1, 2, 31, 64, 700, 1024, 5000}) {
      Problem p = make_problem(dtype, 1, n, static_cast<std::uint64_t>(n));
      p.scores = make_row(kPatterns[0], dtype, static_cast<std::size_t>(n), 3);
      const Result result = run(p, kLosses[0], Layout::rows, false);
      const auto item = item_bytes(dtype);
      const auto z = [&](std::size_t i) { return get(dtype, &p.scores[i * item]); };
      const auto size = static_cast<std::size_t>(n);
      long double top = z(0);
      for (std::size_t i = 1; i < size; ++i) top = std::max(top, z(i));
      long double sum = 0;
      for (std::size_t i = 0; i < size; ++i) sum += std::exp(z(i) - top);
      const auto target = static_cast<std::size_t>(p.targets[0]);
      const long double loss = std::log(sum) - (z(target) - top);
      CHECK(std::fabs(get(dtype, result.loss.data()) - loss) <= 3 * u * loss);
      for (std::size_t i = 0; i < size; ++i) {
        const long double share = std::exp(z(i) - top) / sum;
        long double others = 0;
        for (std::size_t j = 0; i == target && j < size; ++j)
          others += j == target ? 0 : std::exp(z(j) - top) / sum;
        const long double wanted = i == target ? -others : share;
        const long double bound = f64 ? 10 + std::log(sum) : 8;
        CHECK(std::fabs(get(dtype, &result.grad[i * item]) - wanted) <=
              bound * u * std::fabs(wanted));
      }
    }
  }
}

TEST_CASE("cross_entropy: refuses what it cannot do and writes nothing") {
  Array scores = dense(fs::DType::f32, {2, 3}, Bytes(24));
  Array loss = dense(fs::DType::f32, {});
  const Bytes before = scores.bytes;
  const Shape rows = {2};
  const Shape step = {8};
  const auto call = [&](std::vector<std::int64_t> targets, const fs::View& out,
                        const fs::CrossEntropyOptions& options = {}) {
    fs::cross_entropy(scores.view(), {targets.data(), fs::DType::i64, rows, step}, 1,
                      {out, scores.out(), {}}, options);
  };
  CHECK_THROWS_AS(call({0, 3}, loss.out()), fs::InvalidIndex);
  CHECK_THROWS_AS(call({-1, 0}, loss.out()), fs::InvalidIndex);
  CHECK_THROWS_AS(call({0, 0}, scores.out()), fs::InvalidArgument);
  CHECK_THROWS_AS(call({0, 0}, {}), fs::InvalidArgument);
  fs::CrossEntropyOptions options;
  options.label_smoothing = -0.1;
  CHECK_THROWS_AS(call({0, 0}, loss.out(), options), fs::InvalidArgument);
  options = {};
  options.softcap = -1.0;
  CHECK_THROWS_AS(call({0, 0}, loss.out(), options), fs::InvalidArgument);
  options = {};
  options.reduction = fs::Reduction::none;
  CHECK_THROWS_AS(call({0, 0}, loss.out(), options), fs::InvalidArgument);
  CHECK(scores.bytes == before);
}
