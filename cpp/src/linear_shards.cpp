// Shards of a vocabulary: (max, logsum) of all of them from those of each.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "fastsoftmax/linear_cross_entropy.hpp"
#include "linear_checks.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

using kernels::RowLoss;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct ShardRow {
  double max, log_sum;
};

// A row that is ignored has no maximum, and a logarithm nevertheless.
bool is_ignored(const ShardRow& row) { return row.max == -kInfinity && row.log_sum == 0.0; }

// M is the largest of the maxima; with s the shard that has it first,
//
//   L = L_s + log1p(sum over the others of e^((M_i - M) + (L_i - L_s)))
//
// so that L keeps its relative accuracy where one class dominates. A NaN stays one.
ShardRow merged(const std::vector<ShardRow>& shards) {
  std::size_t first = 0;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    if (shards[s].max != shards[s].max) return {kNan, kNan};
    if (shards[s].max > shards[first].max) first = s;
  }
  const double max = shards[first].max;
  const double log_sum = shards[first].log_sum;
  if (std::isinf(max)) return {max, max > 0.0 ? kNan : log_sum};
  double others = 0.0;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    if (s != first && shards[s].max > -kInfinity)
      others += std::exp((shards[s].max - max) + (shards[s].log_sum - log_sum));
  }
  return {max, log_sum + std::log1p(others)};
}

// Those of targets; 1 without class weights.
std::vector<double> weights_of(const std::optional<ConstView>& targets,
                               const CrossEntropyOptions& options,
                               const std::vector<ShardRow>& rows) {
  std::vector<double> weights(rows.size(), 1.0);
  const std::array shape = {static_cast<std::int64_t>(rows.size())};
  if (targets) {
    check_view(*targets, "targets");
    check_dtype(*targets, DType::i64, "targets");
    if (!std::ranges::equal(targets->shape, shape))
      throw InvalidArgument("targets have shape " + shape_text(targets->shape) + ", expected " +
                            shape_text(shape));
  }
  if (!options.weight) return weights;
  if (!targets) throw InvalidArgument("class weights need the targets");
  const auto classes = elements_of<std::int64_t>(*targets, shape, "targets");
  if (options.weight->shape.size() != 1) throw InvalidArgument("weight must have 1 dimension");
  const std::vector<double> of_classes = class_weights_of(options, options.weight->shape[0]);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (is_ignored(rows[r])) continue;
    if (classes[r] < 0 || classes[r] >= options.weight->shape[0])
      throw InvalidIndex("target " + std::to_string(classes[r]) + " of row " + std::to_string(r) +
                         " is out of bounds for " + std::to_string(options.weight->shape[0]) +
                         " classes");
    weights[r] = of_classes[static_cast<std::size_t>(classes[r])];
  }
  return weights;
}

void check_outputs(const LinearCrossEntropyOutputs& out, std::span<const std::int64_t> shape,
                   std::span<const std::int64_t> targets_shape, Reduction reduction) {
  if (out.max.data != nullptr) check_dense(out.max, "max", DType::f64, shape);
  if (out.logsum.data != nullptr) check_dense(out.logsum, "logsum", DType::f64, shape);
  if (out.target_logit.data != nullptr)
    check_dense(out.target_logit, "target_logit", DType::f64, targets_shape);
  const DType dtype = out.loss.dtype == DType::f32 ? DType::f32 : DType::f64;
  if (out.loss.data != nullptr)
    check_dense(out.loss, "loss", dtype, shape.first(reduction == Reduction::none ? 1 : 0));
}

}  // namespace

void merge_shards(std::span<const LinearShard> shards, const std::optional<ConstView>& targets,
                  const LinearCrossEntropyOutputs& out, const CrossEntropyOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  if (shards.empty()) throw InvalidArgument("there are no shards to merge");
  check_loss_options(options);
  if (options.label_smoothing > 0.0)
    throw InvalidArgument("label_smoothing must be 0 for a shard of the vocabulary");
  if (shards[0].max.shape.size() != 1)
    throw InvalidArgument("max of a shard must have 1 dimension, not shape " +
                          shape_text(shards[0].max.shape));
  const std::int64_t count = shards[0].max.shape[0];
  const std::array shape = {count};
  const std::span<const std::int64_t> targets_shape = shards[0].target_logit.shape;
  const std::size_t dims = targets_shape.size();
  if (dims < 1 || dims > 2 || targets_shape[0] != count || (dims == 2 && targets_shape[1] == 0))
    throw InvalidArgument("target_logit of a shard has shape " + shape_text(targets_shape) +
                          " for " + std::to_string(count) + " rows; expected (N,) or (N, T)");
  const auto each = static_cast<std::size_t>(dims == 2 ? targets_shape[1] : 1);
  if (options.weight && each > 1)
    throw InvalidArgument("class weights go with one target for each row");
  check_outputs(out, shape, targets_shape, options.reduction);
  std::vector<std::vector<ShardRow>> parts(static_cast<std::size_t>(count));
  std::vector<double> scores(parts.size() * each, -kInfinity);  // of targets
  for (const LinearShard& shard : shards) {
    const auto max = doubles_of(shard.max, shape, "max of a shard");
    const auto log_sum = doubles_of(shard.logsum, shape, "logsum of a shard");
    const auto target = doubles_of(shard.target_logit, targets_shape, "target_logit of a shard");
    for (std::size_t r = 0; r < parts.size(); ++r) parts[r].push_back({max[r], log_sum[r]});
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = std::max(scores[i], target[i]);
  }
  std::vector<ShardRow> rows;
  rows.reserve(parts.size());
  for (const std::vector<ShardRow>& part : parts) rows.push_back(merged(part));
  const std::vector<double> weights = weights_of(targets, options, rows);
  std::vector<double> counted;
  std::vector<double> columns[2];
  std::vector<double> losses;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const ShardRow& row = rows[r];
    columns[0].push_back(row.max);
    columns[1].push_back(row.log_sum);
    if (is_ignored(row)) {
      losses.push_back(0.0);
      continue;
    }
    const auto of_targets = std::span(scores).subspan(r * each, each);
    if (row.max != row.max) std::ranges::fill(of_targets, kNan);
    counted.push_back(weights[r]);
    const LossWeights of_loss = weights_of_target(options, weights[r], 1);
    double loss = 0.0;
    for (const double score : of_targets)
      loss += loss_of(of_loss, {RowLoss::regular, row.max, row.log_sum, score - row.max, 0.0, 0.0});
    losses.push_back(loss / static_cast<double>(each));
  }
  const double divisor = sum_in_order(counted);
  if (out.max.data != nullptr) put_rows(out.max, 0, columns[0]);
  if (out.logsum.data != nullptr) put_rows(out.logsum, 0, columns[1]);
  if (out.target_logit.data != nullptr)
    std::copy(scores.begin(), scores.end(), static_cast<double*>(out.target_logit.data));
  if (out.loss.data != nullptr) put_losses(out.loss, losses, options.reduction, divisor);
}

}  // namespace fastsoftmax
