// Losses over targets and a sample of classes, chunk by chunk of rows: a product for the sample's
// scores, inner products for the targets', then row by row to an objective, and gradients from what
// it leaves.
#pragma once

#include <vector>

#include "sampled_objectives.h"
#include "sampled_problem.h"

namespace fastsoftmax {

// Losses of all rows of x, 0 for those that take no part. Sets the gradients of `out`.
template <class T>
std::vector<double> sampled_loss(const LinearLayer& layer, const SampledProblem& problem,
                                 const SampledObjective<T>& objective,
                                 const SampledLossOutputs& out);

extern template std::vector<double> sampled_loss(const LinearLayer&, const SampledProblem&,
                                                 const SampledObjective<float>&,
                                                 const SampledLossOutputs&);
extern template std::vector<double> sampled_loss(const LinearLayer&, const SampledProblem&,
                                                 const SampledObjective<double>&,
                                                 const SampledLossOutputs&);

}  // namespace fastsoftmax
