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
  double max, log_sum, target;
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
  ShardRow all{-kInfinity, 0.0, -kInfinity};
  for (std::size_t s = 0; s < shards.size(); ++s) {
    if (shards[s].max != shards[s].max) return {kNan, kNan, kNan};
    if (shards[s].max > shards[first].max) first = s;
    all.target = std::max(all.target, shards[s].target);
  }
  all.max = shards[first].max;
  if (std::isinf(all.max)) {
    all.log_sum = all.max > 0.0 ? kNan : shards[first].log_sum;
    return all;
  }
  double others = 0.0;
  const double log_sum = shards[first].log_sum;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    if (s != first && shards[s].max > -kInfinity)
      others += std::exp((shards[s].max - all.max) + (shards[s].log_sum - log_sum));
  }
  all.log_sum = log_sum + std::log1p(others);
  return all;
}

std::vector<double> read(const ConstView& view, std::span<const std::int64_t> shape,
                         const char* what) {
  check_view(view, what);
  check_dtype(view, DType::f64, what);
  if (!std::ranges::equal(view.shape, shape))
    throw InvalidArgument(std::string(what) + " of a shard has shape " + shape_text(view.shape) +
                          ", expected " + shape_text(shape));
  return elements_of<double>(view, shape, what);
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
                   Reduction reduction) {
  if (out.max.data != nullptr) check_dense(out.max, "max", DType::f64, shape);
  if (out.logsum.data != nullptr) check_dense(out.logsum, "logsum", DType::f64, shape);
  if (out.target_logit.data != nullptr)
    check_dense(out.target_logit, "target_logit", DType::f64, shape);
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
  check_outputs(out, shape, options.reduction);
  std::vector<std::vector<ShardRow>> parts(static_cast<std::size_t>(count));
  for (const LinearShard& shard : shards) {
    const std::vector<double> max = read(shard.max, shape, "max");
    const std::vector<double> log_sum = read(shard.logsum, shape, "logsum");
    const std::vector<double> target = read(shard.target_logit, shape, "target_logit");
    for (std::size_t r = 0; r < parts.size(); ++r)
      parts[r].push_back({max[r], log_sum[r], target[r]});
  }
  std::vector<ShardRow> rows;
  rows.reserve(parts.size());
  for (const std::vector<ShardRow>& part : parts) rows.push_back(merged(part));
  const std::vector<double> weights = weights_of(targets, options, rows);
  std::vector<double> counted;
  std::vector<double> columns[3];
  std::vector<double> losses;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const ShardRow& row = rows[r];
    columns[0].push_back(row.max);
    columns[1].push_back(row.log_sum);
    columns[2].push_back(row.target);
    if (is_ignored(row)) {
      losses.push_back(0.0);
      continue;
    }
    counted.push_back(weights[r]);
    const RowLoss loss{RowLoss::regular, row.max, row.log_sum, row.target - row.max, 0.0, 0.0};
    losses.push_back(loss_of(weights_of_target(options, weights[r], 1), loss));
  }
  const double divisor = sum_in_order(counted);
  const View* const views[] = {&out.max, &out.logsum, &out.target_logit};
  for (std::size_t i = 0; i < 3; ++i) {
    if (views[i]->data != nullptr) put_rows(*views[i], 0, columns[i]);
  }
  if (out.loss.data != nullptr) put_losses(out.loss, losses, options.reduction, divisor);
}

}  // namespace fastsoftmax
