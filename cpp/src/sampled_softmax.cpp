#include "fastsoftmax/sampled_softmax.hpp"

#include "linear_tiles.h"
#include "loss_options.h"
#include "sampled_loss.h"
#include "sampled_objectives.h"

namespace fastsoftmax {
namespace {

template <template <class> class Objective>
void run(LogQ logq, const LinearLayer& layer, const ConstView& targets, const ClassSample& sample,
         const SampledLossOutputs& out, const SampledLossOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  const SampledProblem problem = sampled_problem(logq, layer, targets, sample, out, options);
  const auto losses = with_arithmetic(
      layer, [&]<class T>() { return sampled_loss<T>(layer, problem, Objective<T>(), out); });
  if (out.loss.data != nullptr)
    put_losses(out.loss, losses, options.reduction, static_cast<double>(problem.rows.size()));
}

}  // namespace

void sampled_softmax_loss(const LinearLayer& layer, const ConstView& targets,
                          const ClassSample& sample, LogQ logq, const SampledLossOutputs& out,
                          const SampledLossOptions& options) {
  run<SampledSoftmax>(logq, layer, targets, sample, out, options);
}
void nce_loss(const LinearLayer& layer, const ConstView& targets, const ClassSample& sample,
              const SampledLossOutputs& out, const SampledLossOptions& options) {
  run<SampledLogistic>(LogQ::all, layer, targets, sample, out, options);
}
void negative_sampling_loss(const LinearLayer& layer, const ConstView& targets,
                            const ClassSample& sample, const SampledLossOutputs& out,
                            const SampledLossOptions& options) {
  run<SampledLogistic>(LogQ::none, layer, targets, sample, out, options);
}

}  // namespace fastsoftmax
