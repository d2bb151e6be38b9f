// Arrays in the memory of a GPU: what fastsoftmax._cuda calls. Addresses and streams are ints.
#include <string>
#include <vector>

#include "bind.h"
#include "device_array.h"
#include "dlpack.h"
#include "fastsoftmax/cuda.hpp"

namespace fastsoftmax::python {

namespace {

void run(const std::string& op, const py::object& x, const py::object& out, const py::object& where,
         const std::vector<int>& axes, const py::object& temperature, bool empty_is_zero,
         const std::string& algorithm, int device, std::uintptr_t stream) {
  const DeviceArray scores(x, "x");
  const DeviceArray result(out, "out");
  Options options;
  const DeviceTemperature temperatures(temperature);
  temperatures.set(options);
  options.algorithm = parse_algorithm(algorithm);
  options.empty = empty_is_zero ? EmptyRow::zero : EmptyRow::nan;
  const std::optional<DeviceArray> mask = optional_array(where, "where");
  if (mask) options.where = mask->as_input();
  const auto function = op == "softmax"       ? cuda::softmax
                        : op == "log_softmax" ? cuda::log_softmax
                                              : cuda::logsumexp;
  function(scores.as_input(), result.as_output(), axes, options, device, stream_at(stream));
}

py::dict status() {
  const cuda::Status status = cuda::status();
  py::dict facts;
  facts["available"] = status.available;
  facts["reason"] = status.reason;
  facts["library"] = status.library;
  facts["architectures"] = status.architectures;
  facts["devices"] = status.devices;
  return facts;
}

}  // namespace

void register_cuda(py::module_& module) {
  using py::arg;
  module.def("_cuda_status", &status, "What is there of CUDA, and why not.");
  module.def("_cuda_run", &run, arg("op"), arg("x"), arg("out"), arg("where"), arg("axes"),
             arg("temperature"), arg("empty_is_zero"), arg("algorithm"), arg("device"),
             arg("stream"), "Submit an operation on arrays of a device to a stream.");
  module.def(
      "_cuda_device_of", [](std::uintptr_t address) { return cuda::device_of(stream_at(address)); },
      arg("address"), "The device whose memory an address is.");
  module.def(
      "_cuda_order",
      [](int device, std::uintptr_t before, std::uintptr_t after) {
        cuda::order(device, stream_at(before), stream_at(after));
      },
      arg("device"), arg("before"), arg("after"),
      "Let a stream wait for what was submitted to another.");
  // The plain metaclass is what the type stub can name.
  py::class_<DeviceTensor>(module, "_DeviceTensor",
                           py::metaclass(reinterpret_cast<PyObject*>(&PyType_Type)),
                           "A tensor of a GPU, through DLPack.")
      .def(py::init(&read_device_tensor), arg("tensor"), arg("name"), arg("writable"),
           arg("stream"))
      .def_readonly("address", &DeviceTensor::address)
      .def_readonly("dtype", &DeviceTensor::dtype)
      .def_readonly("shape", &DeviceTensor::shape)
      .def_readonly("strides", &DeviceTensor::strides)
      .def_readonly("device", &DeviceTensor::device);
}

}  // namespace fastsoftmax::python
