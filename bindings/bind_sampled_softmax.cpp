// sampled_softmax_loss, nce_loss and negative_sampling_loss, whose samples are objects of Python
// (_sampled_softmax.py).
#include <string>
#include <utility>

#include "bind.h"
#include "errors.h"
#include "fastsoftmax/sampled_softmax.hpp"
#include "linear_arguments.h"
#include "loss_arguments.h"
#include "sparse_rows.h"

namespace fastsoftmax::python {

namespace {

// (ids, log expected counts, those of the targets or None)
struct SampleArguments {
  Classes ids;
  Doubles logs;
  Doubles target_logs;
  ClassSample sample;

  explicit SampleArguments(const py::tuple& parts) {
    ids.read(PyTuple_GET_ITEM(parts.ptr(), 0), "ids of the sample");
    logs.read(PyTuple_GET_ITEM(parts.ptr(), 1), "log_expected_count");
    sample.ids = ids.view();
    sample.log_expected_count = logs.view();
    PyObject* const of_targets = PyTuple_GET_ITEM(parts.ptr(), 2);
    if (absent(of_targets)) return;
    target_logs.read(of_targets, "log expected counts of targets");
    sample.target_log_expected_count = target_logs.view();
  }
  SampleArguments(const SampleArguments&) = delete;
  SampleArguments& operator=(const SampleArguments&) = delete;
};

py::tuple loss(const std::string& kind, const py::object& x, const py::object& weights,
               const py::object& targets, const py::tuple& parts, const py::object& bias,
               const py::object& logq, bool remove_hits, const py::object& reduction,
               const py::object& ignore_index, const py::object& grad_out, bool need_grad) {
  const LinearArguments linear(x.ptr(), weights.ptr(), bias.ptr());
  Classes classes;
  classes.read(targets.ptr(), "targets");
  const SampleArguments sample(parts);
  SampledLossOptions options;
  options.remove_hits = remove_hits;
  options.reduction = read_reduction(reduction.ptr());
  options.ignore_index = read_int(ignore_index.ptr(), "ignore_index");
  Doubles upstream;
  if (!grad_out.is_none()) {
    if (!need_grad) throw py::value_error("grad_out is of use with need_grad only");
    upstream.read(grad_out.ptr(), "grad_out");
    options.grad_out = upstream.view();
  }
  const bool scalar = options.reduction != Reduction::none;
  ArrayView loss_view;
  ArrayView grad_view;
  const DType dtype = linear.dtype();
  const py::object result = scalar ? linear.new_array({}, dtype, loss_view)
                                   : linear.new_array({linear.rows()}, dtype, loss_view);
  py::object grad_x = py::none();
  SampledLossOutputs out;
  out.loss = loss_view.as_output();
  SparseRows of_weights;
  SparseRows of_bias;
  const bool with_bias = linear.layer().bias.has_value();
  if (need_grad) {
    grad_x = linear.new_array({linear.rows(), linear.depth()}, dtype, grad_view);
    out.grad_x = grad_view.as_output();
    out.grad_weights = &of_weights;
    if (with_bias) out.grad_bias = &of_bias;
  }
  LogQ which = LogQ::none;
  if (!logq.is_none()) {
    const std::string_view text = read_text(logq.ptr(), "logq", "negatives");
    if (text != "negatives" && text != "all")
      throw py::value_error("logq must be 'negatives', 'all' or None, not '" + std::string(text) +
                            "'");
    which = text == "all" ? LogQ::all : LogQ::negatives;
  }
  {
    const py::gil_scoped_release release;
    if (kind == "softmax")
      sampled_softmax_loss(linear.layer(), classes.view(), sample.sample, which, out, options);
    else if (kind == "nce")
      nce_loss(linear.layer(), classes.view(), sample.sample, out, options);
    else
      negative_sampling_loss(linear.layer(), classes.view(), sample.sample, out, options);
  }
  const py::object given = linear.give(result, dtype, scalar);
  if (!need_grad) return py::make_tuple(given);
  return py::make_tuple(
      given, linear.give(grad_x, dtype), give_sparse_rows(std::move(of_weights), linear.classes()),
      with_bias ? give_sparse_rows(std::move(of_bias), linear.classes()) : py::object(py::none()));
}

}  // namespace

void register_sampled_softmax(py::module_& module) {
  module.def("_sampled_loss", &loss, py::arg("kind"), py::arg("x"), py::arg("W"),
             py::arg("targets"), py::arg("sample"), py::arg("bias"), py::arg("logq"),
             py::arg("remove_hits"), py::arg("reduction"), py::arg("ignore_index"),
             py::arg("grad_out"), py::arg("need_grad"));
}

}  // namespace fastsoftmax::python
