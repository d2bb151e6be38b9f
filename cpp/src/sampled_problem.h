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
  std::vector<std::int64_t> rows;  // of x, that take part
  // Rows of w: the targets of these rows, and the sample, sorted. Those of other processes' classes
  // are left out.
  std::vector<std::int32_t> targets;
  std::vector<std::int32_t> sample;
  std::vector<std::int64_t> offsets;  // where the targets of each row begin, and the end
  std::vector<std::int32_t> places;   // which target of its row each is, below targets_per_row
  std::vector<double> target_shift;   // what is subtracted from scores; empty: nothing
  std::vector<double> sample_shift;
  std::vector<double> upstream;  // of each row that takes part, where gradients are wanted
  std::int64_t tile_bytes;
  int threads;
};

// How losses of parts of the classes make that of the whole: not at all, as their sum, or by
// merge_shards.
enum class Shards : std::uint8_t { none, add, merge };

// Throws as sampled_softmax_loss does.
SampledProblem sampled_problem(LogQ logq, const LinearLayer& layer, const ConstView& targets,
                               const ClassSample& sample, const SampledLossOutputs& out,
                               const SampledLossOptions& options, Shards shards = Shards::none);

}  // namespace fastsoftmax
