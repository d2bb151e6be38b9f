// cross_entropy of arrays in the memory of a GPU: what fastsoftmax._cuda calls.
#include <string>

#include "bind.h"
#include "device_array.h"
#include "fastsoftmax/cuda_loss.hpp"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

void cross_entropy(const py::object& logits, const py::object& targets, int axis,
                   const py::object& weight, std::int64_t ignore_index, double label_smoothing,
                   double z_loss, double softcap, const py::object& reduction,
                   const py::object& grad_out, const py::object& loss, const py::object& grad,
                   const py::object& logsumexp, int device, std::uintptr_t stream) {
  const DeviceArray scores(logits, "logits");
  const DeviceArray classes(targets, "targets");
  const std::optional<DeviceArray> weights = optional_array(weight, "weight");
  CrossEntropyOptions options;
  if (weights) options.weight = weights->as_input();
  options.ignore_index = ignore_index;
  options.label_smoothing = label_smoothing;
  options.z_loss = z_loss;
  options.softcap = softcap;
  options.reduction = read_reduction(reduction.ptr());
  double number = 1.0;
  std::optional<DeviceArray> upstream;
  if (py::isinstance<py::float_>(grad_out))
    number = grad_out.cast<double>();
  else
    upstream.emplace(grad_out, "grad_out");
  if (upstream) options.grad_out = upstream->as_input();
  const DeviceArray losses(loss, "loss");
  const std::optional<DeviceArray> gradient = optional_array(grad, "grad");
  const std::optional<DeviceArray> sums = optional_array(logsumexp, "logsumexp");
  CrossEntropyOutputs out;
  out.loss = losses.as_output();
  if (gradient) out.grad = gradient->as_output();
  if (sums) out.logsumexp = sums->as_output();
  cuda::cross_entropy(scores.as_input(), classes.as_input(), axis, out, options, number, device,
                      stream_at(stream));
}

}  // namespace

void register_cuda_loss(py::module_& module) {
  using py::arg;
  module.def("_cuda_cross_entropy", &cross_entropy, arg("logits"), arg("targets"), arg("axis"),
             arg("weight"), arg("ignore_index"), arg("label_smoothing"), arg("z_loss"),
             arg("softcap"), arg("reduction"), arg("grad_out"), arg("loss"), arg("grad"),
             arg("logsumexp"), arg("device"), arg("stream"),
             "Submit cross-entropy of arrays of a device to a stream.");
}

}  // namespace fastsoftmax::python
