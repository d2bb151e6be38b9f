// log Phi and its derivative within the error that kernels/log_normal_cdf.h states.
#include "layer_kernels.h"
#include "reference.h"
#include "run.h"

using namespace tests;

namespace {

// The bounds that kernels/log_normal_cdf.h states, in ulp.
template <class T>
struct Claims;
template <>
struct Claims<float> {
  static constexpr double log = 0.501;
  static constexpr double slope = 0.501;
};
template <>
struct Claims<double> {
  static constexpr double log = 9.0;
  static constexpr double slope = 7.0;
};

constexpr long double kPerRootTwoPi = 0.398942280401432677939946059934381868L;

// Phi(-t) e^(t^2/2) for t >= 0: the series of Mills' ratio where its terms get that small.
long double mills_over_root(long double t) {
  if (t < 12) return 0.5L * std::erfc(t / std::sqrt(2.0L)) * std::exp(0.5L * t * t);
  long double sum = 1;
  long double term = 1;
  for (int i = 1; i < 70; ++i) {
    term *= -static_cast<long double>(2 * i - 1) / (t * t);
    sum += term;
  }
  return kPerRootTwoPi * sum / t;
}

struct Exact {
  long double log, slope;
};
Exact exact_at(long double x) {
  const long double t = std::fabs(x);
  const long double scaled = mills_over_root(t);
  if (x < 0) return {std::log(scaled) - 0.5L * t * t, kPerRootTwoPi / scaled};
  const long double e = std::exp(-0.5L * t * t);
  return {std::log1p(-e * scaled), kPerRootTwoPi * e / (1 - e * scaled)};
}

template <class T>
struct LogNormals {
  std::vector<T> x, log, slope;
  WorstAndMean log_errors, slope_errors;

  void compute() {
    log.resize(x.size());
    slope.resize(x.size());
    layer_kernels<T>().log_normal_cdf(x.data(), static_cast<std::int64_t>(x.size()), log.data(),
                                      slope.data());
  }
  void check(Tally& tally) {
    compute();
    for (std::size_t i = 0; i < x.size(); ++i) {
      tally.expect(is_right(x[i], log[i], slope[i]), [&] {
        return "log Phi(" + std::to_string(x[i]) + ") = " + std::to_string(log[i]) + ", slope " +
               std::to_string(slope[i]);
      });
    }
  }

 private:
  bool is_right(T at, T log_p, T derivative) {
    if (std::isnan(at)) {
      const T nan = std::numeric_limits<T>::quiet_NaN();
      return same(&log_p, &nan, 1) && same(&derivative, &nan, 1);
    }
    if (std::isinf(at))
      return at > 0 ? log_p == 0 && derivative == 0 : log_p == at && derivative == -at;
    const Exact exact = exact_at(static_cast<long double>(at));
    return is_near(log_p, exact.log, Claims<T>::log, log_errors) &&
           is_near(derivative, exact.slope, Claims<T>::slope, slope_errors) && log_p <= T(0) &&
           derivative >= T(0);
  }
  static bool is_near(T value, long double exact, double ulps, WorstAndMean& errors) {
    const long double size = std::fabs(exact);
    if (size > static_cast<long double>(std::numeric_limits<T>::max())) return std::isinf(value);
    const auto smallest = static_cast<long double>(std::numeric_limits<T>::min());
    // The exponential is 0 below 2^(-1/32) of the smallest normal number, and what it is times the
    // rest may be as well.
    if (size < smallest) return value == T(0);
    if (size < 64 * smallest && value == T(0)) return true;
    const long double error = std::fabs(static_cast<long double>(value) - exact) /
                              static_cast<long double>(ulp<T>(exact));
    errors.add(error);
    return error <= static_cast<long double>(ulps);
  }
};

template <class T>
void report(const LogNormals<T>& of) {
  MESSAGE((sizeof(T) == 8 ? "f64" : "f32")
          << ": log Phi worst " << static_cast<double>(of.log_errors.worst) << " ulp, mean "
          << static_cast<double>(of.log_errors.mean()) << "; its derivative worst "
          << static_cast<double>(of.slope_errors.worst) << " ulp, mean "
          << static_cast<double>(of.slope_errors.mean()) << "; " << of.log_errors.count
          << " arguments");
}

// Every exponent, either sign, and what is near 0 and the ends of the normal numbers.
template <class T, class Bits>
std::vector<T> stratified(int exponents, int fraction_bits, int per_binade) {
  std::vector<T> x;
  Random random(3);
  for (int field = 0; field < 2 * exponents; ++field) {
    for (int i = 0; i < per_binade; ++i) {
      const Bits bits =
          (static_cast<Bits>(field) << fraction_bits) |
          (i == 0 ? 0 : static_cast<Bits>(random.bits()) & ((Bits(1) << fraction_bits) - 1));
      x.push_back(load<T>(&bits));
    }
  }
  for (int i = 0; i < 200000; ++i)
    x.push_back(static_cast<T>((i % 4 == 0 ? 40.0 : 8.0) * (random.uniform() - 0.5) * 2.0));
  return x;
}

}  // namespace

TEST_CASE("log Phi: every exponent, either sign") {
  Tally tally;
  LogNormals<float> f32;
  f32.x = stratified<float, std::uint32_t>(256, 23, 400);
  f32.check(tally);
  report(f32);
  LogNormals<double> f64;
  f64.x = stratified<double, std::uint64_t>(2048, 52, 40);
  f64.check(tally);
  report(f64);
  CHECK(tally.checked() == 512 * 400 + 4096 * 40 + 2 * 200000);
  CHECK(tally.failed() == 0);
}

TEST_CASE("log Phi: parts of registers, in place, one result without the other") {
  const auto check = []<class T>(T) {
    Random random(5);
    for (const std::size_t count : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 255, 256, 257, 600}) {
      LogNormals<T> of;
      of.x = numbers<T>(random, count, true);
      of.compute();
      const auto number = static_cast<std::int64_t>(count);
      std::vector<T> values = of.x;
      values.push_back(T(77));
      layer_kernels<T>().log_normal_cdf(values.data(), number, values.data(), nullptr);
      CHECK(same(values.data(), of.log.data(), count));
      CHECK(values.back() == T(77));
      std::copy(of.x.begin(), of.x.end(), values.begin());
      layer_kernels<T>().log_normal_cdf(values.data(), number, nullptr, values.data());
      CHECK(same(values.data(), of.slope.data(), count));
      CHECK(values.back() == T(77));
      for (std::size_t i = 0; i < count; ++i) {
        LogNormals<T> alone;
        alone.x = {of.x[i]};
        alone.compute();
        CHECK(same(&alone.log[0], &of.log[i], 1));
        CHECK(same(&alone.slope[0], &of.slope[i], 1));
      }
    }
  };
  check(float{});
  check(double{});
}
