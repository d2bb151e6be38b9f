// The noise of scores in augment_reduce.hpp: densities f, distribution functions F, random numbers.
#pragma once

#include <cmath>
#include <cstdint>

#include "fastsoftmax/augment_reduce.hpp"
#include "portable_math.h"
#include "score_rows.h"

#define FASTSOFTMAX_ISA baseline
#include "kernels/philox.h"

namespace fastsoftmax {

// Random numbers of one visit to an example.
class NoiseStream {
 public:
  NoiseStream(std::uint64_t seed, std::int64_t example, std::int32_t visits)
      : stream_{{low(seed), high(seed)},
                static_cast<std::uint32_t>(visits),
                {low(static_cast<std::uint64_t>(example)),
                 kPurpose + high(static_cast<std::uint64_t>(example))}} {}

  // Uniform in [0, 1) and in (0, 1); attempts of a draw are numbers of their own.
  baseline::Uniforms pair(int draw, int attempt) const {
    return baseline::uniforms(stream_, number(draw, attempt));
  }
  double open(int draw) const { return baseline::open_uniform(stream_, number(draw, 0)); }

 private:
  // Apart from row ids of fastsoftmax::sample and the streams of samplers_draw.h.
  static constexpr std::uint32_t kPurpose = 0x90000000;
  static std::uint32_t low(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
  static std::uint32_t high(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }
  static std::uint32_t number(int draw, int attempt) {
    return static_cast<std::uint32_t>(draw) << 16 | static_cast<std::uint32_t>(attempt);
  }

  kernels::RandomStream stream_;
};

// The logarithm of a function, its derivative, and minus the second one.
struct LogTerm {
  double value = 0.0;
  double slope = 0.0;
  double curvature = 0.0;
};

// Each noise has
//   density(e)       log f, up to a constant
//   log_cdf          the kernel of log F and its derivative
//   curvature(x, s)  minus the second derivative of log F, from the first, s; in [0, 1]
//   location_gain, scale_gain  the inverse Fisher information of a density of this shape with
//                    respect to location and log of the scale, for scale 1
//   peak             the curvature of log f at 0
//   most(gap, w)     a bound of the maximum over e of log f(e) + sum w log F(e - g), gaps g at most
//                    `gap`, from the sum of w
//   draw             a number from f
struct NormalNoise {
  static constexpr double location_gain = 1.0;
  static constexpr double scale_gain = 0.5;
  static constexpr double peak = 1.0;

  static LogTerm density(double e) { return {-0.5 * e * e, -e, 1.0}; }
  template <class T>
  static void log_cdf(const T* x, std::int64_t count, T* log, T* slope) {
    layer_kernels<T>().log_normal_cdf(x, count, log, slope);
  }
  // Rounding may leave the interval; infinite x, whose curvature is 0, gives a NaN.
  static double curvature(double x, double slope) {
    const double c = slope * (slope + x);
    return c > 0.0 ? std::fmin(c, 1.0) : 0.0;
  }
  // For e above all gaps phi / Phi is at most 0.8.
  static double most(double gap, double weight) { return std::fmax(gap, 0.8 * weight); }
  // Marsaglia's polar method.
  static double draw(const NoiseStream& stream, int number) {
    for (int attempt = 0;; ++attempt) {
      const baseline::Uniforms u = stream.pair(number, attempt);
      const double a = 2.0 * u.first - 1.0;
      const double b = 2.0 * u.second - 1.0;
      const double square = a * a + b * b;
      if (square > 0.0 && square < 1.0) return a * std::sqrt(-2.0 * portable::log(square) / square);
    }
  }
};

struct LogisticNoise {
  static constexpr double location_gain = 3.0;
  static constexpr double scale_gain = 0.69932219511255430;  // 9 / (3 + pi^2)
  static constexpr double peak = 0.5;

  static LogTerm density(double e) {
    const double both[2] = {e, -e};
    double log[2];
    double slope[2];  // sigma(-e), sigma(e)
    layer_kernels<double>().log_sigmoid(both, 2, log, slope);
    return {log[0] + log[1], slope[0] - slope[1], 2.0 * slope[0] * slope[1]};
  }
  template <class T>
  static void log_cdf(const T* x, std::int64_t count, T* log, T* slope) {
    layer_kernels<T>().log_sigmoid(x, count, log, slope);
  }
  static double curvature(double, double slope) { return slope * (1.0 - slope); }
  // sigma(g - e) <= e^(g - e): there e^e is at most 2 + sum w e^g.
  static double most(double gap, double weight) {
    const double log_sum = weight > 0.0 ? gap + portable::log(weight) : 0.0;
    return std::fmax(log_sum, 0.0) + 1.0986122886681098;  // log 3
  }
  static double draw(const NoiseStream& stream, int number) {
    const double u = stream.open(number);
    return portable::log(u) - portable::log(1.0 - u);
  }
};

}  // namespace fastsoftmax
