// softmax_backward and log_softmax_backward.
#include <algorithm>
#include <array>
#include <string>

#include "axis_result.h"
#include "backward_docs.h"
#include "bind.h"
#include "fastcall.h"
#include "fastsoftmax/backward.hpp"
#include "on_gpu.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<5> softmax_backward_parameters{
    "softmax_backward", 3, {"grad", "y", "axis", "temperature", "out"}, 2};
constexpr Parameters<5> log_softmax_backward_parameters{"log_softmax_backward", 3,
                                                        softmax_backward_parameters.names, 2};

// Takes the caller's output for `result`, and makes copies of inputs that overlap it otherwise than
// as the same elements.
void take_output(PyObject* out, Operand& output, ArrayView& result,
                 std::initializer_list<std::pair<const char*, Operand*>> inputs) {
  read_output(out, "out", output);
  if (output.view.dtype != result.dtype) {
    throw py::type_error("out must have dtype " + std::string(name(result.dtype)) + ", not " +
                         std::string(name(output.view.dtype)));
  }
  if (!std::ranges::equal(output.view.dims(), result.dims())) {
    throw py::value_error("out must have shape " + shape_text(result.dims()) + ", not " +
                          shape_text(output.view.dims()));
  }
  result = output.view;
  for (const auto& [name, input] : inputs) {
    if (same_elements(input->view, result)) {
      // The same but for axes of length 1, whose strides mean nothing to anyone else.
      input->view.strides = result.strides;
    } else if (may_overlap(input->view, result)) {
      copy_operand(name, *input);
    }
  }
}

template <typename Function>
py::object gradient(const Arguments<5>& a, Function function) {
  Operand grad;
  Operand y;
  Operand temperatures;
  Operand output;
  read_operand(a[0], "grad", grad);
  read_operand(a[1], "y", y);
  const Axes axes = read_axes(a[2], grad.view.ndim);
  BackwardOptions options;
  const bool per_row = read_temperature(a[3], options.temperature, temperatures);
  ArrayView result = grad.view;
  result.dtype = result_dtype(grad.view.dtype);
  result.byteswapped = false;
  result.data = nullptr;
  const bool has_output = a[4] != nullptr && a[4] != Py_None;
  py::object array;
  if (has_output) {
    take_output(a[4], output, result, {{"grad", &grad}, {"y", &y}});
    if (per_row && may_overlap(temperatures.view, result))
      copy_operand("temperature", temperatures);
  } else {
    set_keep_order_strides(grad.view, result);
    array = new_result(grad, result);
  }
  if (per_row) options.temperatures = temperatures.view.as_input();
  without_gil(grad.view.size(), [&] {
    function(grad.view.as_input(), y.view.as_input(), result.as_output(), axes.span(), options);
  });
  return has_output ? hand_back_output(output) : hand_back(grad, array, result.dtype);
}

template <typename Function>
py::object gradient_where_it_is(const Parameters<5>& parameters, const Arguments<5>& a,
                                Function function) {
  return compute_where_it_is(
      parameters, a, [&](const Arguments<5>& arguments) { return gradient(arguments, function); });
}

PyObject* softmax_backward_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                                 PyObject* keywords) {
  return call_guarded(
      softmax_backward_parameters, args, nargs, keywords, [](const Arguments<5>& a) {
        return gradient_where_it_is(softmax_backward_parameters, a, softmax_backward);
      });
}

PyObject* log_softmax_backward_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                                     PyObject* keywords) {
  return call_guarded(
      log_softmax_backward_parameters, args, nargs, keywords, [](const Arguments<5>& a) {
        return gradient_where_it_is(log_softmax_backward_parameters, a, log_softmax_backward);
      });
}

}  // namespace

void register_backward(py::module_& module) {
  static std::array methods{
      fastcall_method("softmax_backward", softmax_backward_entry, softmax_backward_doc),
      fastcall_method("log_softmax_backward", log_softmax_backward_entry, log_softmax_backward_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
