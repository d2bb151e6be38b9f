#include "sampled_objectives.h"

#include <array>

namespace fastsoftmax {
namespace {

using kernels::LossGradient;
using kernels::RowLoss;

// Eight sums, which are added by halving.
template <class T>
double sum_of(const T* values, std::int64_t count) {
  std::array<double, 8> sums{};
  for (std::int64_t i = 0; i < count; ++i)
    sums[static_cast<std::size_t>(i % 8)] += static_cast<double>(values[i]);
  for (std::size_t h = 4; h > 0; h /= 2)
    for (std::size_t j = 0; j < h; ++j) sums[j] += sums[j + h];
  return sums[0];
}

}  // namespace

template <class T>
void SampledSoftmax<T>::take(const SampledScores<T>& scores) const noexcept {
  constexpr std::int64_t most = SampledScores<T>::kMost;
  static_assert(most <= ScoreRows<T>::kMost);
  const std::int64_t rows = scores.rows;
  const std::int64_t sampled = scores.sampled;
  const std::int64_t each = scores.targets;
  std::array<std::int64_t, most> targets;
  targets.fill(each == 1 ? sampled : kNoTarget);
  const ScoreRows<T> all{scores.data, scores.stride, rows, sampled + each, targets.data()};
  RowLoss found[most];
  all.find(kernels_, found);
  for (std::int64_t r = 0; r < rows; ++r) {
    double loss = 0.0;
    for (std::int64_t t = 0; t < each; ++t) {
      const auto score = static_cast<double>(scores.row(r)[sampled + t]);
      loss += found[r].log_sum - (score - found[r].max);
    }
    loss /= static_cast<double>(each);
    scores.losses[r] = loss == loss ? loss : kNan;
  }
  if (scores.upstream == nullptr) return;
  LossGradient gradients[most];
  for (std::int64_t r = 0; r < rows; ++r)
    gradients[r] = gradient_of({1.0, 0.0, 0.0, scores.upstream[r]}, found[r]);
  all.differentiate(kernels_, gradients);
  if (each == 1) return;
  for (std::int64_t r = 0; r < rows; ++r) {
    const T part = static_cast<T>(scores.upstream[r] / static_cast<double>(each));
    for (std::int64_t t = 0; t < each; ++t) scores.row(r)[sampled + t] -= part;
  }
}

template <class T>
void SampledLogistic<T>::take(const SampledScores<T>& scores) const noexcept {
  const std::int64_t sampled = scores.sampled;
  const std::int64_t each = scores.targets;
  const bool derivatives = scores.upstream != nullptr;
  const auto part = 1.0 / static_cast<double>(each);
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const T upstream = derivatives ? static_cast<T>(scores.upstream[r]) : T(0);
    T* const z = scores.row(r);
    T* const of_targets = z + sampled;
    double loss = 0.0;
    for (std::int64_t t = 0; t < each; ++t) {
      T both[2] = {of_targets[t], -of_targets[t]};
      T slope[2];  // sigma(-z), sigma(z)
      kernels_.log_sigmoid(both, 2, both, slope);
      loss -= part * static_cast<double>(both[0]);
      if (each > 1) loss -= (1.0 - part) * static_cast<double>(both[1]);
      of_targets[t] = each == 1 ? -slope[0] : slope[1] - static_cast<T>(part);
      of_targets[t] *= upstream;
    }
    for (std::int64_t s = 0; s < sampled; ++s) z[s] = -z[s];
    kernels_.log_sigmoid(z, sampled, scores.scratch, derivatives ? z : nullptr);
    loss -= sum_of(scores.scratch, sampled);
    scores.losses[r] = loss == loss ? loss : kNan;
    for (std::int64_t s = 0; derivatives && s < sampled; ++s) z[s] *= upstream;
  }
}

template class SampledSoftmax<float>;
template class SampledSoftmax<double>;
template class SampledLogistic<float>;
template class SampledLogistic<double>;

}  // namespace fastsoftmax
