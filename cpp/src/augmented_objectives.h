// The bounds of augment_reduce.hpp, row by row: what they make of scores and of the densities q of
// rows, which they move.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "augmented_noise.h"
#include "sampled_objectives.h"

namespace fastsoftmax {

// What is kept of the rows that take part.
struct AugmentedRows {
  std::vector<std::int64_t> examples;
  std::vector<std::int32_t> visits;
  std::vector<double> location;
  std::vector<double> scale;  // softmax: empty
};

// Of log eta, or of location and scale.
inline bool is_usable(double location, double scale = 1.0) {
  return std::isfinite(location) && std::isfinite(scale) && scale > 0.0;
}

// A row of the softmax: moves log eta, for the logarithm of the estimate of n. Where that is inf,
// eta is n.
struct EtaStep {
  double loss;
  double factor;  // n / eta
};
EtaStep step_eta(const AugmentReduceOptions& options, std::int32_t visits, double log_n,
                 double& log_eta);

// The scores are less log Q.
template <class T>
class AugmentedSoftmax final : public SampledObjective<T> {
 public:
  AugmentedSoftmax(const AugmentReduceOptions& options, AugmentedRows& rows)
      : options_(options), rows_(rows) {}
  void take(const SampledScores<T>& scores) const noexcept override;

 private:
  const AugmentReduceOptions& options_;
  AugmentedRows& rows_;
  const kernels::LossKernels& kernels_ = score_kernels<T>();
};

// The scores are the layer's.
template <class T, class Noise>
class AugmentedNoise final : public SampledObjective<T> {
 public:
  // weights: 1 / Q of the sample.
  AugmentedNoise(const AugmentReduceOptions& options, AugmentedRows& rows,
                 const std::vector<double>& weights)
      : options_(options),
        rows_(rows),
        weights_(weights),
        total_weight_(std::accumulate(weights.begin(), weights.end(), 0.0)) {}
  void take(const SampledScores<T>& scores) const noexcept override;

 private:
  struct Density;

  LogTerm terms(const T* z, std::int64_t sampled, double point) const;
  Density first(const T* z, std::int64_t sampled) const;
  Density moved(const Density& q, const T* z, std::int64_t sampled, const NoiseStream& random,
                double step) const;
  double loss(const Density& q, T* z, std::int64_t sampled, const NoiseStream& random,
              const double* upstream) const;

  const AugmentReduceOptions& options_;
  AugmentedRows& rows_;
  const std::vector<double>& weights_;
  double total_weight_;
};

extern template class AugmentedSoftmax<float>;
extern template class AugmentedSoftmax<double>;
extern template class AugmentedNoise<float, NormalNoise>;
extern template class AugmentedNoise<double, NormalNoise>;
extern template class AugmentedNoise<float, LogisticNoise>;
extern template class AugmentedNoise<double, LogisticNoise>;

}  // namespace fastsoftmax
