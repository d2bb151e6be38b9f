// What a loss over targets and a sample of classes is asked, checked.
#pragma once

#include <cstdint>
#include <vector>

#include "fastsoftmax/sampled_softmax.hpp"

namespace fastsoftmax {

struct SampledProblem {
  bool remove_hits;
  bool with_gradients;
  std::int64_t targets_per_row;
  std::vector<std::int64_t> rows;     // that take part
  std::vector<std::int32_t> targets;  // of these rows
  std::vector<std::int32_t> sample;   // sorted by id
  std::vector<double> target_shift;   // what is subtracted from scores; empty: nothing
  std::vector<double> sample_shift;
  std::vector<double> upstream;  // of each row that takes part, where gradients are wanted
  std::int64_t tile_bytes;
  int threads;
};

// Throws as sampled_softmax_loss does.
SampledProblem sampled_problem(LogQ logq, const LinearLayer& layer, const ConstView& targets,
                               const ClassSample& sample, const SampledLossOutputs& out,
                               const SampledLossOptions& options);

}  // namespace fastsoftmax
