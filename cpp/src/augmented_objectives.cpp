#include "augmented_objectives.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace fastsoftmax {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kBlock = 512;  // scores at a time

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double step_size(const AugmentReduceOptions& options, std::int32_t visits) {
  const double seen = 1.0 + static_cast<double>(visits);
  return std::max(options.min_step, portable::exp(-options.decay * portable::log(seen)));
}

// log((1 - a) e^x + a e^y) of finite x and y, 0 < a <= 1.
double log_mixture(double x, double y, double a) {
  const double largest = std::max(x, y);
  return largest +
         portable::log((1.0 - a) * portable::exp(x - largest) + a * portable::exp(y - largest));
}

double exp_of(double x) {
  if (x <= 709.0) return portable::exp(x);
  return x == x ? kInfinity : kNan;
}

// Eight sums, which are added by halving.
class Lanes {
 public:
  void add(std::int64_t i, double v) { sums_[at(i % 8)] += v; }
  double total() {
    for (std::size_t h = 4; h > 0; h /= 2)
      for (std::size_t j = 0; j < h; ++j) sums_[j] += sums_[j + h];
    return sums_[0];
  }

 private:
  std::array<double, 8> sums_{};
};

}  // namespace

EtaStep step_eta(const AugmentReduceOptions& options, std::int32_t visits, double log_n,
                 double& log_eta) {
  if (log_n == kInfinity) {
    log_eta = log_n;
    return {log_n, 1.0};
  }
  if (visits == 0 || !std::isfinite(log_n))
    log_eta = log_n;
  else if (options.update)
    log_eta = log_mixture(log_eta, log_n, step_size(options, visits));
  const double factor = exp_of(log_n - log_eta);
  const double loss = log_eta + (factor - 1.0);
  return {loss == loss ? loss : kNan, factor};
}

template <class T>
void AugmentedSoftmax<T>::take(const SampledScores<T>& scores) const noexcept {
  constexpr std::int64_t most = SampledScores<T>::kMost;
  std::array<std::int64_t, most> targets;
  targets.fill(scores.sampled);
  const ScoreRows<T> all{scores.data, scores.stride, scores.rows, scores.sampled + 1,
                         targets.data()};
  kernels::RowLoss found[most];
  all.find(kernels_, found);
  kernels::LossGradient gradients[most];
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const std::size_t i = at(scores.first + r);
    const auto target = static_cast<double>(scores.row(r)[scores.sampled]);
    const double log_n = found[r].log_sum - (target - found[r].max);
    const EtaStep step = step_eta(options_, rows_.visits[i], log_n, rows_.location[i]);
    scores.losses[r] = step.loss;
    if (scores.upstream != nullptr)
      gradients[r] = gradient_of({1.0, 0.0, 0.0, scores.upstream[r] * step.factor}, found[r]);
  }
  // e^z / eta is the softmax times n / eta.
  if (scores.upstream != nullptr) all.differentiate(kernels_, gradients);
}

template <class T, class Noise>
struct AugmentedNoise<T, Noise>::Density {
  double location;
  double scale;
};

// First and second derivative of the sum of w log F(point - z) with respect to the point.
template <class T, class Noise>
LogTerm AugmentedNoise<T, Noise>::terms(const T* z, std::int64_t sampled, double point) const {
  Lanes slopes;
  Lanes curvatures;
  T x[kBlock];
  T slope[kBlock];
  for (std::int64_t begin = 0; begin < sampled; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, sampled - begin);
    const double* const w = weights_.data() + begin;
    for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(point) - z[begin + i];
    Noise::template log_cdf<T>(x, n, nullptr, slope);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto s = static_cast<double>(slope[i]);
      slopes.add(i, w[i] * s);
      curvatures.add(i, w[i] * Noise::curvature(static_cast<double>(x[i]), s));
    }
  }
  return {0.0, slopes.total(), curvatures.total()};
}

// From the maximum of log f(e) + sum of w log F(e + z_y - z), a concave function that rises at 0:
// by Newton's method within bounds.
template <class T, class Noise>
typename AugmentedNoise<T, Noise>::Density AugmentedNoise<T, Noise>::first(
    const T* z, std::int64_t sampled) const {
  constexpr int most = 24;
  constexpr double close = 0.1;  // scales
  const auto target = static_cast<double>(z[sampled]);
  const T largest = sampled > 0 ? *std::max_element(z, z + sampled) : z[sampled];
  double low = 0.0;
  const double bound = Noise::most(static_cast<double>(largest) - target, total_weight_);
  double high = bound;
  double e = 0.0;
  double curvature = 0.0;
  for (int i = 0; i < most; ++i) {
    const LogTerm sum = terms(z, sampled, e + target);
    const LogTerm density = Noise::density(e);
    const double slope = density.slope + sum.slope;
    if (slope != slope) return {kNan, kNan};
    curvature = density.curvature + sum.curvature;
    (slope > 0.0 ? low : high) = e;
    double next = e + slope / curvature;
    const bool is_within = next >= low && next <= high;
    if (!is_within) next = 0.5 * (low + high);
    const bool is_close = is_within && std::fabs(next - e) * std::sqrt(curvature) < close;
    e = next;
    if (is_close) break;
  }
  // Where the function is flat, it is so within the bounds.
  const double scale = std::min(std::sqrt(Noise::peak / curvature), std::max(1.0, bound / 6.0));
  return is_usable(e, scale) ? Density{e, scale} : Density{kNan, kNan};
}

template <class T, class Noise>
typename AugmentedNoise<T, Noise>::Density AugmentedNoise<T, Noise>::moved(
    const Density& q, const T* z, std::int64_t sampled, const NoiseStream& random,
    double step) const {
  const auto target = static_cast<double>(z[sampled]);
  double along_location = 0.0;
  double along_scale = 0.0;  // its logarithm
  for (int d = 0; d < options_.draws; ++d) {
    const double noise = Noise::draw(random, d);
    const double e = q.location + q.scale * noise;
    const double slope = Noise::density(e).slope + terms(z, sampled, e + target).slope;
    const double scaled = q.scale * slope - Noise::density(noise).slope;
    along_location += scaled;
    along_scale += scaled * noise;
  }
  if (!std::isfinite(along_location) || !std::isfinite(along_scale)) return {kNan, kNan};
  const double gain = 1.0 / static_cast<double>(options_.draws);
  const auto bounded = [](double v) { return std::clamp(v, -1.0, 1.0); };
  const double shift = bounded(gain * Noise::location_gain * along_location);
  const double growth = bounded(gain * Noise::scale_gain * along_scale);
  return {q.location + step * q.scale * shift, q.scale * portable::exp(step * growth)};
}

template <class T, class Noise>
double AugmentedNoise<T, Noise>::loss(const Density& q, T* z, std::int64_t sampled,
                                      const NoiseStream& random, const double* upstream) const {
  const int draws = options_.draws;
  const double share = 1.0 / static_cast<double>(draws);
  const auto target = static_cast<double>(z[sampled]);
  std::array<double, AugmentReduceOptions::kMostDraws> points;
  double bound = 0.0;
  for (int d = 0; d < draws; ++d) {
    const double noise = Noise::draw(random, draws + d);
    const double e = q.location + q.scale * noise;
    points[at(d)] = e + target;
    bound += Noise::density(e).value - Noise::density(noise).value;
  }
  bound = share * bound + portable::log(q.scale);
  Lanes values;
  Lanes slopes;
  T x[kBlock];
  T slope[kBlock];
  for (std::int64_t begin = 0; begin < sampled; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, sampled - begin);
    const double* const w = weights_.data() + begin;
    T* const of_block = z + begin;
    std::array<double, kBlock> derivatives{};
    for (int d = 0; d < draws; ++d) {
      for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(points[at(d)]) - of_block[i];
      Noise::template log_cdf<T>(x, n, x, slope);
      for (std::int64_t i = 0; i < n; ++i) {
        values.add(i, w[i] * static_cast<double>(x[i]));
        derivatives[at(i)] += static_cast<double>(slope[i]);
      }
    }
    if (upstream == nullptr) continue;
    for (std::int64_t i = 0; i < n; ++i) {
      const double derivative = w[i] * derivatives[at(i)];
      slopes.add(i, derivative);
      of_block[i] = static_cast<T>(*upstream * share * derivative);
    }
  }
  if (upstream != nullptr) z[sampled] = static_cast<T>(-*upstream * share * slopes.total());
  return -(bound + share * values.total());
}

template <class T, class Noise>
void AugmentedNoise<T, Noise>::take(const SampledScores<T>& scores) const noexcept {
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const std::size_t i = at(scores.first + r);
    T* const z = scores.row(r);
    const NoiseStream random(options_.seed, rows_.examples[i], rows_.visits[i]);
    Density q{rows_.location[i], rows_.scale[i]};
    if (rows_.visits[i] == 0)
      q = first(z, scores.sampled);
    else if (options_.update)
      q = moved(q, z, scores.sampled, random, step_size(options_, rows_.visits[i]));
    rows_.location[i] = q.location;
    rows_.scale[i] = q.scale;
    const double* const upstream = scores.upstream == nullptr ? nullptr : scores.upstream + r;
    const double found = loss(q, z, scores.sampled, random, upstream);
    scores.losses[r] = found == found ? found : kNan;
  }
}

template class AugmentedSoftmax<float>;
template class AugmentedSoftmax<double>;
template class AugmentedNoise<float, NormalNoise>;
template class AugmentedNoise<double, NormalNoise>;
template class AugmentedNoise<float, LogisticNoise>;
template class AugmentedNoise<double, LogisticNoise>;

}  // namespace fastsoftmax
