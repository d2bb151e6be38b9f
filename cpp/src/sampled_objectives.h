// What losses over a sample make of scores. sampled_loss.h forms the scores of a few rows, an
// objective turns them into losses and derivatives, and sampled_loss.h makes gradients of these.
//
// A new loss is a class derived from SampledObjective and a public function that passes it on
// (sampled_softmax.cpp). What it needs beside the scores are members; SampledScores::first says
// which rows these are.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "score_rows.h"

namespace fastsoftmax {

// Of at most kMost rows.
template <class T>
struct SampledScores {
  static constexpr std::int64_t kMost = 8;

  std::int64_t first;  // number of the first row among those that take part
  std::int64_t rows;
  // A row: scores of the sample, then those of its targets; with bias, less log Q where that is
  // wanted, -inf for a hit that is removed. In a shard (Shards of sampled_problem.h) the scores of
  // its own targets, in their order, and -inf in the place of others'.
  T* data;
  std::int64_t stride;  // elements from row to row
  std::int64_t sampled;
  std::int64_t targets;         // of a row, at least 1
  const std::int64_t* offsets;  // the number of each row's first own target, and the end
  const double* upstream;       // of these rows; null: derivatives are not wanted
  double* losses;               // of these rows
  T* scratch;                   // room for a row

  T* row(std::int64_t r) const { return data + r * stride; }
  std::int64_t own_targets(std::int64_t r) const { return offsets[r + 1] - offsets[r]; }
};

template <class T>
class SampledObjective {
 public:
  SampledObjective() = default;
  SampledObjective(const SampledObjective&) = delete;
  SampledObjective& operator=(const SampledObjective&) = delete;
  virtual ~SampledObjective() = default;

  // Writes the losses, kNan for any NaN, and where derivatives are wanted puts upstream times that
  // of the loss in the place of each score; else these may be overwritten. Called by several
  // threads at once for different rows, in the default floating-point environment. What becomes of
  // a row must not depend on the others.
  virtual void take(const SampledScores<T>& scores) const noexcept = 0;
};

// What shards exchange of the rows that take part: M, L, and for each target its score, -inf for
// those of others.
struct SampledRows {
  std::vector<double> max, log_sum, target;

  SampledRows(std::size_t rows, std::int64_t targets)
      : max(rows),
        log_sum(rows),
        target(rows * static_cast<std::size_t>(targets), -std::numeric_limits<double>::infinity()) {
  }
};

// log(sum of e^z over targets and sample) - the mean score of the targets. The loss means nothing
// where some of the targets are others'.
template <class T>
class SampledSoftmax final : public SampledObjective<T> {
 public:
  // Fills `rows`; places[i] says which of its row's targets target i is.
  SampledSoftmax(SampledRows& rows, const std::vector<std::int32_t>& places)
      : rows_(rows), places_(places.data()) {}

  void take(const SampledScores<T>& scores) const noexcept override;

 private:
  void keep(const SampledScores<T>& scores, const kernels::RowLoss* found) const;

  const kernels::LossKernels& kernels_ = score_kernels<T>();
  SampledRows& rows_;
  const std::int32_t* places_;
};

// The derivatives of the same with M and L given, those of the whole for a shard. Losses are 0.
template <class T>
class SampledSoftmaxGradient final : public SampledObjective<T> {
 public:
  // Of the rows that take part.
  SampledSoftmaxGradient(std::vector<double> max, std::vector<double> log_sum)
      : max_(std::move(max)), log_sum_(std::move(log_sum)) {}

  void take(const SampledScores<T>& scores) const noexcept override;

 private:
  const kernels::LossKernels& kernels_ = score_kernels<T>();
  std::vector<double> max_, log_sum_;
};

// The sum of -y log sigma(z) - (1 - y) log sigma(-z), y = 1/T for T targets and 0 for the sample.
// Losses of shards add up.
template <class T>
class SampledLogistic final : public SampledObjective<T> {
 public:
  void take(const SampledScores<T>& scores) const noexcept override;

 private:
  const kernels::LayerKernels& kernels_ = layer_kernels<T>();
};

extern template class SampledSoftmax<float>;
extern template class SampledSoftmax<double>;
extern template class SampledSoftmaxGradient<float>;
extern template class SampledSoftmaxGradient<double>;
extern template class SampledLogistic<float>;
extern template class SampledLogistic<double>;

}  // namespace fastsoftmax
