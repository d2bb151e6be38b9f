// Distance from the exact result, in ulps: at most 4.
#include "reference.h"
#include "run.h"

using namespace tests;

namespace {

constexpr long double kMostUlps = 4;
// Where long double is computed in software, the reference takes most of the time.
constexpr bool kFastReference = std::numeric_limits<long double>::digits == 64;
constexpr std::size_t kLong = kFastReference ? 50257 : 2003;
constexpr std::size_t kMillion = kFastReference ? 1 << 20 : 1 << 16;

struct Errors {
  WorstAndMean softmax, log_softmax, logsumexp;
};

template <class T>
constexpr fs::DType dtype_of = sizeof(T) == sizeof(float) ? fs::DType::f32 : fs::DType::f64;

template <class T>
std::vector<T> result(fs::Op op, const Bytes& x) {
  const Bytes y = run_row(op, dtype_of<T>, x, {});
  std::vector<T> values(y.size() / sizeof(T));
  std::memcpy(values.data(), y.data(), y.size());
  return values;
}

std::string text(const char* op, const std::string& what, std::size_t i, long double actual,
                 long double exact) {
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, "%.21Lg instead of %.21Lg", actual, exact);
  return std::string(op) + ", " + what + ", element " + std::to_string(i) + ": " + numbers;
}

// Outputs below the smallest normal number are 0; within 8 ulps of it either may come out.
template <class T>
bool softmax_is_right(T actual, long double exact, WorstAndMean& errors) {
  constexpr long double smallest = std::numeric_limits<T>::min();
  constexpr long double margin = 8 * std::numeric_limits<T>::epsilon();
  if (exact < smallest * (1 - margin)) return actual == 0;
  if (exact < smallest * (1 + margin) && actual == 0) return true;
  const long double error = std::fabs(actual - exact) / ulp<T>(exact);
  errors.add(error);
  return error <= kMostUlps && actual <= 1 && actual > std::numeric_limits<T>::min();
}

// Likewise where the probability is 1 but for less than the smallest normal number.
template <class T>
bool log_softmax_is_right(T actual, long double exact, WorstAndMean& errors) {
  constexpr long double smallest = std::numeric_limits<T>::min();
  constexpr long double margin = 8 * std::numeric_limits<T>::epsilon();
  if (-exact < smallest * (1 - margin)) return actual == 0;
  if (-exact < smallest * (1 + margin) && actual == 0) return true;
  const long double error = std::fabs(actual - exact) / ulp<T>(exact);
  errors.add(error);
  return error <= kMostUlps && actual < 0;
}

template <class T>
void check_row(const std::vector<double>& values, const std::string& what, Tally& tally,
               Errors& errors) {
  const Bytes x = encode(dtype_of<T>, values);
  std::vector<double> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    rounded[i] = static_cast<double>(load<T>(&x[i * sizeof(T)]));
  if (*std::max_element(rounded.begin(), rounded.end()) == -kInfinity) return;
  const Reference reference(rounded);

  const std::vector<T> softmax = result<T>(fs::Op::softmax, x);
  const std::vector<T> log_softmax = result<T>(fs::Op::log_softmax, x);
  Compensated sum;
  for (std::size_t i = 0; i < softmax.size(); ++i) {
    const long double exact = reference.softmax(i);
    tally.expect(softmax_is_right(softmax[i], exact, errors.softmax),
                 [&] { return text("softmax", what, i, softmax[i], exact); });
    sum.add(softmax[i]);
    const long double exact_log = reference.log_softmax(i);
    if (std::isinf(exact_log)) {
      tally.expect(log_softmax[i] == -std::numeric_limits<T>::infinity(),
                   [&] { return text("log_softmax", what, i, log_softmax[i], exact_log); });
      continue;
    }
    tally.expect(log_softmax_is_right(log_softmax[i], exact_log, errors.log_softmax),
                 [&] { return text("log_softmax", what, i, log_softmax[i], exact_log); });
  }
  // Each term is off by 4 ulp at most or flushed.
  const long double slack =
      kMostUlps * std::numeric_limits<T>::epsilon() +
      static_cast<long double>(softmax.size()) * std::numeric_limits<T>::min();
  tally.expect(std::fabs(sum.value() - 1) <= slack,
               [&] { return text("sum of softmax", what, 0, sum.value(), 1); });

  const T logsumexp = result<T>(fs::Op::logsumexp, x)[0];
  const long double exact = reference.logsumexp();
  const long double error = std::fabs(logsumexp - exact) / ulp<T>(reference.magnitude());
  errors.logsumexp.add(error);
  tally.expect(error <= kMostUlps, [&] { return text("logsumexp", what, 0, logsumexp, exact); });
}

template <class T>
void report(const Errors& errors) {
  const auto line = [](const char* op, const WorstAndMean& e) {
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, "%s: worst %.3Lf ulp, mean %.4f; ", op, e.worst,
                  e.mean());
    return std::string(numbers);
  };
  MESSAGE(fs::name(dtype_of<T>) << ": " << line("softmax", errors.softmax)
                                << line("log_softmax", errors.log_softmax)
                                << line("logsumexp", errors.logsumexp));
}

template <class T>
void check_patterns(const std::vector<std::size_t>& lengths, std::size_t patterns) {
  Tally tally;
  Errors errors;
  for (const std::size_t n : lengths) {
    for (std::size_t p = 0; p < patterns; ++p) {
      std::vector<double> values(n);
      Random random(n + p);
      kPatterns[p].fill(random, values, block_of(dtype_of<T>));
      check_row<T>(values, std::string(kPatterns[p].name) + ", n = " + std::to_string(n), tally,
                   errors);
    }
  }
  CHECK(errors.softmax.count > 0);
  report<T>(errors);
}

// A vocabulary: log of 1 / rank, in random order.
std::vector<double> zipf(std::size_t n) {
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = -std::log(static_cast<double>(i + 1));
  Random random(n);
  for (std::size_t i = n; i > 1; --i)
    std::swap(values[i - 1],
              values[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
  return values;
}

template <class T>
void check_hostile() {
  Tally tally;
  Errors errors;
  Random random(5);
  for (int i = 0; i < (kFastReference ? 2000 : 300); ++i) {
    const double gap = (i % 2 == 0 ? 120.0 : 800.0) * random.uniform();
    const double offset = 1e4 * (random.uniform() - 0.5);
    check_row<T>({offset, offset - gap}, "two elements", tally, errors);
    check_row<T>({offset, std::nextafter(offset, 0.0), offset}, "near-ties", tally, errors);
    std::vector<double> dominated(static_cast<std::size_t>(2 + random.below(600)), offset - gap);
    dominated[dominated.size() / 3] = offset;
    check_row<T>(dominated, "one dominates", tally, errors);
    const std::vector<double> constant(static_cast<std::size_t>(1 + random.below(1200)), offset);
    check_row<T>(constant, "constant", tally, errors);
  }
  // What follows the large element in its lane is a bit less than half of its last place.
  for (std::size_t n = 2; n <= 4096; n += 1 + n / 5) {
    for (const double share : {0.26, 0.49, 0.51, 0.99, 1.49}) {
      for (const std::size_t large : {std::size_t{1}, std::size_t{2}, std::size_t{65}}) {
        std::vector<double> values(n, std::log(share * std::numeric_limits<T>::epsilon()));
        for (std::size_t i = 0; i < std::min(large, n); ++i) values[i] = 0.0;
        check_row<T>(values, "lost terms, n = " + std::to_string(n), tally, errors);
      }
    }
  }
  CHECK(errors.softmax.count > 100000);
  report<T>(errors);
}

template <class T>
void check_lone_elements() {
  Random random(6);
  for (int i = 0; i < 5000; ++i) {
    const double scale = std::ldexp(1.0, static_cast<int>(random.below(200)) - 100);
    const Bytes x = encode(dtype_of<T>, std::vector<double>{scale * random.normal()});
    CHECK(result<T>(fs::Op::softmax, x)[0] == T(1));
    CHECK(result<T>(fs::Op::log_softmax, x)[0] == T(0));
    CHECK(result<T>(fs::Op::logsumexp, x)[0] == load<T>(x.data()));
  }
}

}  // namespace

TEST_CASE("accuracy f32: all kinds of rows") {
  check_patterns<float>({2, 3, 17, 64, 255, 1000, 5003, kLong}, kPatterns.size());
}
TEST_CASE("accuracy f64: all kinds of rows") {
  check_patterns<double>({2, 3, 17, 64, 255, 1000, 5003, kLong}, kPatterns.size());
}
TEST_CASE("accuracy f32: a million elements") { check_patterns<float>({kMillion}, 3); }
TEST_CASE("accuracy f64: a million elements") { check_patterns<double>({kMillion}, 2); }
TEST_CASE("accuracy f32: hostile rows") { check_hostile<float>(); }
TEST_CASE("accuracy f64: hostile rows") { check_hostile<double>(); }
// One element whose exponential is as far off as any in one direction, others in the other one.
TEST_CASE("accuracy f32: errors of the exponential that meet") {
  Tally tally;
  Errors errors;
  for (const std::size_t n : {2, 64, 65, 104, 128, 1000}) {
    for (const double first : {0x1.69687ap-6, 0x1.ad2a64p+3, 0.0}) {
      std::vector<double> values(n, 0x1.ad2a64p+3);
      values[0] = first;
      check_row<float>(values, "errors that meet", tally, errors);
    }
  }
  CHECK(tally.checked() > 0);
}
TEST_CASE("accuracy: rows of one element are exact") {
  check_lone_elements<float>();
  check_lone_elements<double>();
}

TEST_CASE("accuracy: a vocabulary") {
  Tally tally;
  Errors errors;
  check_row<float>(zipf(128256), "zipf", tally, errors);
  report<float>(errors);
}

// f16 and bf16 are the f32 result rounded once.
TEST_CASE("accuracy f16, bf16: correctly rounded from f32") {
  Tally tally;
  for (const fs::DType dtype : {fs::DType::f16, fs::DType::bf16}) {
    for (const std::size_t n : {1, 2, 7, 64, 300, 2000}) {
      for (const Pattern& pattern : kPatterns) {
        const Bytes x = make_row(pattern, dtype, n, n);
        std::vector<double> values(n);
        for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<double>(get(dtype, &x[2 * i]));
        const Bytes exact = encode(fs::DType::f32, values);
        for (const fs::Op op : kOps) {
          const Bytes y = run_row(op, fs::DType::f32, exact);
          Bytes expected(y.size() / 2);
          for (std::size_t i = 0; i < expected.size(); i += 2)
            put(dtype, &expected[i], load<float>(&y[2 * i]));
          tally.same(dtype, expected, run_row(op, dtype, x, {}), [&] {
            return std::string(fs::name(op)) + " " + std::string(fs::name(dtype)) + " " +
                   pattern.name + " n=" + std::to_string(n);
          });
        }
      }
    }
  }
  CHECK(tally.checked() == static_cast<long>(2 * 6 * 3 * kPatterns.size()));
}

TEST_SUITE("exhaustive") {
  TEST_CASE("accuracy: 2^24 elements") {
    check_patterns<float>({1 << 24}, 11);
    check_patterns<double>({1 << 24}, 3);
  }
}
