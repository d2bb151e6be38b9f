// Losses and gradients of partial FC: the rows of the sample, of length 1, are a linear layer.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <utility>

#include "axis_call.h"
#include "call_threads.h"
#include "fastsoftmax/linear_cross_entropy.hpp"
#include "fastsoftmax/partial_fc.hpp"
#include "linear_checks.h"
#include "linear_loss.h"
#include "loss_options.h"
#include "margin_targets.h"
#include "partial_fc_targets.h"
#include "unit_rows.h"

namespace fastsoftmax {
namespace {

void check_margin(const PartialFCOptions& o) {
  if (o.margin == Margin::none) return;
  if (!o.normalize) throw InvalidArgument("a margin needs normalize");
  const bool arcface = o.margin == Margin::arcface;
  if (!(o.margin_size >= 0.0 && std::isfinite(o.margin_size)))
    throw InvalidArgument("the margin must be finite and not negative, got " +
                          number_text(o.margin_size));
  if (arcface && o.margin_size > std::numbers::pi)
    throw InvalidArgument("the margin of arcface must be at most pi, got " +
                          number_text(o.margin_size));
}

std::vector<std::int64_t> read_sample(const ConstView& view, std::int64_t classes) {
  check_view(view, "ids");
  check_dtype(view, DType::i64, "ids");
  if (view.shape.size() != 1)
    throw InvalidArgument("ids must have 1 dimension, not shape " + shape_text(view.shape));
  auto ids = elements_of<std::int64_t>(view, view.shape, "ids");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= classes)
      throw InvalidIndex("id " + std::to_string(ids[i]) + " is out of bounds for " +
                         std::to_string(classes) + " classes");
    if (i > 0 && ids[i] <= ids[i - 1])
      throw InvalidArgument("ids must ascend without repetition, but " + std::to_string(ids[i]) +
                            " follows " + std::to_string(ids[i - 1]));
  }
  return ids;
}

// A call with its arguments checked.
struct PartialFCCall {
  const LinearLayer& layer;
  const PartialFCOptions& options;
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> places;  // of targets, as in PartialFC
  std::vector<std::int64_t> rows;    // of x; -1 where ignored
  std::vector<double> bias;          // of ids; empty: 0
  int threads;

  PartialFCCall(const LinearLayer& of, const ConstView& targets, const ConstView& sample,
                const PartialFCOptions& with)
      : layer(of), options(with) {
    check_layer(layer);
    if (layer.bias) throw InvalidArgument("a layer of partial FC has no bias");
    if (layer.x.shape[1] != layer.w.shape[1])
      throw InvalidArgument("x of shape " + shape_text(layer.x.shape) + " and W of shape " +
                            shape_text(layer.w.shape) + " differ in their last dimension");
    if (!is_valid_temperature(options.scale, linear_dtype(layer.x.dtype, layer.w.dtype)))
      throw InvalidArgument("scale must be positive and finite, got " + number_text(options.scale));
    check_margin(options);
    threads = call_threads(options.max_threads);
    ids = read_sample(sample, layer.w.shape[0]);
    places = targets_here(targets, layer.w.shape[0], options.vocab_start, options.vocab_size,
                          options.ignore_index);
    if (std::ssize(places) != layer.x.shape[0])
      throw InvalidArgument("targets have shape " + shape_text(targets.shape) + ", expected (" +
                            std::to_string(layer.x.shape[0]) + ",)");
    places = remapped(std::move(places), ids);
    for (std::int64_t r = 0; r < layer.x.shape[0]; ++r)
      rows.push_back(places[static_cast<std::size_t>(r)] < 0 ? -1 : r);
    if (options.log_correction) read_correction(*options.log_correction);
  }

  void read_correction(const ConstView& view) {
    const auto logs = doubles_of(view, std::array{std::ssize(ids)}, "log_correction");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!std::isfinite(logs[i]))
        throw InvalidArgument("log_correction of id " + std::to_string(ids[i]) + " is " +
                              number_text(logs[i]));
    }
    for (const std::int64_t place : places) {
      if (is_class(place, std::ssize(ids)) && logs[static_cast<std::size_t>(place)] != 0.0)
        throw InvalidArgument("log_correction of id " +
                              std::to_string(ids[static_cast<std::size_t>(place)]) +
                              ", which is a target, must be 0, got " +
                              number_text(logs[static_cast<std::size_t>(place)]));
    }
    if (std::ranges::all_of(logs, [](double log) { return log == 0.0; })) return;
    for (const double log : logs) bias.push_back(-log);
  }
};

template <class T>
class PartialFCLoss {
 public:
  explicit PartialFCLoss(const PartialFCCall& call)
      : call_(call),
        x_(RowSource<T>(call.layer.x, "x"), call.rows, call.options.scale, call.options.normalize,
           call.threads),
        w_(RowSource<T>(call.layer.w, "W"), call.ids, 1.0, call.options.normalize, call.threads) {
    if (call.options.margin != Margin::none)
      margin_.emplace(call.layer, call.ids, call.places, call.options, call.threads);
  }

  // By max and logsum of the rows, where they are given.
  void run(const PartialFCOutputs& out, const ConstView* max, const ConstView* logsum) {
    const std::array<std::int64_t, 1> per_row = {x_.rows()};
    const std::array<std::int64_t, 1> per_row_strides = {sizeof(std::int64_t)};
    const std::array<std::int64_t, 1> per_id = {w_.rows()};
    const std::array<std::int64_t, 1> per_id_strides = {sizeof(double)};
    LinearLayer layer{x_.view(), w_.view(), {}, call_.layer.matmul};
    if (!call_.bias.empty())
      layer.bias = ConstView{call_.bias.data(), DType::f64, per_id, per_id_strides};
    const ConstView targets{call_.places.data(), DType::i64, per_row, per_row_strides};

    const PartialFCOptions& options = call_.options;
    LinearCrossEntropyOptions with;
    with.loss.ignore_index = -1;
    with.loss.reduction = options.reduction;
    with.loss.grad_out = options.grad_out;
    with.loss.max_threads = options.max_threads;
    with.tile_bytes = options.tile_bytes;
    // One class more, which the places of other processes' targets are.
    if (options.vocab_size) with.vocab_size = w_.rows() + 1;

    LinearCrossEntropyOutputs to;
    to.loss = out.loss;
    to.max = out.max;
    to.logsum = out.logsum;
    to.target_logit = out.target_logit;
    to.grad_x = out.grad_x;
    SparseRows gradient;
    if (out.grad_weights != nullptr) {
      gradient = SparseRows(call_.ids, w_.columns(), dtype_of_arithmetic<T>);
      const ConstView like = w_.view();
      to.grad_w = {gradient.values(), like.dtype, like.shape, like.strides};
    }
    auto* const grad_x = static_cast<T*>(out.grad_x.data);
    auto* const grad_w = static_cast<T*>(to.grad_w.data);
    const bool with_gradient = grad_x != nullptr || grad_w != nullptr;
    TargetScores<T> given;
    if (margin_) given = margin_->given(with_gradient);
    if (max != nullptr)
      linear_loss_backward<T>(layer, targets, *max, *logsum, to, with, given);
    else
      linear_loss<T>(layer, targets, to, with, given);
    if (grad_x != nullptr) x_.pull_back(grad_x, call_.threads);
    if (grad_w != nullptr) w_.pull_back(grad_w, call_.threads);
    if (margin_ && with_gradient) margin_->add_gradients(grad_x, grad_w);
    if (out.grad_weights != nullptr) *out.grad_weights = std::move(gradient);
  }

 private:
  const PartialFCCall& call_;
  UnitRows<T> x_;
  UnitRows<T> w_;
  std::optional<MarginTargets<T>> margin_;
};

void run(const LinearLayer& layer, const ConstView& targets, const ConstView& ids,
         const PartialFCOutputs& out, const PartialFCOptions& options, const ConstView* max,
         const ConstView* logsum) {
  const PartialFCCall call(layer, targets, ids, options);
  const auto check = [&](const View& view, const char* what) {
    if (view.data != nullptr)
      check_apart(view, what, {&layer.x, &layer.w, &targets, &ids, max, logsum});
  };
  check(out.loss, "loss");
  check(out.max, "max");
  check(out.logsum, "logsum");
  check(out.target_logit, "target_logit");
  check(out.grad_x, "grad_x");
  with_arithmetic(layer, [&]<class T>() { PartialFCLoss<T>(call).run(out, max, logsum); });
}

}  // namespace

void partial_fc_loss(const LinearLayer& layer, const ConstView& targets, const ConstView& ids,
                     const PartialFCOutputs& out, const PartialFCOptions& options) {
  run(layer, targets, ids, out, options, nullptr, nullptr);
}

void partial_fc_loss_backward(const LinearLayer& layer, const ConstView& targets,
                              const ConstView& ids, const ConstView& max, const ConstView& logsum,
                              const PartialFCOutputs& out, const PartialFCOptions& options) {
  run(layer, targets, ids, out, options, &max, &logsum);
}

}  // namespace fastsoftmax
