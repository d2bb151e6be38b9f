// What softmax, log_softmax and logsumexp of a row are, in long double with the rounding errors
// carried along: good to 2^-60, so that ulps of double can be told.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

namespace tests {

struct Compensated {
  long double hi = 0;
  long double lo = 0;

  void add(long double v) {
    const long double sum = hi + v;
    const long double other = sum - hi;
    lo += (hi - (sum - other)) + (v - other);
    hi = sum;
  }
  long double value() const { return hi + lo; }
};

class Reference {
 public:
  // At least one element is finite, none is NaN or +inf.
  explicit Reference(std::span<const double> x) : x_(x) {
    const auto first_max = std::max_element(x.begin(), x.end());
    max_ = *first_max;
    Compensated rest;
    for (auto v = x.begin(); v != x.end(); ++v)
      if (v != first_max) rest.add(exp_shifted(*v));
    rest_ = rest.value();
    log_sum_ = std::log1p(rest_);
  }

  long double softmax(std::size_t i) const { return exp_shifted(x_[i]) / (1 + rest_); }
  long double log_softmax(std::size_t i) const {
    return static_cast<long double>(x_[i]) - max_ - log_sum_;
  }
  long double logsumexp() const { return max_ + log_sum_; }
  // What the error of logsumexp is measured against.
  long double magnitude() const { return std::max(std::fabs(max_), log_sum_); }

 private:
  long double exp_shifted(long double x) const {
    Compensated shifted;
    shifted.add(x);
    shifted.add(-max_);
    if (std::isinf(x)) return 0;
    return std::exp(shifted.hi) * (1 + shifted.lo);
  }

  std::span<const double> x_;
  long double max_;
  long double rest_;  // sum of e^(x - max) over all but the first maximum
  long double log_sum_;
};

// The distance of neighbouring numbers of type T around v.
template <class T>
long double ulp(long double v) {
  using Limits = std::numeric_limits<T>;
  const int exponent = v == 0 ? Limits::min_exponent - 1 : std::ilogb(v);
  return std::ldexp(1.0L, std::max(exponent, Limits::min_exponent - 1) - Limits::digits + 1);
}

// e^x * 2^-n for |x - n ln 2| < 1 and |n| <= 2^21.
inline long double exp_over_power(long double x, long double n) {
  constexpr long double ln2_hi = 0x1.62e42feep-1L;  // 32 bits, so that n * ln2_hi is exact
  constexpr long double ln2_lo = 0x1.a39ef35793c7673007e6p-33L;
  return std::exp((x - n * ln2_hi) - n * ln2_lo);
}

struct WorstAndMean {
  long double worst = 0;
  long double sum = 0;
  long count = 0;

  void add(long double error) {
    worst = std::max(worst, error);
    sum += error;
    ++count;
  }
  double mean() const { return count == 0 ? 0 : static_cast<double>(sum / count); }
};

}  // namespace tests
