// Losses over targets and a sample of classes, chunk by chunk of rows: a product for the sample's
// scores, inner products for the targets', then row by row.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsoftmax/sampled_softmax.hpp"

namespace fastsoftmax {

enum class SampledKind : bool { softmax, logistic };

// Checked. The sample is sorted by id.
struct SampledProblem {
  SampledKind kind;
  bool remove_hits;
  std::int64_t targets_per_row;
  std::vector<std::int64_t> rows;     // that take part
  std::vector<std::int32_t> targets;  // of these rows
  std::vector<std::int32_t> sample;
  std::vector<double> target_shift;  // what is subtracted from scores; empty: nothing
  std::vector<double> sample_shift;
  std::vector<double> upstream;  // of each row that takes part, where gradients are wanted
  std::int64_t tile_bytes;
  int threads;
};

// Losses of the rows that take part.
template <class T>
std::vector<double> sampled_loss(const LinearLayer& layer, const SampledProblem& problem,
                                 const SampledLossOutputs& out);

extern template std::vector<double> sampled_loss<float>(const LinearLayer&, const SampledProblem&,
                                                        const SampledLossOutputs&);
extern template std::vector<double> sampled_loss<double>(const LinearLayer&, const SampledProblem&,
                                                         const SampledLossOutputs&);

}  // namespace fastsoftmax
