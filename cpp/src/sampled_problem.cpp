#include "sampled_problem.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "axis_call.h"
#include "call_threads.h"
#include "linear_checks.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

std::vector<std::int64_t> ids_of(const ConstView& view, const char* what) {
  check_view(view, what);
  check_dtype(view, DType::i64, what);
  return elements_of<std::int64_t>(view, view.shape, what);
}

void set_sample(const ClassSample& sample, bool shifted, const Vocabulary& vocabulary,
                SampledProblem& problem) {
  if (sample.ids.shape.size() != 1)
    throw InvalidArgument("ids of the sample must have 1 dimension, not shape " +
                          shape_text(sample.ids.shape));
  const auto ids = ids_of(sample.ids, "ids of the sample");
  const auto logs = doubles_of(sample.log_expected_count, sample.ids.shape, "log_expected_count");
  std::vector<std::size_t> order(ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return ids[i]; });
  problem.sample.reserve(ids.size());
  if (shifted) problem.sample_shift.reserve(ids.size());
  for (const std::size_t i : order) {
    if (!vocabulary.has(ids[i]))
      vocabulary.refuse("class " + std::to_string(ids[i]) + " of the sample");
    if (shifted && !std::isfinite(logs[i]))
      throw InvalidArgument("log_expected_count of class " + std::to_string(ids[i]) +
                            ", which is in the sample, is " + number_text(logs[i]));
    const std::int64_t row = vocabulary.row_of(ids[i]);
    if (row == kNoTarget) continue;
    problem.sample.push_back(static_cast<std::int32_t>(row));
    if (shifted) problem.sample_shift.push_back(logs[i]);
  }
}

void set_targets(const ConstView& targets, const ClassSample& sample, bool shifted,
                 const Vocabulary& vocabulary, std::int64_t ignored, SampledProblem& problem) {
  const auto ids = ids_of(targets, "targets");
  std::vector<double> logs;
  if (shifted) {
    if (!sample.target_log_expected_count)
      throw InvalidArgument("log expected counts of the targets are needed, and are not given");
    logs = doubles_of(*sample.target_log_expected_count, targets.shape,
                      "log expected counts of targets");
  }
  const std::int64_t each = problem.targets_per_row;
  problem.rows.reserve(static_cast<std::size_t>(targets.shape[0]));
  problem.offsets.reserve(static_cast<std::size_t>(targets.shape[0]) + 1);
  problem.targets.reserve(ids.size());
  problem.places.reserve(ids.size());
  problem.offsets.push_back(0);
  for (std::int64_t r = 0; r < targets.shape[0]; ++r) {
    if (ids[static_cast<std::size_t>(r * each)] == ignored) continue;
    problem.rows.push_back(r);
    for (std::int64_t i = r * each; i < (r + 1) * each; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (!vocabulary.has(ids[at]))
        vocabulary.refuse("target " + std::to_string(ids[at]) + " of row " + std::to_string(r));
      if (shifted && !std::isfinite(logs[at]))
        throw InvalidArgument("target " + std::to_string(ids[at]) + " of row " + std::to_string(r) +
                              " has log expected count " + number_text(logs[at]) +
                              ": the sampler never draws it");
      const std::int64_t row = vocabulary.row_of(ids[at]);
      if (row == kNoTarget) continue;
      problem.targets.push_back(static_cast<std::int32_t>(row));
      problem.places.push_back(static_cast<std::int32_t>(i - r * each));
      if (shifted) problem.target_shift.push_back(logs[at]);
    }
    problem.offsets.push_back(std::ssize(problem.targets));
  }
}

}  // namespace

SampledProblem sampled_problem(LogQ logq, const LinearLayer& layer, const ConstView& targets,
                               const ClassSample& sample, const SampledLossOutputs& out,
                               const SampledLossOptions& options, Shards shards) {
  check_layer(layer);
  const std::int64_t rows = layer.x.shape[0];
  const std::int64_t classes = layer.w.shape[0];
  constexpr auto most = std::int64_t{std::numeric_limits<std::int32_t>::max()};
  if (std::max(rows, classes) > most)
    throw InvalidArgument("at most " + std::to_string(most) + " rows and classes are possible");
  const Vocabulary vocabulary(options.vocab_start, options.vocab_size, classes);
  if (options.vocab_size && shards == Shards::none)
    throw InvalidArgument("this loss has no shards: vocab_size must not be given");
  if (layer.matmul.run == nullptr) throw InvalidArgument("matmul is not set");
  if (layer.x.shape[1] != layer.w.shape[1])
    throw InvalidArgument("x of shape " + shape_text(layer.x.shape) + " and W of shape " +
                          shape_text(layer.w.shape) + " differ in their last dimension");
  check_view(targets, "targets");
  const std::size_t dims = targets.shape.size();
  if (dims < 1 || dims > 2 || targets.shape[0] != rows || (dims == 2 && targets.shape[1] == 0))
    throw InvalidArgument("targets have shape " + shape_text(targets.shape) + " for " +
                          std::to_string(rows) + " rows; expected (N,) or (N, T)");
  const int threads = call_threads(options.max_threads);
  if (options.tile_bytes < 0)
    throw InvalidArgument("tile_bytes must not be negative, got " +
                          std::to_string(options.tile_bytes));
  const DType dtype = linear_dtype(layer.x.dtype, layer.w.dtype);
  const std::array<std::int64_t, 1> of_rows = {rows};
  const auto loss_shape = std::span(of_rows).first(options.reduction == Reduction::none ? 1 : 0);
  const auto others = {&targets, &sample.ids, &sample.log_expected_count};
  if (out.loss.data != nullptr)
    check_linear_output(out.loss, "loss", dtype, loss_shape, layer, others);
  const std::pair<const View*, const char*> of_shards[] = {
      {&out.max, "max"}, {&out.logsum, "logsum"}, {&out.target_logit, "target_logit"}};
  for (const auto& [view, what] : of_shards) {
    if (view->data == nullptr) continue;
    if (shards != Shards::merge)
      throw InvalidArgument(std::string("this loss has no ") + what + " to merge");
    check_linear_output(*view, what, DType::f64,
                        view == &out.target_logit ? targets.shape : of_rows, layer, others);
  }
  const bool with_x = out.grad_x.data != nullptr;
  if (with_x) check_linear_output(out.grad_x, "grad_x", dtype, layer.x.shape, layer, others);
  if (out.grad_bias != nullptr && !layer.bias)
    throw InvalidArgument("the layer has no bias to have a gradient of");

  SampledProblem problem{};
  problem.remove_hits = options.remove_hits;
  problem.targets_per_row = dims == 2 ? targets.shape[1] : 1;
  problem.tile_bytes = options.tile_bytes;
  problem.threads = threads;
  set_sample(sample, logq != LogQ::none, vocabulary, problem);
  set_targets(targets, sample, logq == LogQ::all, vocabulary, options.ignore_index, problem);
  problem.with_gradients = with_x || out.grad_weights != nullptr || out.grad_bias != nullptr;
  if (!problem.with_gradients) return problem;
  CrossEntropyOptions as_options;
  as_options.reduction = options.reduction;
  as_options.grad_out = options.grad_out;
  const auto upstream = upstream_of(as_options, of_rows, static_cast<double>(problem.rows.size()));
  for (const std::int64_t r : problem.rows)
    problem.upstream.push_back(upstream[upstream.size() == 1 ? 0 : static_cast<std::size_t>(r)]);
  return problem;
}

}  // namespace fastsoftmax
