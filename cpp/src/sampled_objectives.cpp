#include "sampled_objectives.h"

#include <algorithm>
#include <array>
#include <cmath>

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

// The rows for the kernels of losses, a single target of a row as its target.
template <class T>
class SoftmaxRows {
 public:
  explicit SoftmaxRows(const SampledScores<T>& scores)
      : rows_{scores.data, scores.stride, scores.rows, scores.sampled + scores.targets,
              targets_.data()} {
    static_assert(SampledScores<T>::kMost <= ScoreRows<T>::kMost);
    targets_.fill(kNoTarget);
    if (scores.targets > 1) return;
    for (std::int64_t r = 0; r < scores.rows; ++r)
      if (scores.own_targets(r) > 0) targets_[static_cast<std::size_t>(r)] = scores.sampled;
  }
  SoftmaxRows(const SoftmaxRows&) = delete;
  SoftmaxRows& operator=(const SoftmaxRows&) = delete;

  const ScoreRows<T>* operator->() const { return &rows_; }

 private:
  std::array<std::int64_t, SampledScores<T>::kMost> targets_;
  ScoreRows<T> rows_;
};

template <class T>
void differentiate(const SampledScores<T>& scores, const SoftmaxRows<T>& rows,
                   const kernels::LossKernels& kernels, const RowLoss* found) {
  LossGradient gradients[SampledScores<T>::kMost];
  for (std::int64_t r = 0; r < scores.rows; ++r)
    gradients[r] = gradient_of({1.0, 0.0, 0.0, scores.upstream[r]}, found[r]);
  rows->differentiate(kernels, gradients);
  if (scores.targets == 1) return;
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const T part = static_cast<T>(scores.upstream[r] / static_cast<double>(scores.targets));
    T* const of_targets = scores.row(r) + scores.sampled;
    for (std::int64_t t = 0; t < scores.own_targets(r); ++t) of_targets[t] -= part;
  }
}

}  // namespace

template <class T>
void SampledSoftmax<T>::take(const SampledScores<T>& scores) const noexcept {
  const SoftmaxRows<T> rows(scores);
  RowLoss found[SampledScores<T>::kMost];
  rows->find(kernels_, found);
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const T* const of_targets = scores.row(r) + scores.sampled;
    double loss = 0.0;
    for (std::int64_t t = 0; t < scores.own_targets(r); ++t)
      loss += found[r].log_sum - (static_cast<double>(of_targets[t]) - found[r].max);
    loss /= static_cast<double>(scores.targets);
    scores.losses[r] = loss == loss ? loss : kNan;
  }
  keep(scores, found);
  if (scores.upstream != nullptr) differentiate(scores, rows, kernels_, found);
}

template <class T>
void SampledSoftmax<T>::keep(const SampledScores<T>& scores, const RowLoss* found) const {
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const auto row = static_cast<std::size_t>(scores.first + r);
    const double max = found[r].max;
    rows_.max[row] = max;
    rows_.log_sum[row] = max < 0.0 && std::isinf(max) ? max : found[r].log_sum;
    const T* const of_targets = scores.row(r) + scores.sampled;
    const std::int32_t* const places = places_ + scores.offsets[r];
    double* const to = rows_.target.data() + row * static_cast<std::size_t>(scores.targets);
    for (std::int64_t t = 0; t < scores.own_targets(r); ++t)
      to[places[t]] = static_cast<double>(of_targets[t]);
  }
}

template <class T>
void SampledSoftmaxGradient<T>::take(const SampledScores<T>& scores) const noexcept {
  std::fill_n(scores.losses, scores.rows, 0.0);
  if (scores.upstream == nullptr) return;
  RowLoss found[SampledScores<T>::kMost];
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const auto row = static_cast<std::size_t>(scores.first + r);
    const double log_sum = std::isfinite(max_[row]) ? log_sum_[row] : kNan;
    found[r] = {RowLoss::regular, max_[row], log_sum, 0.0, 0.0, 0.0};
  }
  differentiate(scores, SoftmaxRows<T>(scores), kernels_, found);
}

template <class T>
void SampledLogistic<T>::take(const SampledScores<T>& scores) const noexcept {
  const std::int64_t sampled = scores.sampled;
  const std::int64_t each = scores.targets;  // of which some may be others'
  const bool derivatives = scores.upstream != nullptr;
  const auto part = 1.0 / static_cast<double>(each);
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    const T upstream = derivatives ? static_cast<T>(scores.upstream[r]) : T(0);
    T* const z = scores.row(r);
    T* const of_targets = z + sampled;
    double loss = 0.0;
    for (std::int64_t t = 0; t < scores.own_targets(r); ++t) {
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
template class SampledSoftmaxGradient<float>;
template class SampledSoftmaxGradient<double>;
template class SampledLogistic<float>;
template class SampledLogistic<double>;

}  // namespace fastsoftmax
