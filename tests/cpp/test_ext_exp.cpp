// The extended exponential e^x = m * 2^n, as the kernels form it: the claims of kernels/ext_exp.h.
#include "dispatch.h"
#include "reference.h"
#include "run.h"

using namespace tests;

namespace {

template <class T>
struct Pairs {
  std::vector<T> x, m, n;

  void resize(std::size_t size) {
    x.resize(size);
    m.resize(size);
    n.resize(size);
  }
  void compute() {
    m.resize(x.size());
    n.resize(x.size());
    if constexpr (sizeof(T) == 4)
      fs::kernels_in_use().ext_exp_f32(x.data(), m.data(), n.data(), x.size());
    else
      fs::kernels_in_use().ext_exp_f64(x.data(), m.data(), n.data(), x.size());
  }
};

template <class T>
std::pair<T, T> pair_of(T x) {
  Pairs<T> p;
  p.x = {x};
  p.compute();
  return {p.m[0], p.n[0]};
}

constexpr double kClamp = -2.0 * kDomain;

// Bounds of the error in ulps and of m inside the domain. Ahead of rounding to an integer
// x * 16 log2 e is off by its last place, which for n near 2^17 shows in f32.
template <class T>
struct Claims;
template <>
struct Claims<float> {
  static constexpr double ulps = 0.59;
  static constexpr float smallest = 0.975f;
  static constexpr float largest = 1.963f;
};
template <>
struct Claims<double> {
  static constexpr double ulps = 0.65;
  static constexpr double smallest = 0.97857;
  static constexpr double largest = 1.95715;
};

// Whether the pair of x is what it must be; adds to `errors` where x is in the domain.
template <class T, class Real>
bool is_right(T x, T m, T n, WorstAndMean& errors) {
  const auto v = static_cast<double>(x);
  if (std::isnan(x)) return std::isnan(m);
  if (v > kDomain + kLn2) return n > T(131072) || std::isnan(m);
  if (n != std::rint(n)) return false;
  if (v < -kDomain - 0.5 * kLn2)
    return m > T(0.97) && m < T(2) && n <= T(-131072) && n >= T(-262144);
  if (m < Claims<T>::smallest || m > Claims<T>::largest) return false;
  // In Real, as in exp_over_power.
  const Real n_exact = static_cast<Real>(n);
  const Real r = (static_cast<Real>(x) - n_exact * Real(0x1.62e42feep-1)) -
                 n_exact * Real(0x1.a39ef35793c7673007e6p-33L);
  const Real exact = std::exp(r);
  const Real unit = exact < Real(1) ? std::numeric_limits<T>::epsilon() / Real(2)
                                    : Real(std::numeric_limits<T>::epsilon());
  const Real error = std::fabs(static_cast<Real>(m) - exact) / unit;
  errors.add(error);
  return error <= Real(Claims<T>::ulps);
}

// Computes all pairs and checks them; x ascending.
template <class T, class Real>
void check(Pairs<T>& p, Tally& tally, WorstAndMean& errors) {
  p.compute();
  T last = -std::numeric_limits<T>::infinity();
  for (std::size_t i = 0; i < p.x.size(); ++i) {
    const bool monotone = std::isnan(p.x[i]) || !(p.n[i] < last);
    last = p.n[i];
    tally.expect(monotone && is_right<T, Real>(p.x[i], p.m[i], p.n[i], errors), [&] {
      return "x = " + std::to_string(p.x[i]) + " gives m = " + std::to_string(p.m[i]) +
             ", n = " + std::to_string(p.n[i]);
    });
  }
}

// Every exponent and sign with `per_binade` fractions each, and three numbers on either side of the
// places where n changes.
template <class T, class Bits>
std::vector<T> stratified(int exponents, int fraction_bits, std::int64_t per_binade,
                          std::int64_t edges) {
  std::vector<T> x;
  Random random(3);
  for (int sign = 0; sign < 2; ++sign) {
    for (int e = 0; e < exponents; ++e) {
      const Bits base = (static_cast<Bits>(sign * exponents) + static_cast<Bits>(e))
                        << fraction_bits;
      for (std::int64_t i = 0; i < per_binade; ++i) {
        const Bits bits =
            base + (static_cast<Bits>(random.bits()) & ((Bits(1) << fraction_bits) - 1));
        x.push_back(load<T>(&bits));
      }
      x.push_back(load<T>(&base));
    }
  }
  for (std::int64_t i = 0; i < edges; ++i) {
    const std::int64_t k = i < 2000 ? i : random.below(262144);
    for (const double sign : {-1.0, 1.0}) {
      auto v = static_cast<T>(sign * (static_cast<double>(k) + sign * -0.03125) * kLn2);
      for (int step = 0; step < 3; ++step)
        v = std::nextafter(v, -std::numeric_limits<T>::infinity());
      for (int step = 0; step < 7; ++step) {
        x.push_back(v);
        v = std::nextafter(v, std::numeric_limits<T>::infinity());
      }
    }
  }
  std::erase_if(x, [](T v) { return std::isnan(v); });
  std::sort(x.begin(), x.end());
  return x;
}

template <class T>
void check_special_arguments() {
  using Limits = std::numeric_limits<T>;
  CHECK(pair_of(T(0)) == std::pair(T(1), T(0)));
  CHECK(pair_of(T(-0.0)) == std::pair(T(1), T(0)));
  CHECK(pair_of(Limits::denorm_min()) == std::pair(T(1), T(0)));
  CHECK(std::isnan(pair_of(Limits::quiet_NaN()).first));
  CHECK(std::isnan(pair_of(-Limits::quiet_NaN()).first));
  CHECK(pair_of(Limits::infinity()).second > T(131072));
  CHECK(pair_of(static_cast<T>(kDomain)).second == T(131072));
  CHECK(pair_of(static_cast<T>(-kDomain)).second == T(-131072));
  const auto lowest = pair_of(static_cast<T>(kClamp));
  CHECK(lowest.second == T(-262144));
  for (const T x : {-Limits::infinity(), Limits::lowest(), T(-1e9), static_cast<T>(kClamp) * 2})
    CHECK(pair_of(x) == lowest);
}

void report(const std::string& what, const WorstAndMean& errors) {
  MESSAGE(what << ": worst " << static_cast<double>(errors.worst) << " ulp, mean " << errors.mean()
               << " ulp over " << errors.count << " arguments in the domain");
}

}  // namespace

TEST_CASE("ext_exp: special arguments") {
  check_special_arguments<float>();
  check_special_arguments<double>();
}

TEST_CASE("ext_exp f32: every exponent, either sign, and where n changes") {
  Tally tally;
  WorstAndMean errors;
  Pairs<float> p;
  p.x = stratified<float, std::uint32_t>(256, 23, 8192, 20000);
  check<float, double>(p, tally, errors);
  CHECK(errors.count > 2000000);
  report("f32", errors);
}

TEST_CASE("ext_exp f64: every exponent, either sign, and where n changes") {
  Tally tally;
  WorstAndMean errors;
  Pairs<double> p;
  p.x = stratified<double, std::uint64_t>(2048, 52, 100, 20000);
  for (int i = 0; i < 300000; ++i) p.x.push_back(-60.0 + 0.0004 * i + 0.0001 * (i % 7) / 7.0);
  std::sort(p.x.begin(), p.x.end());
  check<double, long double>(p, tally, errors);
  CHECK(errors.count > 500000);
  report("f64", errors);
}

TEST_SUITE("exhaustive") {
  TEST_CASE("ext_exp f32: every argument there is") {
    Tally tally;
    WorstAndMean errors;
    Pairs<float> p;
    constexpr std::uint32_t chunk = 1u << 20;
    p.resize(chunk);
    for (std::uint64_t first = 0; first < (std::uint64_t{1} << 32); first += chunk) {
      const bool negative = first >= (std::uint64_t{1} << 31);
      for (std::uint32_t i = 0; i < chunk; ++i) {
        const auto bits = static_cast<std::uint32_t>(first) + (negative ? chunk - 1 - i : i);
        p.x[i] = load<float>(&bits);
      }
      check<float, double>(p, tally, errors);
    }
    CHECK(tally.checked() == std::int64_t{1} << 32);
    report("f32", errors);
  }
}
