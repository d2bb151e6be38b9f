#include "fastsoftmax/sampled_softmax.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "linear_tiles.h"
#include "loss_options.h"
#include "sampled_loss.h"
#include "sampled_objectives.h"

namespace fastsoftmax {
namespace {

// `columns` values of each row that takes part; of the others that of rows that are ignored.
void put_rows_of(const SampledProblem& problem, const std::vector<double>& values,
                 std::int64_t columns, double ignored, const View& to) {
  if (to.data == nullptr) return;
  auto* const data = static_cast<double*>(to.data);
  std::fill_n(data, to.shape[0] * columns, ignored);
  const double* from = values.data();
  for (const std::int64_t row : problem.rows) {
    std::copy_n(from, columns, data + row * columns);
    from += columns;
  }
}

void put_losses_of(const SampledProblem& problem, const std::vector<double>& losses,
                   const SampledLossOutputs& out, Reduction reduction) {
  if (out.loss.data != nullptr)
    put_losses(out.loss, losses, reduction, static_cast<double>(problem.rows.size()));
}

void logistic_loss(LogQ logq, const LinearLayer& layer, const ConstView& targets,
                   const ClassSample& sample, const SampledLossOutputs& out,
                   const SampledLossOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  const SampledProblem problem =
      sampled_problem(logq, layer, targets, sample, out, options, Shards::add);
  const auto losses = with_arithmetic(
      layer, [&]<class T>() { return sampled_loss<T>(layer, problem, SampledLogistic<T>(), out); });
  put_losses_of(problem, losses, out, options.reduction);
}

}  // namespace

void sampled_softmax_loss(const LinearLayer& layer, const ConstView& targets,
                          const ClassSample& sample, LogQ logq, const SampledLossOutputs& out,
                          const SampledLossOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  const SampledProblem problem =
      sampled_problem(logq, layer, targets, sample, out, options, Shards::merge);
  if (options.vocab_size && (out.loss.data != nullptr || problem.with_gradients))
    throw InvalidArgument(
        "a shard of the vocabulary has neither loss nor gradients; see merge_shards");
  SampledRows rows(problem.rows.size(), problem.targets_per_row);
  const auto losses = with_arithmetic(layer, [&]<class T>() {
    return sampled_loss<T>(layer, problem, SampledSoftmax<T>(rows, problem.places), out);
  });
  put_losses_of(problem, losses, out, options.reduction);
  put_rows_of(problem, rows.max, 1, -std::numeric_limits<double>::infinity(), out.max);
  put_rows_of(problem, rows.log_sum, 1, 0.0, out.logsum);
  put_rows_of(problem, rows.target, problem.targets_per_row, 0.0, out.target_logit);
}

void sampled_softmax_loss_backward(const LinearLayer& layer, const ConstView& targets,
                                   const ClassSample& sample, LogQ logq, const ConstView& max,
                                   const ConstView& logsum, const SampledLossOutputs& out,
                                   const SampledLossOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  const SampledProblem problem =
      sampled_problem(logq, layer, targets, sample, out, options, Shards::merge);
  const auto of_rows = [&](const ConstView& view, const char* what) {
    const auto all = doubles_of(view, std::array{layer.x.shape[0]}, what);
    std::vector<double> of;
    of.reserve(problem.rows.size());
    for (const std::int64_t row : problem.rows) of.push_back(all[static_cast<std::size_t>(row)]);
    return of;
  };
  const auto maxima = of_rows(max, "max");
  const auto log_sums = of_rows(logsum, "logsum");
  with_arithmetic(layer, [&]<class T>() {
    sampled_loss<T>(layer, problem, SampledSoftmaxGradient<T>(maxima, log_sums), out);
  });
}

void nce_loss(const LinearLayer& layer, const ConstView& targets, const ClassSample& sample,
              const SampledLossOutputs& out, const SampledLossOptions& options) {
  logistic_loss(LogQ::all, layer, targets, sample, out, options);
}

void negative_sampling_loss(const LinearLayer& layer, const ConstView& targets,
                            const ClassSample& sample, const SampledLossOutputs& out,
                            const SampledLossOptions& options) {
  logistic_loss(LogQ::none, layer, targets, sample, out, options);
}

}  // namespace fastsoftmax
