// The loss of an adaptive softmax: that of the head for all rows, and that of each cluster for the
// rows whose targets are in it.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "adaptive_softmax.h"
#include "axis_call.h"
#include "linear_checks.h"
#include "linear_loss.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax {
namespace {

constexpr std::int64_t kIgnore = -1;  // which is no class

// A number of each row, in memory of its own.
template <class T>
class Column {
 public:
  Column(std::int64_t rows, DType dtype)
      : values_(static_cast<std::size_t>(rows)), shape_{rows}, dtype_(dtype) {}
  T& operator[](std::int64_t r) { return values_[static_cast<std::size_t>(r)]; }
  View out() { return {values_.data(), dtype_, shape_, strides_}; }
  ConstView view() const { return {values_.data(), dtype_, shape_, strides_}; }

 private:
  std::vector<T> values_;
  std::array<std::int64_t, 1> shape_;
  std::array<std::int64_t, 1> strides_{sizeof(T)};
  DType dtype_;
};

struct Numbers : Column<double> {
  explicit Numbers(std::int64_t rows) : Column(rows, DType::f64) {}
};
struct Targets : Column<std::int64_t> {
  explicit Targets(std::int64_t rows) : Column(rows, DType::i64) {}
};

template <class T>
class AdaptiveLoss {
 public:
  AdaptiveLoss(const AdaptiveLayer& layer, const ConstView& targets, const AdaptiveOutputs& out,
               const AdaptiveOptions& options)
      : layer_(layer),
        out_(out),
        classes_(layer),
        rows_(layer.x.shape[0]),
        head_targets_(rows_),
        upstream_(rows_),
        losses_(static_cast<std::size_t>(rows_), 0.0),
        of_clusters_(static_cast<std::size_t>(classes_.clusters())),
        reduction_(options.reduction) {
    options_.loss.reduction = Reduction::none;
    options_.loss.ignore_index = kIgnore;
    options_.loss.max_threads = options.max_threads;
    options_.tile_bytes = options.tile_bytes;
    read_targets(targets, options.ignore_index);
    read_upstream(options);
    check_outputs(targets, options);
  }

  void run() {
    const RowSet rows = all_rows(rows_);
    LinearCrossEntropyOutputs out;
    out.grad_x = out_.grad_x;
    out.grad_w = out_.grad_head;
    out.grad_bias = out_.grad_head_bias;
    add_losses(head_of(layer_), rows, head_targets_, upstream_, out);
    for (std::int64_t i = 0; i < classes_.clusters(); ++i) run_cluster(i);
    if (out_.loss.data != nullptr) put_losses(out_.loss, losses_, reduction_, divisor_);
  }

 private:
  struct Rows {
    RowSet numbers;
    std::vector<std::int64_t> targets;  // among the classes of the cluster
  };

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  void read_targets(const ConstView& targets, std::int64_t ignore_index) {
    check_view(targets, "targets");
    const std::array shape = {rows_};
    if (!std::ranges::equal(targets.shape, shape))
      throw InvalidArgument("targets have shape " + shape_text(targets.shape) + ", expected " +
                            shape_text(shape));
    check_dtype(targets, DType::i64, "targets");
    const auto given = elements_of<std::int64_t>(targets, shape, "targets");
    std::int64_t counted = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const std::int64_t target = given[at(r)];
      head_targets_[r] = kIgnore;
      if (target == ignore_index) continue;
      if (target < 0 || target >= classes_.count())
        throw InvalidIndex("target " + std::to_string(target) + " of row " + std::to_string(r) +
                           " is out of bounds for classes 0 to " +
                           std::to_string(classes_.count() - 1));
      ++counted;
      head_targets_[r] = classes_.head_entry(target);
      const std::int64_t cluster = classes_.cluster_of(target);
      if (cluster < 0) continue;
      of_clusters_[at(cluster)].numbers.push_back(r);
      of_clusters_[at(cluster)].targets.push_back(target - classes_.first(cluster));
    }
    divisor_ = static_cast<double>(counted);
  }

  void read_upstream(const AdaptiveOptions& options) {
    CrossEntropyOptions of_loss;
    of_loss.reduction = options.reduction;
    of_loss.grad_out = options.grad_out;
    const std::array shape = {rows_};
    const std::vector<double> upstream = upstream_of(of_loss, shape, divisor_);
    for (std::int64_t r = 0; r < rows_; ++r)
      upstream_[r] = upstream[upstream.size() == 1 ? 0 : at(r)];
  }

  void check_outputs(const ConstView& targets, const AdaptiveOptions& options) const {
    std::vector<ConstView> taken = {targets};
    if (options.grad_out) taken.push_back(*options.grad_out);
    const auto check = [&](const View& view, const std::string& what,
                           std::span<const std::int64_t> shape) {
      if (view.data == nullptr) return;
      check_adaptive_output(view, what.c_str(), dtype_of_arithmetic<T>, shape, layer_);
      for (const ConstView& other : taken) check_apart(view, what.c_str(), {&other});
      taken.push_back(as_input(view));
    };
    const std::array per_row = {rows_};
    check(out_.loss, "loss",
          std::span(per_row).first(reduction_ == Reduction::none ? std::size_t{1} : 0));
    check(out_.grad_x, "grad_x", layer_.x.shape);
    check(out_.grad_head, "grad_head", layer_.head.shape);
    if (out_.grad_head_bias.data != nullptr && !layer_.head_bias)
      throw InvalidArgument("grad_head_bias is given for a head without bias");
    if (layer_.head_bias) check(out_.grad_head_bias, "grad_head_bias", layer_.head_bias->shape);
    const auto check_all = [&](std::span<const View> views, std::span<const ConstView> of,
                               const char* what) {
      if (!views.empty() && views.size() != of.size())
        throw InvalidArgument(std::string(what) + " has " + std::to_string(views.size()) +
                              " arrays for " + std::to_string(of.size()) + " clusters");
      for (std::size_t i = 0; i < views.size(); ++i)
        check(views[i], std::string(what) + "[" + std::to_string(i) + "]", of[i].shape);
    };
    check_all(out_.grad_projections, layer_.projections, "grad_projections");
    check_all(out_.grad_tails, layer_.tails, "grad_tails");
  }

  // Adds the losses of a layer over `rows`, in their order, to theirs.
  void add_losses(const LinearLayer& layer, const RowSet& rows, const Targets& targets,
                  const Numbers& upstream, LinearCrossEntropyOutputs out) {
    const auto count = static_cast<std::int64_t>(rows.size());
    Numbers max(count);
    Numbers log_sum(count);
    Numbers target(count);
    out.max = max.out();
    out.logsum = log_sum.out();
    out.target_logit = target.out();
    options_.loss.grad_out = upstream.view();
    linear_loss<T>(layer, targets.view(), out, options_);
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t number = rows[at(r)];
      if (head_targets_[number] == kIgnore) continue;
      const double loss = log_sum[r] - (target[r] - max[r]);
      losses_[at(number)] += loss == loss ? loss : kNan;
    }
  }

  void run_cluster(std::int64_t cluster) {
    const Rows& of = of_clusters_[at(cluster)];
    const View grad_projection = view_of(out_.grad_projections, cluster);
    const auto count = static_cast<std::int64_t>(of.numbers.size());
    const std::int64_t inputs = layer_.projections[at(cluster)].shape[0];
    const bool with_inputs = out_.grad_x.data != nullptr || grad_projection.data != nullptr;
    ClusterRows<T> rows(layer_, cluster, of.numbers);
    Targets targets(count);
    Numbers upstream(count);
    for (std::int64_t r = 0; r < count; ++r) {
      targets[r] = of.targets[at(r)];
      upstream[r] = upstream_[of.numbers[at(r)]];
    }
    LinearCrossEntropyOutputs out;
    out.grad_w = view_of(out_.grad_tails, cluster);
    RowBuffer<T> grad;
    if (with_inputs) {
      grad.reserve(count, inputs);
      out.grad_x = grad.out();
    }
    add_losses(rows.layer(), of.numbers, targets, upstream, out);
    if (with_inputs) rows.add_gradients(grad, out_.grad_x, grad_projection);
  }
  static View view_of(std::span<const View> views, std::int64_t cluster) {
    return views.empty() ? View{} : views[at(cluster)];
  }

  const AdaptiveLayer& layer_;
  const AdaptiveOutputs& out_;
  AdaptiveClasses classes_;
  std::int64_t rows_;
  Targets head_targets_;
  Numbers upstream_;
  std::vector<double> losses_;
  std::vector<Rows> of_clusters_;
  double divisor_ = 0.0;
  Reduction reduction_;
  LinearCrossEntropyOptions options_;
};

}  // namespace

void adaptive_loss(const AdaptiveLayer& layer, const ConstView& targets, const AdaptiveOutputs& out,
                   const AdaptiveOptions& options) {
  const AdaptiveClasses classes(layer);
  with_arithmetic(layer, [&]<class T>() { AdaptiveLoss<T>(layer, targets, out, options).run(); });
}

}  // namespace fastsoftmax
