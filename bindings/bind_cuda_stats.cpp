// softmax_stats of arrays in the memory of a GPU: what fastsoftmax._cuda calls.
#include <array>

#include "bind.h"
#include "device_array.h"
#include "fastsoftmax/cuda_stats.hpp"

namespace fastsoftmax::python {

namespace {

void softmax_stats(const py::object& x, int axis, const py::object& temperature,
                   const py::object& where, const std::array<py::object, 5>& results, int device,
                   std::uintptr_t stream) {
  const DeviceArray scores(x, "x");
  const std::optional<DeviceArray> mask = optional_array(where, "where");
  const DeviceTemperature temperatures(temperature);
  StatsOptions options;
  temperatures.set(options);
  if (mask) options.where = mask->as_input();
  const auto result = [&](std::size_t i) { return DeviceArray(results[i], "the result"); };
  const std::array arrays = {result(0), result(1), result(2), result(3), result(4)};
  const SoftmaxStats out{arrays[0].as_output(), arrays[1].as_output(), arrays[2].as_output(),
                         arrays[3].as_output(), arrays[4].as_output()};
  cuda::softmax_stats(scores.as_input(), axis, out, options, device, stream_at(stream));
}

}  // namespace

void register_cuda_stats(py::module_& module) {
  using py::arg;
  module.def("_cuda_softmax_stats", &softmax_stats, arg("x"), arg("axis"), arg("temperature"),
             arg("where"), arg("results"), arg("device"), arg("stream"),
             "Submit statistics of arrays of a device to a stream.");
}

}  // namespace fastsoftmax::python
