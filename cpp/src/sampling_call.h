// Validated calls of sample and gumbel_topk.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/kernel_table.h"
#include "per_row.h"
#include "topk_call.h"

namespace fastsoftmax {

// The random numbers of rows.
class RowRandom {
 public:
  RowRandom(const RandomSource& source, const ConstView& x, int axis);

  kernels::RandomStream operator()(std::int64_t row) const;

 private:
  RowValues<std::uint64_t> seed_;
  RowValues<std::uint64_t> position_;
  std::optional<RowValues<std::uint64_t>> id_;
};

// What both have in common. Call::temperature is 1.
struct DrawCall {
  TopkCall rows;  // the calls as topk, for the order of what has no softmax
  RowValues<double> temperature;
  RowRandom random;
};

struct SampleCall {
  DrawCall draw;
  RowValues<std::int64_t> top_k;
  RowValues<double> top_p;
  RowValues<double> min_p;
  RowValues<double> typical_p;
  RowValues<double> top_n_sigma;
  RowValues<double> max_surprise;
  bool may_filter;  // by something else than top_k
  std::int64_t most_k;
  std::int64_t* indices;
  char* logprobs;  // or null
  DType logprobs_dtype;
};

// Everything but the outputs.
SampleCall sample_call(const ConstView& x, int axis, const SampleOptions& options);
// Throws unless an output is as it should be and apart from all inputs.
void check_sample_output(const View& out, const char* name, DType dtype, const ConstView& x,
                         int axis, const SampleOptions& options);

// Carry them out; there are rows, and they are not empty.
void execute(const SampleCall& sample, int max_threads);
void execute(const DrawCall& gumbel, int max_threads);

}  // namespace fastsoftmax
