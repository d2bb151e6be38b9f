// cross_entropy.
#include <optional>
#include <string>

#include "axis_result.h"
#include "bind.h"
#include "cross_entropy_docs.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/cross_entropy.hpp"
#include "per_row.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<12> cross_entropy_parameters{
    "cross_entropy",
    3,
    {"logits", "targets", "axis", "weight", "ignore_index", "label_smoothing", "z_loss", "softcap",
     "reduction", "grad_out", "need_grad", "inplace_grad"},
    2};

bool absent(PyObject* object) { return object == nullptr || object == Py_None; }

Reduction read_reduction(PyObject* object) {
  const std::string_view text = read_text(object, "reduction", "mean");
  if (text == "mean") return Reduction::mean;
  if (text == "sum") return Reduction::sum;
  if (text == "none") return Reduction::none;
  throw py::value_error("reduction must be 'mean', 'sum' or 'none', not '" + std::string(text) +
                        "'");
}

double read_number(PyObject* object, const char* name) {
  double number = 0.0;
  Operand array;
  if (read_real(object, name, number, array))
    throw py::type_error(std::string(name) + " must be a number, not an array");
  return number;
}

// Classes, as int64, or probabilities. A number stays in `single`.
struct Targets {
  Operand operand;
  PerRow<std::int64_t> classes;
  bool probabilities = false;

  ConstView view() const {
    if (probabilities) return operand.view.as_input();
    return classes.values ? *classes.values : ConstView{&classes.value, DType::i64, {}, {}};
  }
};

void read_targets(PyObject* object, Targets& targets) {
  read_operand(object, "targets", targets.operand);
  targets.probabilities = is_floating(targets.operand.view.dtype);
  if (!targets.probabilities) read_per_row(object, "targets", targets.operand, targets.classes);
}

// An array of doubles, or a number as one without axes.
struct Doubles {
  Operand operand;
  double number = 0.0;
  bool is_array = false;

  void read(PyObject* object, const char* name) {
    is_array = read_real(object, name, number, operand);
  }
  ConstView view() const {
    return is_array ? operand.view.as_input() : ConstView{&number, DType::f64, {}, {}};
  }
};

py::object cross_entropy_of(const Arguments<12>& a) {
  Operand logits;
  const bool in_place = read_flag(a[11]);
  const bool need_grad = in_place || read_flag(a[10]);
  if (in_place)
    read_output(a[0], "logits", logits);
  else
    read_operand(a[0], "logits", logits);
  const DType dtype = result_dtype(logits.view.dtype);
  if (in_place && dtype != logits.view.dtype)
    throw py::type_error("inplace_grad needs logits of a floating dtype, not " +
                         std::string(name(logits.view.dtype)));
  const int axis = read_single_axis(a[2], logits.view.ndim);
  Targets targets;
  read_targets(a[1], targets);
  CrossEntropyOptions options;
  Doubles weight;
  Doubles upstream;
  if (!absent(a[3])) {
    weight.read(a[3], "weight");
    options.weight = weight.view();
  }
  if (a[4] != nullptr) options.ignore_index = read_int(a[4], "ignore_index");
  if (a[5] != nullptr) options.label_smoothing = read_number(a[5], "label_smoothing");
  if (a[6] != nullptr) options.z_loss = read_number(a[6], "z_loss");
  if (!absent(a[7])) {
    options.softcap = read_number(a[7], "softcap");
    if (options.softcap == 0.0) throw py::value_error("softcap must be positive, got 0");
  }
  options.reduction = read_reduction(a[8]);
  if (!absent(a[9])) {
    if (!need_grad) throw py::value_error("grad_out is of use with need_grad or inplace_grad only");
    upstream.read(a[9], "grad_out");
    options.grad_out = upstream.view();
  }

  const DType loss_dtype = dtype == DType::f64 ? DType::f64 : DType::f32;
  const bool per_row = options.reduction == Reduction::none;
  std::optional<AxisResult> losses;
  std::optional<AxisResult> sums;
  ArrayView gradient = logits.view;
  py::object gradient_array;
  double total = 0.0;
  CrossEntropyOutputs out;
  out.loss = {&total, loss_dtype, {}, {}};
  if (per_row) {
    losses.emplace(logits, axis, 1, loss_dtype, true);
    out.loss = losses->view.as_output();
  }
  if (need_grad) {
    sums.emplace(logits, axis, 1, loss_dtype, true);
    out.logsumexp = sums->view.as_output();
    if (!in_place) {
      gradient.dtype = dtype;
      gradient.byteswapped = false;
      set_keep_order_strides(logits.view, gradient);
      gradient_array = new_result(logits, gradient);
    } else if (targets.probabilities && may_overlap(targets.operand.view, gradient)) {
      copy_operand("targets", targets.operand);
    }
    out.grad = gradient.as_output();
  }
  without_gil(logits.view.size(),
              [&] { cross_entropy(logits.view.as_input(), targets.view(), axis, out, options); });

  const bool scalar = logits.view.ndim == 1;
  py::object loss;
  if (per_row) {
    loss = hand_back(logits, losses->array, loss_dtype, scalar);
  } else {
    ArrayView shape{};
    shape.dtype = loss_dtype;
    const py::object single = new_result(logits, shape);
    std::copy_n(reinterpret_cast<const char*>(&total), itemsize(loss_dtype),
                static_cast<char*>(shape.data));
    loss = hand_back(logits, single, loss_dtype, true);
  }
  if (!need_grad) return loss;
  return named("CrossEntropy", py::make_tuple(loss,
                                              in_place ? hand_back_output(logits)
                                                       : hand_back(logits, gradient_array, dtype),
                                              hand_back(logits, sums->array, loss_dtype, scalar)));
}

PyObject* cross_entropy_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                              PyObject* keywords) {
  return call_guarded(cross_entropy_parameters, args, nargs, keywords, cross_entropy_of);
}

}  // namespace

void register_cross_entropy(py::module_& module) {
  static PyMethodDef method =
      fastcall_method("cross_entropy", cross_entropy_entry, cross_entropy_doc);
  add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
