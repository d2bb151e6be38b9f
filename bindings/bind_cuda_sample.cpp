// sample of arrays in the memory of a GPU: what fastsoftmax._cuda calls.
#include <string>
#include <type_traits>

#include "bind.h"
#include "device_array.h"
#include "fastsoftmax/cuda_sample.hpp"

namespace fastsoftmax::python {

namespace {

// A number, or an array on the device.
template <class T>
class Option {
 public:
  Option(const py::dict& options, const char* name) {
    const py::handle value = options[name];
    if constexpr (std::is_same_v<T, double>) {
      if (PyFloat_Check(value.ptr())) {
        number_ = value.cast<double>();
        return;
      }
    } else if (PyLong_Check(value.ptr())) {
      number_ = value.cast<T>();
      return;
    }
    array_.emplace(value, name);
  }
  std::optional<ConstView> values() const {
    if (!array_) return std::nullopt;
    return array_->as_input();
  }
  PerRow<T> per_row() const { return {number_, values()}; }

 private:
  T number_{};
  std::optional<DeviceArray> array_;
};

void sample(const py::object& x, int axis, const py::object& indices, const py::object& logprobs,
            const py::object& where, const py::dict& given, int device, std::uintptr_t stream) {
  const DeviceArray scores(x, "logits");
  const DeviceArray drawn(indices, "indices");
  const std::optional<DeviceArray> logs = optional_array(logprobs, "logprobs");
  const std::optional<DeviceArray> mask = optional_array(where, "where");
  const Option<double> temperature(given, "temperature");
  const Option<std::int64_t> top_k(given, "top_k");
  const Option<double> top_p(given, "top_p");
  const Option<double> min_p(given, "min_p");
  const Option<double> typical_p(given, "typical_p");
  const Option<double> top_n_sigma(given, "top_n_sigma");
  const Option<std::uint64_t> seed(given, "seed");
  const Option<std::uint64_t> position(given, "position");
  std::optional<Option<std::uint64_t>> row_ids;
  if (!given["row_ids"].is_none()) row_ids.emplace(given, "row_ids");
  SampleOptions options;
  options.temperature = temperature.per_row();
  options.top_k = top_k.per_row();
  options.top_p = top_p.per_row();
  options.min_p = min_p.per_row();
  options.typical_p = typical_p.per_row();
  options.top_n_sigma = top_n_sigma.per_row();
  options.random.seed = seed.per_row();
  options.random.position = position.per_row();
  if (row_ids) options.random.row_ids = row_ids->per_row();
  if (mask) options.where = mask->as_input();
  const View out = logs ? logs->as_output() : View{};
  cuda::sample(scores.as_input(), axis, drawn.as_output(), options, logs ? &out : nullptr, device,
               stream_at(stream));
}

}  // namespace

void register_cuda_sample(py::module_& module) {
  using py::arg;
  module.def("_cuda_sample", &sample, arg("x"), arg("axis"), arg("indices"), arg("logprobs"),
             arg("where"), arg("options"), arg("device"), arg("stream"),
             "Submit sampling from arrays of a device to a stream.");
}

}  // namespace fastsoftmax::python
