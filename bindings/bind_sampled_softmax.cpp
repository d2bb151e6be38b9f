// sampled_softmax_loss, nce_loss and negative_sampling_loss, whose samples are objects of Python
// (_sampled_softmax.py).
#include <string>

#include "bind.h"
#include "errors.h"
#include "fastsoftmax/sampled_softmax.hpp"
#include "linear_arguments.h"
#include "sparse_loss.h"

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

LogQ read_logq(PyObject* object) {
  if (object == Py_None) return LogQ::none;
  const std::string_view text = read_text(object, "logq", "negatives");
  if (text == "negatives") return LogQ::negatives;
  if (text == "all") return LogQ::all;
  throw py::value_error("logq must be 'negatives', 'all' or None, not '" + std::string(text) + "'");
}

py::tuple loss(const std::string& kind, const py::object& x, const py::object& weights,
               const py::object& targets, const py::tuple& parts, const py::object& bias,
               const py::object& logq, const py::object& remove_hits, const py::object& reduction,
               const py::object& ignore_index, const py::object& grad_out,
               const py::object& need_grad) {
  const LinearArguments linear(x.ptr(), weights.ptr(), bias.ptr());
  Classes classes;
  classes.read(targets.ptr(), "targets");
  const SampleArguments sample(parts);
  const LogQ which = read_logq(logq.ptr());
  SparseLoss<LinearArguments, SampledLossOptions, SampledLossOutputs> loss(
      linear, linear.depth(), linear.classes(), linear.layer().bias.has_value(),
      {.ignore_index = ignore_index.ptr(),
       .reduction = reduction.ptr(),
       .grad_out = grad_out.ptr()},
      read_flag(need_grad.ptr()));
  loss.options.remove_hits = read_flag(remove_hits.ptr());
  {
    const py::gil_scoped_release release;
    if (kind == "softmax")
      sampled_softmax_loss(linear.layer(), classes.view(), sample.sample, which, loss.out,
                           loss.options);
    else if (kind == "nce")
      nce_loss(linear.layer(), classes.view(), sample.sample, loss.out, loss.options);
    else
      negative_sampling_loss(linear.layer(), classes.view(), sample.sample, loss.out, loss.options);
  }
  return loss.give();
}

}  // namespace

void register_sampled_softmax(py::module_& module) {
  module.def("_sampled_loss", &loss, py::arg("kind"), py::arg("x"), py::arg("W"),
             py::arg("targets"), py::arg("sample"), py::arg("bias"), py::arg("logq"),
             py::arg("remove_hits"), py::arg("reduction"), py::arg("ignore_index"),
             py::arg("grad_out"), py::arg("need_grad"));
}

}  // namespace fastsoftmax::python
