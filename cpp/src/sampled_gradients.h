// Gradients of the rows of w, and of the bias, that took part in a loss over a sample: sums over
// the batch for each class of the sample, chunk by chunk, joined with those of the targets at the
// end.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/layer_table.h"
#include "linear_matrix.h"
#include "sampled_problem.h"

namespace fastsoftmax {

template <class T>
class SampledGradients {
 public:
  SampledGradients(const SampledProblem& problem, const Matmul& matmul, std::int64_t depth,
                   const SampledLossOutputs& out);

  // Derivatives by the scores of all targets, row after row, to be there when they are joined.
  T* of_targets() { return of_targets_.data(); }
  // Derivatives (rows, sampled) by the sample's scores, and the inputs (rows, depth) of these rows.
  void add(const Matrix& derivatives, const Matrix& inputs);
  // Sets the outputs. `x`: all rows of x.
  void join(const kernels::ChosenRows& x);

 private:
  // Rows of w that took part: which of the sample and of the targets each is.
  struct Parts;
  Parts parts() const;
  void join_bias(const Parts& parts);
  void join_weights(const Parts& parts, const kernels::ChosenRows& x);

  const SampledProblem& problem_;
  Matmul matmul_;
  std::int64_t depth_;
  std::int64_t sampled_;
  const SampledLossOutputs& out_;
  std::vector<T> of_targets_;
  bool begun_ = false;
  Buffer<T> vectors_;  // sums, of each of the sample
  Buffer<T> more_;
  std::vector<double> bias_;
};

extern template class SampledGradients<float>;
extern template class SampledGradients<double>;

}  // namespace fastsoftmax
