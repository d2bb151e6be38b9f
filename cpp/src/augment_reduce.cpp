#include "fastsoftmax/augment_reduce.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "augmented_objectives.h"
#include "linear_checks.h"
#include "loss_options.h"
#include "sampled_loss.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

void check_options(const AugmentReduceOptions& options, const AugmentReduceState& state) {
  const auto check_fraction = [](double v, const char* what) {
    if (!(v >= 0.0 && v <= 1.0))
      throw InvalidArgument(std::string(what) + " must be from 0 to 1, got " + number_text(v));
  };
  check_fraction(options.decay, "decay");
  check_fraction(options.min_step, "min_step");
  if (options.draws < 1 || options.draws > AugmentReduceOptions::kMostDraws)
    throw InvalidArgument("draws must be from 1 to " +
                          std::to_string(AugmentReduceOptions::kMostDraws) + ", got " +
                          std::to_string(options.draws));
  const std::size_t examples = state.visits.size();
  const std::size_t scales = options.model == AugmentedModel::softmax ? 0 : examples;
  if (state.location.size() != examples || state.scale.size() != scales)
    throw InvalidArgument("the state has " + std::to_string(examples) + " visits, " +
                          std::to_string(state.location.size()) + " locations and " +
                          std::to_string(state.scale.size()) + " scales");
}

// Of the rows that take part.
std::vector<std::int64_t> examples_of(const ConstView& view, const std::vector<std::int64_t>& rows,
                                      std::int64_t all_rows, std::int64_t examples) {
  check_view(view, "examples");
  check_dtype(view, DType::i64, "examples");
  if (view.shape.size() != 1 || view.shape[0] != all_rows)
    throw InvalidArgument("examples have shape " + shape_text(view.shape) + ", expected (" +
                          std::to_string(all_rows) + ",)");
  const auto given = elements_of<std::int64_t>(view, view.shape, "examples");
  std::vector<std::int64_t> of;
  of.reserve(rows.size());
  for (const std::int64_t row : rows) {
    const std::int64_t example = given[at(row)];
    if (example < 0 || example >= examples)
      throw InvalidIndex("example " + std::to_string(example) + " of row " + std::to_string(row) +
                         " is out of bounds for " + std::to_string(examples) + " examples");
    of.push_back(example);
  }
  std::vector<std::int64_t> sorted = of;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end())
    throw InvalidArgument("example " + std::to_string(*twice) + " is in several rows");
  return of;
}

AugmentedRows rows_of(std::vector<std::int64_t> examples, const AugmentReduceState& state) {
  AugmentedRows rows;
  for (const std::int64_t example : examples) {
    const std::size_t i = at(example);
    rows.visits.push_back(state.visits[i]);
    rows.location.push_back(state.location[i]);
    if (!state.scale.empty()) rows.scale.push_back(state.scale[i]);
    const std::string name = "example " + std::to_string(example);
    if (rows.visits.back() < 0)
      throw InvalidArgument(name + " was visited " + std::to_string(rows.visits.back()) + " times");
    if (rows.visits.back() > 0 &&
        !is_usable(rows.location.back(), state.scale.empty() ? 1.0 : rows.scale.back()))
      throw InvalidArgument(
          name + " has location " + number_text(rows.location.back()) +
          (state.scale.empty() ? std::string() : " and scale " + number_text(rows.scale.back())));
  }
  rows.examples = std::move(examples);
  return rows;
}

// 1 / Q of the sample.
std::vector<double> weights_of(const SampledProblem& problem) {
  std::vector<double> weights;
  weights.reserve(problem.sample_shift.size());
  for (std::size_t s = 0; s < problem.sample_shift.size(); ++s) {
    const double log_count = problem.sample_shift[s];
    if (log_count < -700.0)
      throw InvalidArgument("log_expected_count of class " + std::to_string(problem.sample[s]) +
                            " is " + number_text(log_count) + ": its inverse overflows");
    weights.push_back(portable::exp(-log_count));
  }
  return weights;
}

void keep(const AugmentedRows& rows, const AugmentReduceState& state) {
  for (std::size_t r = 0; r < rows.examples.size(); ++r) {
    if (!is_usable(rows.location[r], rows.scale.empty() ? 1.0 : rows.scale[r])) continue;
    const std::size_t i = at(rows.examples[r]);
    state.location[i] = rows.location[r];
    if (!rows.scale.empty()) state.scale[i] = rows.scale[r];
    if (state.visits[i] < std::numeric_limits<std::int32_t>::max()) ++state.visits[i];
  }
}

}  // namespace

void augment_reduce_step(const LinearLayer& layer, const ConstView& targets,
                         const ClassSample& sample, const ConstView& examples,
                         const AugmentReduceState& state, const SampledLossOutputs& out,
                         const AugmentReduceOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  check_options(options, state);
  check_view(targets, "targets");
  if (targets.shape.size() != 1)
    throw InvalidArgument("targets must have 1 dimension, not shape " + shape_text(targets.shape));
  SampledLossOptions of_loss = options.loss;
  of_loss.remove_hits = true;
  SampledProblem problem = sampled_problem(LogQ::negatives, layer, targets, sample, out, of_loss);
  AugmentedRows rows = rows_of(
      examples_of(examples, problem.rows, targets.shape[0], std::ssize(state.visits)), state);
  std::vector<double> weights;
  if (options.model != AugmentedModel::softmax) {
    weights = weights_of(problem);
    problem.sample_shift.clear();
  }
  const auto losses = with_arithmetic(layer, [&]<class T>() {
    const auto of = [&](const SampledObjective<T>& objective) {
      return sampled_loss<T>(layer, problem, objective, out);
    };
    switch (options.model) {
      case AugmentedModel::probit:
        return of(AugmentedNoise<T, NormalNoise>(options, rows, weights));
      case AugmentedModel::logistic:
        return of(AugmentedNoise<T, LogisticNoise>(options, rows, weights));
      case AugmentedModel::softmax:
        break;
    }
    return of(AugmentedSoftmax<T>(options, rows));
  });
  if (options.update) keep(rows, state);
  if (out.loss.data != nullptr)
    put_losses(out.loss, losses, options.loss.reduction, static_cast<double>(problem.rows.size()));
}

void augment_reduce_losses(const ConstView& log_n, const ConstView& examples,
                           const AugmentReduceState& state, const View& loss, const View& factor,
                           const AugmentReduceOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  check_options(options, state);
  if (options.model != AugmentedModel::softmax)
    throw InvalidArgument("losses tell what a step needs in the softmax model only");
  check_view(log_n, "losses");
  check_dtype(log_n, DType::f64, "losses");
  if (log_n.shape.size() != 1)
    throw InvalidArgument("losses must have 1 dimension, not shape " + shape_text(log_n.shape));
  check_dense(loss, "loss", DType::f64, log_n.shape);
  check_dense(factor, "factor", DType::f64, log_n.shape);
  const auto given = elements_of<double>(log_n, log_n.shape, "losses");
  for (std::size_t r = 0; r < given.size(); ++r)
    if (given[r] < 0.0)
      throw InvalidArgument("losses must not be negative, but that of row " + std::to_string(r) +
                            " is " + number_text(given[r]));
  std::vector<std::int64_t> all(given.size());
  std::iota(all.begin(), all.end(), std::int64_t{0});
  AugmentedRows rows =
      rows_of(examples_of(examples, all, log_n.shape[0], std::ssize(state.visits)), state);
  for (std::size_t r = 0; r < given.size(); ++r) {
    const EtaStep step = step_eta(options, rows.visits[r], given[r], rows.location[r]);
    static_cast<double*>(loss.data)[r] = step.loss;
    static_cast<double*>(factor.data)[r] = step.factor;
  }
  if (options.update) keep(rows, state);
}

}  // namespace fastsoftmax
