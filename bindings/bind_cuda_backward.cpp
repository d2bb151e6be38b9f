// Gradients of arrays in the memory of a GPU, as bind_cuda.cpp has softmax.
#include <vector>

#include "bind.h"
#include "device_array.h"
#include "fastsoftmax/cuda_backward.hpp"

namespace fastsoftmax::python {

namespace {

void run(const std::string& op, const py::object& grad, const py::object& y, const py::object& out,
         const std::vector<int>& axes, const py::object& temperature, int device,
         std::uintptr_t stream) {
  const DeviceArray gradient(grad, "grad");
  const DeviceArray output(y, "y");
  const DeviceArray result(out, "out");
  const DeviceTemperature temperatures(temperature);
  BackwardOptions options;
  temperatures.set(options);
  const auto function = op == "softmax" ? cuda::softmax_backward : cuda::log_softmax_backward;
  function(gradient.as_input(), output.as_input(), result.as_output(), axes, options, device,
           stream_at(stream));
}

}  // namespace

void register_cuda_backward(py::module_& module) {
  using py::arg;
  module.def("_cuda_backward", &run, arg("op"), arg("grad"), arg("y"), arg("out"), arg("axes"),
             arg("temperature"), arg("device"), arg("stream"),
             "Submit the gradient of softmax or log_softmax to a stream.");
}

}  // namespace fastsoftmax::python
