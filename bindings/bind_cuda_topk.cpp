// topk and softmax_topk of arrays in the memory of a GPU: what fastsoftmax._cuda calls.
#include "bind.h"
#include "device_array.h"
#include "fastsoftmax/cuda_topk.hpp"

namespace fastsoftmax::python {

namespace {

void softmax_topk(const py::object& x, std::int64_t k, int axis, const py::object& values,
                  const py::object& indices, const py::object& logsumexp, const py::object& where,
                  const py::object& temperature, bool over_selected, bool log, bool empty_is_zero,
                  bool zero_is_one, int device, std::uintptr_t stream) {
  const DeviceArray scores(x, "x");
  const DeviceArray selected(values, "values");
  const DeviceArray places(indices, "indices");
  const std::optional<DeviceArray> sums = optional_array(logsumexp, "logsumexp");
  const std::optional<DeviceArray> mask = optional_array(where, "where");
  const DeviceTemperature temperatures(temperature);
  TopKOptions options;
  temperatures.set(options);
  options.normalize = over_selected ? Normalize::topk : Normalize::full;
  options.log = log;
  options.empty = empty_is_zero ? EmptyRow::zero : EmptyRow::nan;
  if (mask) options.where = mask->as_input();
  const View sums_out = sums ? sums->as_output() : View{};
  cuda::softmax_topk(scores.as_input(), k, axis, selected.as_output(), places.as_output(), options,
                     sums ? &sums_out : nullptr, device, stream_at(stream), zero_is_one);
}

void topk(const py::object& x, std::int64_t k, int axis, bool largest, const py::object& values,
          const py::object& indices, int device, std::uintptr_t stream) {
  const DeviceArray elements(x, "x");
  const DeviceArray selected(values, "values");
  const DeviceArray places(indices, "indices");
  cuda::topk(elements.as_input(), k, axis, selected.as_output(), places.as_output(), largest,
             device, stream_at(stream));
}

}  // namespace

void register_cuda_topk(py::module_& module) {
  using py::arg;
  module.def("_cuda_softmax_topk", &softmax_topk, arg("x"), arg("k"), arg("axis"), arg("values"),
             arg("indices"), arg("logsumexp"), arg("where"), arg("temperature"),
             arg("over_selected"), arg("log"), arg("empty_is_zero"), arg("zero_is_one"),
             arg("device"), arg("stream"),
             "Submit softmax_topk of arrays of a device to a stream.");
  module.def("_cuda_topk", &topk, arg("x"), arg("k"), arg("axis"), arg("largest"), arg("values"),
             arg("indices"), arg("device"), arg("stream"),
             "Submit topk of arrays of a device to a stream.");
}

}  // namespace fastsoftmax::python
