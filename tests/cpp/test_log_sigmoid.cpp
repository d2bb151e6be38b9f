// log sigma and its derivative within the error that kernels/log_sigmoid.h states, and the way down
// a binary tree that is made of it.
#include "layer_kernels.h"
#include "reference.h"
#include "run.h"

using namespace tests;

namespace {

// The bounds that kernels/log_sigmoid.h states, in ulp.
template <class T>
struct Claims;
template <>
struct Claims<float> {
  static constexpr double log = 2.6;
  static constexpr double slope = 2.41;
};
template <>
struct Claims<double> {
  static constexpr double log = 1.4;
  static constexpr double slope = 2.1;
};

template <class T>
struct LogSigmoids {
  std::vector<T> s, log, slope;
  WorstAndMean log_errors, slope_errors;

  void compute() {
    log.resize(s.size());
    slope.resize(s.size());
    layer_kernels<T>().log_sigmoid(s.data(), static_cast<std::int64_t>(s.size()), log.data(),
                                   slope.data());
  }
  // Real is wider than T.
  template <class Real>
  void check(Tally& tally) {
    compute();
    for (std::size_t i = 0; i < s.size(); ++i) {
      tally.expect(is_right<Real>(s[i], log[i], slope[i]), [&] {
        return "log sigma(" + std::to_string(s[i]) + ") = " + std::to_string(log[i]) + ", slope " +
               std::to_string(slope[i]);
      });
    }
  }

 private:
  template <class Real>
  bool is_right(T x, T log_p, T derivative) {
    if (std::isnan(x)) {
      const T nan = std::numeric_limits<T>::quiet_NaN();
      return same(&log_p, &nan, 1) && same(&derivative, &nan, 1);
    }
    const Real t = std::exp(-std::fabs(static_cast<Real>(x)));
    const Real exact = std::min(static_cast<Real>(x), Real(0)) - std::log1p(t);
    const Real exact_slope = (x < T(0) ? Real(1) : t) / (Real(1) + t);
    if (std::isinf(exact)) return log_p == x && derivative == T(1);
    return is_near<Real>(log_p, exact, Claims<T>::log, log_errors) &&
           is_near<Real>(derivative, exact_slope, Claims<T>::slope, slope_errors) &&
           log_p <= T(0) && derivative >= T(0) && derivative <= T(1);
  }
  // Zero where the exponential is, below 2^(-1/32) of the smallest normal number.
  template <class Real>
  static bool is_near(T value, Real exact, double ulps, WorstAndMean& errors) {
    const Real size = std::fabs(exact) / static_cast<Real>(std::numeric_limits<T>::min());
    if (size < Real(0.9785)) return value == T(0);
    if (size < Real(0.9787) && value == T(0)) return true;
    const Real error =
        std::fabs(static_cast<Real>(value) - exact) / static_cast<Real>(ulp<T>(exact));
    errors.add(error);
    return error <= static_cast<Real>(ulps);
  }
};

template <class T>
void report(const LogSigmoids<T>& of) {
  MESSAGE((sizeof(T) == 8 ? "f64" : "f32")
          << ": log sigma worst " << static_cast<double>(of.log_errors.worst) << " ulp, mean "
          << of.log_errors.mean() << "; its derivative worst "
          << static_cast<double>(of.slope_errors.worst) << " ulp, mean " << of.slope_errors.mean()
          << "; " << of.log_errors.count << " arguments");
}

// Every exponent, either sign, and what is near 0 and the end of the normal numbers.
template <class T, class Bits>
std::vector<T> stratified(int exponents, int fraction_bits, int per_binade) {
  std::vector<T> s;
  Random random(3);
  for (int field = 0; field < 2 * exponents; ++field) {
    for (int i = 0; i < per_binade; ++i) {
      const Bits bits =
          (static_cast<Bits>(field) << fraction_bits) |
          (i == 0 ? 0 : static_cast<Bits>(random.bits()) & ((Bits(1) << fraction_bits) - 1));
      s.push_back(load<T>(&bits));
    }
  }
  for (int i = 0; i < 400000; ++i)
    s.push_back(static_cast<T>((i % 4 == 0 ? 720.0 : 100.0) * (random.uniform() - 0.5) * 2.1));
  return s;
}

// Node by node in plain double.
template <class T>
void check_descent() {
  constexpr std::size_t line = kJoined<T>;
  Random random(4);
  // Node 0 with slot 0: node 1 in slot 2, leaf line 0; node 1: leaf lines 1 and 2.
  const std::vector<std::int32_t> from = {0, 2};
  const std::vector<std::int32_t> places = {2, -1, -3, -2};
  auto scores = numbers<T>(random, 2 * line, true);
  scores[0] = std::numeric_limits<T>::infinity();
  scores[line + 1] = std::numeric_limits<T>::quiet_NaN();
  std::vector<double> slots(3 * line, 0.0);
  for (std::size_t r = 0; r < line; ++r) slots[r] = -0.1 * static_cast<double>(r);
  const std::vector<double> above(slots.begin(), slots.begin() + line);
  std::vector<T> leaves(3 * line);
  fs::kernels::DescentJob job{};
  job.scores = scores.data();
  job.nodes = 2;
  job.from = from.data();
  job.places = places.data();
  job.slots = slots.data();
  job.leaves = leaves.data();
  layer_kernels<T>().descend(job);
  for (std::size_t r = 0; r < line; ++r) {
    const T z[] = {scores[r], -scores[r], scores[line + r], -scores[line + r]};
    T log_p[4];
    layer_kernels<T>().log_sigmoid(z, 4, log_p, nullptr);
    const double inner = above[r] + static_cast<double>(log_p[0]);
    const T expected[] = {canonical(static_cast<T>(above[r] + static_cast<double>(log_p[1]))),
                          canonical(static_cast<T>(inner + static_cast<double>(log_p[3]))),
                          canonical(static_cast<T>(inner + static_cast<double>(log_p[2])))};
    for (std::size_t leaf = 0; leaf < 3; ++leaf)
      CHECK(same(&leaves[leaf * line + r], &expected[leaf], 1));
  }
}

}  // namespace

TEST_CASE("log sigma: every exponent, either sign") {
  Tally tally;
  LogSigmoids<float> f32;
  f32.s = stratified<float, std::uint32_t>(256, 23, 2000);
  f32.check<double>(tally);
  report(f32);
  LogSigmoids<double> f64;
  f64.s = stratified<double, std::uint64_t>(2048, 52, 50);
  f64.check<long double>(tally);
  report(f64);
  CHECK(tally.checked() == 512 * 2000 + 4096 * 50 + 2 * 400000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("log sigma: parts of registers, in place, with and without slopes") {
  const auto check = []<class T>(T) {
    Random random(5);
    for (std::size_t count = 0; count <= 40; ++count) {
      LogSigmoids<T> of;
      of.s = numbers<T>(random, count, true);
      of.compute();
      std::vector<T> values = of.s;
      values.push_back(T(77));
      const auto number = static_cast<std::int64_t>(count);
      layer_kernels<T>().log_sigmoid(values.data(), number, values.data(), nullptr);
      CHECK(same(values.data(), of.log.data(), count));
      CHECK(values.back() == T(77));
      std::copy(of.s.begin(), of.s.end(), values.begin());
      std::vector<T> log(count + 1, T(77));
      layer_kernels<T>().log_sigmoid(values.data(), number, log.data(), values.data());
      CHECK(same(log.data(), of.log.data(), count));
      CHECK(same(values.data(), of.slope.data(), count));
      CHECK(log.back() == T(77));
      for (std::size_t i = 0; i < count; ++i) {
        LogSigmoids<T> alone;
        alone.s = {of.s[i]};
        alone.compute();
        CHECK(same(&alone.log[0], &of.log[i], 1));
      }
    }
  };
  check(float{});
  check(double{});
}

TEST_CASE("log sigma: exact and special arguments") {
  const auto check = []<class T>(T) {
    using Limits = std::numeric_limits<T>;
    LogSigmoids<T> of;
    of.s = {
        Limits::infinity(), -Limits::infinity(), Limits::max(), Limits::lowest(), T(0), T(-0.0)};
    of.compute();
    const T half = of.log[4];
    CHECK(std::fabs(half + T(0.69314718055994530942L)) <= Limits::epsilon());
    CHECK(of.log == std::vector<T>{0, -Limits::infinity(), 0, Limits::lowest(), half, half});
    CHECK(of.slope == std::vector<T>{0, 1, 0, 1, T(0.5), T(0.5)});
    CHECK(!std::signbit(of.log[0]));
  };
  check(float{});
  check(double{});
}

TEST_CASE("the way down a binary tree") {
  check_descent<float>();
  check_descent<double>();
}

TEST_SUITE("exhaustive") {
  TEST_CASE("log sigma f32: every argument there is") {
    Tally tally;
    LogSigmoids<float> of;
    constexpr std::uint32_t chunk = 1u << 20;
    of.s.resize(chunk);
    for (std::uint64_t first = 0; first < (std::uint64_t{1} << 32); first += chunk) {
      for (std::uint32_t i = 0; i < chunk; ++i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(first) + i;
        of.s[i] = load<float>(&bits);
      }
      of.check<double>(tally);
    }
    CHECK(tally.checked() == std::int64_t{1} << 32);
    CHECK(tally.failed() == 0);
    report(of);
  }
}
