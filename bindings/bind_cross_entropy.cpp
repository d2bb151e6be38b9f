// cross_entropy.
#include <optional>
#include <string>

#include "axis_result.h"
#include "bind.h"
#include "cross_entropy_docs.h"
#include "errors.h"
#include "fastcall.h"
#include "fastsoftmax/cross_entropy.hpp"
#include "loss_arguments.h"
#include "on_gpu.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<12> cross_entropy_parameters{
    "cross_entropy",
    3,
    {"logits", "targets", "axis", "weight", "ignore_index", "label_smoothing", "z_loss", "softcap",
     "reduction", "grad_out", "need_grad", "inplace_grad"},
    2};

// Classes, or probabilities.
struct Targets {
  Classes classes;
  bool probabilities = false;

  void read(PyObject* object) {
    read_operand(object, "targets", classes.operand);
    probabilities = is_floating(classes.operand.view.dtype);
    if (!probabilities) classes.read(object, "targets");
  }
  ConstView view() const {
    return probabilities ? classes.operand.view.as_input() : classes.view();
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
  targets.read(a[1]);
  if (!need_grad && !absent(a[9]))
    throw py::value_error("grad_out is of use with need_grad or inplace_grad only");
  const LossOptions read({a[3], a[4], a[5], a[6], a[7], a[8], a[9]});
  const CrossEntropyOptions& options = read.options;

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
    } else if (targets.probabilities && may_overlap(targets.classes.operand.view, gradient)) {
      copy_operand("targets", targets.classes.operand);
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
  return call_guarded(cross_entropy_parameters, args, nargs, keywords, [](const Arguments<12>& a) {
    return compute_where_it_is(cross_entropy_parameters, a, cross_entropy_of);
  });
}

}  // namespace

void register_cross_entropy(py::module_& module) {
  static PyMethodDef method =
      fastcall_method("cross_entropy", cross_entropy_entry, cross_entropy_doc);
  add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
