// linear_logsumexp, linear_log_prob and linear_topk.
#include <array>
#include <string>

#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastcall.h"
#include "linear_arguments.h"
#include "linear_docs.h"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<4> logsumexp_parameters{
    "linear_logsumexp", 3, {"x", "W", "bias", "temperature"}, 2};
constexpr Parameters<5> log_prob_parameters{
    "linear_log_prob", 4, {"x", "W", "ids", "bias", "temperature"}, 3};
constexpr Parameters<6> topk_parameters{
    "linear_topk", 4, {"x", "W", "k", "bias", "temperature", "log"}, 3};

LinearOptions read_options(PyObject* temperature) {
  LinearOptions options;
  if (temperature != nullptr) options.temperature = read_number(temperature, "temperature");
  return options;
}

py::object logsumexp_of(const Arguments<4>& a) {
  const LinearArguments linear(a[0], a[1], a[2]);
  const LinearOptions options = read_options(a[3]);
  ArrayView out;
  const py::object result = linear.new_array({linear.rows()}, linear.dtype(), out);
  {
    const py::gil_scoped_release release;
    linear_logsumexp(linear.layer(), out.as_output(), options);
  }
  return linear.give(result, linear.dtype());
}

py::object log_prob_of(const Arguments<5>& a) {
  const LinearArguments linear(a[0], a[1], a[3]);
  Classes ids;
  ids.read(a[2], "ids");
  const LinearOptions options = read_options(a[4]);
  const ConstView wanted = ids.view();
  ArrayView out;
  const bool matrix = wanted.shape.size() == 2;
  const py::object result =
      matrix ? linear.new_array({wanted.shape[0], wanted.shape[1]}, linear.dtype(), out)
             : linear.new_array({linear.rows()}, linear.dtype(), out);
  {
    const py::gil_scoped_release release;
    linear_log_prob(linear.layer(), wanted, out.as_output(), options);
  }
  return linear.give(result, linear.dtype());
}

py::object topk_of(const Arguments<6>& a) {
  const LinearArguments linear(a[0], a[1], a[3]);
  const std::int64_t k = read_int(a[2], "k");
  const LinearOptions options = read_options(a[4]);
  const bool log = read_flag(a[5]);
  // Throws before results of that size are allocated.
  if (k < 0 || k > linear.classes()) linear_topk(linear.layer(), k, {}, {}, {}, log, options);
  const DType dtype = linear.dtype();
  ArrayView values_view;
  ArrayView indices_view;
  ArrayView sums_view;
  const py::object values = linear.new_array({linear.rows(), k}, dtype, values_view);
  const py::object indices = linear.new_array({linear.rows(), k}, DType::i64, indices_view);
  const py::object sums = linear.new_array({linear.rows()}, dtype, sums_view);
  {
    const py::gil_scoped_release release;
    linear_topk(linear.layer(), k, values_view.as_output(), indices_view.as_output(),
                sums_view.as_output(), log, options);
  }
  return named("LinearTopK",
               py::make_tuple(linear.give(values, dtype), linear.give(indices, DType::i64),
                              linear.give(sums, dtype)));
}

PyObject* logsumexp_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(logsumexp_parameters, args, nargs, keywords, logsumexp_of);
}

PyObject* log_prob_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(log_prob_parameters, args, nargs, keywords, log_prob_of);
}

PyObject* topk_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) {
  return call_guarded(topk_parameters, args, nargs, keywords, topk_of);
}

}  // namespace

void register_linear(py::module_& module) {
  static std::array methods{
      fastcall_method("linear_logsumexp", logsumexp_entry, linear_logsumexp_doc),
      fastcall_method("linear_log_prob", log_prob_entry, linear_log_prob_doc),
      fastcall_method("linear_topk", topk_entry, linear_topk_doc),
  };
  for (PyMethodDef& method : methods) add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
