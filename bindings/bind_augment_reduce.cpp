// One step of augment and reduce; what is kept of the examples are arrays of Python
// (_augment_reduce.py).
#include <pybind11/numpy.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "bind.h"
#include "errors.h"
#include "fastsoftmax/augment_reduce.hpp"
#include "linear_arguments.h"
#include "sparse_loss.h"

namespace fastsoftmax::python {

namespace {

// What is kept of examples is changed in place: nothing is converted.
template <class T>
std::span<T> elements(const py::object& object, const char* name) {
  const std::string expected =
      std::string(name) + " must be an array of " + py::str(py::dtype::of<T>()).cast<std::string>();
  if (!py::isinstance<py::array>(object))
    throw py::type_error(expected + ", not " + type_name(object));
  auto array = py::reinterpret_borrow<py::array>(object);
  if (!py::isinstance<py::array_t<T>>(array))
    throw py::type_error(expected + ", not of " + py::str(array.dtype()).cast<std::string>());
  if (array.ndim() != 1) throw py::value_error(std::string(name) + " must have 1 dimension");
  if ((array.flags() & py::array::c_style) == 0)
    throw py::value_error(std::string(name) + " must be contiguous");
  if (!array.writeable()) throw py::value_error(std::string(name) + " is read-only");
  return {static_cast<T*>(array.mutable_data()), static_cast<std::size_t>(array.size())};
}

AugmentReduceState state_of(const py::object& location, const py::object& scale,
                            const py::object& visits) {
  return {elements<double>(location, "location"), elements<double>(scale, "scale"),
          elements<std::int32_t>(visits, "visits")};
}

AugmentedModel model_of(const std::string& name) {
  if (name == "softmax") return AugmentedModel::softmax;
  if (name == "probit") return AugmentedModel::probit;
  if (name == "logistic") return AugmentedModel::logistic;
  throw py::value_error("model must be 'softmax', 'probit' or 'logistic', not '" + name + "'");
}

py::tuple step(const std::string& model, const py::tuple& rates, int draws, std::uint64_t seed,
               const py::object& location, const py::object& scale, const py::object& visits,
               const py::object& x, const py::object& weights, const py::object& targets,
               const py::object& ids, const py::object& log_counts, const py::object& examples,
               const py::object& bias, const py::object& update, const py::object& reduction,
               const py::object& ignore_index, const py::object& grad_out,
               const py::object& need_grad) {
  const LinearArguments linear(x.ptr(), weights.ptr(), bias.ptr());
  Classes of_targets;
  of_targets.read(targets.ptr(), "targets");
  Classes of_sample;
  of_sample.read(ids.ptr(), "ids of the sample");
  Doubles of_counts;
  of_counts.read(log_counts.ptr(), "log_expected_count");
  Classes of_examples;
  of_examples.read(examples.ptr(), "examples");
  const ClassSample sample{of_sample.view(), of_counts.view(), {}};
  SparseLoss<LinearArguments, SampledLossOptions, SampledLossOutputs> loss(
      linear, linear.depth(), linear.classes(), linear.layer().bias.has_value(),
      {.ignore_index = ignore_index.ptr(),
       .reduction = reduction.ptr(),
       .grad_out = grad_out.ptr()},
      read_flag(need_grad.ptr()));
  AugmentReduceOptions options;
  options.model = model_of(model);
  options.decay = rates[0].cast<double>();
  options.min_step = rates[1].cast<double>();
  options.draws = draws;
  options.seed = seed;
  options.update = read_flag(update.ptr());
  options.loss = loss.options;
  const AugmentReduceState state = state_of(location, scale, visits);
  {
    const py::gil_scoped_release release;
    augment_reduce_step(linear.layer(), of_targets.view(), sample, of_examples.view(), state,
                        loss.out, options);
  }
  return loss.give();
}

// (losses, factors)
py::tuple losses(const py::tuple& rates, const py::object& location, const py::object& scale,
                 const py::object& visits, const py::array_t<double, py::array::c_style>& log_n,
                 const py::object& examples, const py::object& update) {
  Classes of_examples;
  of_examples.read(examples.ptr(), "examples");
  AugmentReduceOptions options;
  options.decay = rates[0].cast<double>();
  options.min_step = rates[1].cast<double>();
  options.update = read_flag(update.ptr());
  const std::array<std::int64_t, 1> shape = {log_n.size()};
  const std::array<std::int64_t, 1> strides = {sizeof(double)};
  py::array_t<double> loss(log_n.size());
  py::array_t<double> factor(log_n.size());
  augment_reduce_losses({log_n.data(), DType::f64, shape, strides}, of_examples.view(),
                        state_of(location, scale, visits),
                        {loss.mutable_data(), DType::f64, shape, strides},
                        {factor.mutable_data(), DType::f64, shape, strides}, options);
  return py::make_tuple(loss, factor);
}

}  // namespace

void register_augment_reduce(py::module_& module) {
  module.def("_augment_reduce_step", &step, py::arg("model"), py::arg("rates"), py::arg("draws"),
             py::arg("seed"), py::arg("location"), py::arg("scale"), py::arg("visits"),
             py::arg("x"), py::arg("W"), py::arg("targets"), py::arg("ids"),
             py::arg("log_expected_count"), py::arg("examples"), py::arg("bias"), py::arg("update"),
             py::arg("reduction"), py::arg("ignore_index"), py::arg("grad_out"),
             py::arg("need_grad"));
  module.def("_augment_reduce_losses", &losses, py::arg("rates"), py::arg("location"),
             py::arg("scale"), py::arg("visits"), py::arg("losses"), py::arg("examples"),
             py::arg("update"));
}

}  // namespace fastsoftmax::python
