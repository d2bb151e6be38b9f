#include "fastsoftmax/cross_entropy.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "axis_call.h"
#include "gather.h"
#include "loss_options.h"
#include "loss_rows.h"
#include "view_checks.h"

#define FASTSOFTMAX_ISA baseline
#include "simd/vec_common.h"

namespace fastsoftmax {
namespace {

using kernels::Coefficients;

std::string position_text(std::int64_t row, std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    at[d] = row % shape[d];
    row /= shape[d];
  }
  return shape_text(at);
}

std::vector<std::int64_t> without_axis(const ConstView& logits, int axis) {
  std::vector<std::int64_t> shape(logits.shape.begin(), logits.shape.end());
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis_of(logits, axis)));
  return shape;
}

// The elements of a view in C order, where they lie so; else null.
template <class T>
const T* elements_in_place(const ConstView& view, std::span<const std::int64_t> shape) {
  std::int64_t step = sizeof(T);
  if (reinterpret_cast<std::uintptr_t>(view.data) % alignof(T) != 0) return nullptr;
  for (std::size_t d = shape.size(); d-- > 0; step *= shape[d]) {
    if (shape[d] != 1 && view.strides[d] != step) return nullptr;
  }
  return static_cast<const T*>(view.data);
}

struct CrossEntropy {
  const ConstView& logits;
  int axis;
  const CrossEntropyOptions& options;
  std::vector<std::int64_t> row_shape = without_axis(logits, axis);
  std::int64_t classes = logits.shape[axis_of(logits, axis)];
  double divisor = 1.0;
  std::vector<double> class_weights{};
  std::vector<std::int64_t> copied_targets{};

  // `grad` is where gradients go, if anywhere.
  void read_targets(const ConstView& targets, const View& grad, LossRows& rows) {
    check_class_shape(targets, row_shape, logits.shape);
    if (rows.call.rows > 0) check_dtype(targets, DType::i64, "targets");
    check_data(targets, "targets");
    const bool overwritten = grad.data != nullptr && may_share_memory(as_input(grad), targets);
    if (!overwritten) rows.targets = elements_in_place<std::int64_t>(targets, row_shape);
    if (rows.targets == nullptr) {
      copied_targets = elements_of<std::int64_t>(targets, row_shape, "targets");
      rows.targets = copied_targets.data();
    }
    rows.ignore_index = options.ignore_index;
    check_targets({rows.targets, static_cast<std::size_t>(rows.call.rows)});
    rows.weights = weights_of_target(options, 1.0, classes);
    if (options.label_smoothing > 0.0)
      rows.coefficients.kind = class_weights.empty() ? Coefficients::ones : Coefficients::given;
  }

  // Sets the divisor.
  void check_targets(std::span<const std::int64_t> targets) {
    std::int64_t ignored = 0;
    std::int64_t valid = 0;
    for (const std::int64_t target : targets) {
      ignored += target == options.ignore_index;
      valid += (target == options.ignore_index) | is_class(target, classes);
    }
    const auto rows = static_cast<std::int64_t>(targets.size());
    if (valid < rows) refuse_target(targets);
    divisor = static_cast<double>(rows - ignored);
    if (class_weights.empty()) return;
    std::vector<double> weights;
    weights.reserve(targets.size());
    for (const std::int64_t target : targets) {
      if (target != options.ignore_index)
        weights.push_back(class_weights[static_cast<std::size_t>(target)]);
    }
    divisor = sum_in_order(weights);
  }

  [[noreturn]] void refuse_target(std::span<const std::int64_t> targets) const {
    const auto wrong = std::ranges::find_if(targets, [&](std::int64_t target) {
      return target != options.ignore_index && !is_class(target, classes);
    });
    const std::int64_t row = wrong - targets.begin();
    const std::string where = row_shape.empty()       ? ""
                              : row_shape.size() == 1 ? " of row " + std::to_string(row)
                                                      : " of row " + position_text(row, row_shape);
    throw InvalidIndex("target " + std::to_string(*wrong) + where + " is out of bounds for " +
                       std::to_string(classes) + " classes");
  }

  void read_probabilities(const ConstView& targets, LossRows& rows, Call& probabilities) {
    Options core;
    core.dtype = rows.call.row_dtype == DType::f64 ? DType::f64 : DType::f32;
    probabilities = axis_call(targets, axis, core);
    rows.weights = {0.0, 1.0, options.z_loss, 1.0};
    LossCoefficients& k = rows.coefficients;
    k.kind = Coefficients::given;
    k.probabilities = &probabilities;
    k.keep = 1.0 - options.label_smoothing;
    k.spread = options.label_smoothing / static_cast<double>(std::max<std::int64_t>(classes, 1));
    divisor = static_cast<double>(rows.call.rows);
  }
};

}  // namespace

void cross_entropy(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options) {
  const baseline::DefaultFloatEnvironment environment;
  check_view(targets, "targets");
  check_loss_options(options);
  Options core;
  core.max_threads = options.max_threads;
  LossRows rows;
  rows.with_gradient = out.grad.data != nullptr;
  const int axes[] = {axis};
  rows.call = rows.with_gradient ? make_call(Op::softmax, logits, out.grad, axes, core, false)
                                 : axis_call(logits, axis, core);
  rows.softcap = options.softcap;
  const DType dtype = rows.call.row_dtype == DType::f64 ? DType::f64 : DType::f32;
  check_softcap(options.softcap, dtype);
  CrossEntropy loss{logits, axis, options};
  if (loss.classes == 0 && rows.call.rows > 0) throw InvalidArgument("logits have no classes");
  loss.class_weights = class_weights_of(options, loss.classes);
  Call probabilities;
  const bool soft = is_floating(targets.dtype) && std::ranges::equal(targets.shape, logits.shape);
  if (soft)
    loss.read_probabilities(targets, rows, probabilities);
  else
    loss.read_targets(targets, out.grad, rows);
  rows.coefficients.class_weights = loss.class_weights;
  rows.upstream = upstream_of(options, loss.row_shape, loss.divisor);
  check_loss_outputs(out, dtype, logits, axis, options.reduction);
  check_apart(out.loss, "loss", {&logits, &targets});
  if (out.logsumexp.data != nullptr) {
    check_apart(out.logsumexp, "logsumexp", {&logits, &targets});
    rows.logsumexps = out.logsumexp;
  }
  if (rows.with_gradient) {
    const ConstView loss_view = as_input(out.loss);
    const ConstView logsumexp_view = as_input(out.logsumexp);
    check_apart(out.grad, "grad",
                {&loss_view, soft ? &targets : nullptr,
                 out.logsumexp.data != nullptr ? &logsumexp_view : nullptr});
  }
  if (options.reduction == Reduction::none) {
    rows.losses = out.loss;
    return execute(rows, options.max_threads);
  }
  const auto count = static_cast<std::size_t>(rows.call.rows);
  const auto losses = std::make_unique_for_overwrite<double[]>(count);
  rows.losses = {losses.get(), DType::f64, {}, {}};
  execute(rows, options.max_threads);
  put_losses(out.loss, {losses.get(), count}, options.reduction, loss.divisor);
}

}  // namespace fastsoftmax
