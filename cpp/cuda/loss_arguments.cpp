#include "cuda/loss_arguments.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "axis_call.h"
#include "cuda/device_call.h"
#include "loss_options.h"
#include "view_checks.h"

namespace fastsoftmax::cuda {
namespace {

void check_floating(const ConstView& view, const char* what) {
  if (!is_floating(view.dtype))
    throw InvalidType(std::string(what) + " must be floating on a GPU, got " +
                      std::string(name(view.dtype)));
}

// `axis` is left out; -1: none is.
RowArray row_array(const ConstView& view, std::ptrdiff_t axis, const char* what) {
  check_elements(view, what);
  RowArray array{static_cast<const char*>(view.data), view.dtype, {}};
  std::vector<Axis> axes;
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    const Axis dim{view.shape[d], view.strides[d], 0, 0, 0};
    if (static_cast<std::ptrdiff_t>(d) == axis || dim.size == 1) continue;
    if (!axes.empty() && axes.back().x == dim.x * dim.size)
      axes.back() = {axes.back().size * dim.size, dim.x, 0, 0, 0};
    else
      axes.push_back(dim);
  }
  if (axes.size() > kMaxAxes)
    throw InvalidArgument(std::string(what) + " may have at most " + std::to_string(kMaxAxes) +
                          " axes on a GPU that cannot be walked as one, not " +
                          std::to_string(axes.size()));
  array.axes.count = static_cast<int>(axes.size());
  std::ranges::copy(axes, array.axes.axis);
  return array;
}

struct Arguments {
  const ConstView& logits;
  const ConstView& targets;
  const CrossEntropyOutputs& out;
  const CrossEntropyOptions& options;
  std::size_t axis;
  std::vector<std::int64_t> row_shape{};
  std::int64_t classes = logits.shape[axis];

  LossTerms terms(double grad_out) {
    row_shape.assign(logits.shape.begin(), logits.shape.end());
    row_shape.erase(row_shape.begin() + static_cast<std::ptrdiff_t>(axis));
    LossTerms terms{};
    terms.ignore_index = options.ignore_index;
    terms.share = 1.0;
    terms.softcap = options.softcap;
    terms.reduction = static_cast<RowSum>(options.reduction);
    static_assert(static_cast<int>(Reduction::mean) == static_cast<int>(RowSum::mean));
    if (is_floating(targets.dtype) && std::ranges::equal(targets.shape, logits.shape))
      set_probabilities(terms);
    else
      set_classes(terms);
    if (options.weight) set_weight(*options.weight, terms);
    terms.weights.upstream = grad_out;
    if (options.grad_out) set_upstream(*options.grad_out, terms);
    return terms;
  }

  void set_probabilities(LossTerms& terms) const {
    terms.targets = row_array(targets, static_cast<std::ptrdiff_t>(axis), "targets");
    terms.target_step = targets.strides[axis];
    terms.coefficients = kernels::Coefficients::given;
    terms.weights = {0.0, 1.0, options.z_loss, 1.0};
    terms.share = 1.0 - options.label_smoothing;
    terms.spread =
        options.label_smoothing / static_cast<double>(std::max<std::int64_t>(classes, 1));
  }

  void set_classes(LossTerms& terms) const {
    check_class_shape(targets, row_shape, logits.shape);
    if (targets.dtype == DType::boolean)
      throw InvalidType("targets must be integers or probabilities, got bool");
    terms.targets = row_array(targets, -1, "targets");
    terms.weights = weights_of_target(options, 1.0, classes);
    if (options.label_smoothing > 0.0)
      terms.coefficients =
          options.weight ? kernels::Coefficients::given : kernels::Coefficients::ones;
  }

  void set_weight(const ConstView& weight, LossTerms& terms) const {
    check_view(weight, "weight");
    check_floating(weight, "weight");
    check_shape(weight, std::array{classes}, "weight");
    check_elements(weight, "weight");
    terms.weight = static_cast<const char*>(weight.data);
    terms.weight_dtype = weight.dtype;
    terms.weight_step = weight.strides[0];
  }

  void set_upstream(const ConstView& upstream, LossTerms& terms) const {
    check_view(upstream, "grad_out");
    check_floating(upstream, "grad_out");
    check_upstream_shape(upstream, options.reduction, row_shape);
    terms.upstream = row_array(upstream, -1, "grad_out");
  }

  // Throws unless no output shares memory with what is read beside the logits.
  void check_overlap() const {
    const ConstView loss = as_input(out.loss);
    const ConstView logsumexp = as_input(out.logsumexp);
    const auto taken = [](const std::optional<ConstView>& view) { return view ? &*view : nullptr; };
    const ConstView* const weight = taken(options.weight);
    const ConstView* const upstream = taken(options.grad_out);
    check_apart(out.loss, "loss", {&logits, &targets, weight, upstream});
    if (out.logsumexp.data != nullptr)
      check_apart(out.logsumexp, "logsumexp", {&logits, &targets, weight, upstream, &loss});
    if (out.grad.data != nullptr)
      check_apart(out.grad, "grad",
                  {&targets, weight, upstream, &loss,
                   out.logsumexp.data != nullptr ? &logsumexp : nullptr});
  }
};

}  // namespace

LossCall loss_call(const ConstView& logits, const ConstView& targets, int axis,
                   const CrossEntropyOutputs& out, const CrossEntropyOptions& options,
                   double grad_out) {
  check_view(targets, "targets");
  check_loss_options(options);
  const int axes[] = {axis};
  LossCall call{};
  static_cast<RowsCall&>(call) =
      rows_call(out.grad.data != nullptr ? make_call(Op::softmax, logits, out.grad, axes, {}, false)
                                         : axis_call(logits, axis, {}));
  const DType dtype = call.dtype == DType::f64 ? DType::f64 : DType::f32;
  check_softcap(options.softcap, dtype);
  if (call.length == 0 && call.rows > 0) throw InvalidArgument("logits have no classes");
  Arguments arguments{logits, targets, out, options, axis_of(logits, axis)};
  static_cast<LossTerms&>(call) = arguments.terms(grad_out);
  check_loss_outputs(out, dtype, logits, axis, options.reduction);
  check_elements(as_input(out.loss), "loss");
  if (out.logsumexp.data != nullptr) check_elements(as_input(out.logsumexp), "logsumexp");
  arguments.check_overlap();
  call.loss = static_cast<char*>(out.loss.data);
  call.logsumexp = static_cast<char*>(out.logsumexp.data);
  // Only kernels for any rows have these.
  if (call.softcap != 0.0 || call.coefficients == kernels::Coefficients::given)
    call.layout = Layout::gathered;
  else
    take_columns(call);
  return call;
}

}  // namespace fastsoftmax::cuda
