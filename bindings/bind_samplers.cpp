// The samplers of classes, which fastsoftmax.UniformSampler and its like wrap.
#include <pybind11/numpy.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "arguments.h"
#include "axis_result.h"
#include "bind.h"
#include "errors.h"
#include "fastsoftmax/samplers.hpp"
#include "loss_arguments.h"
#include "per_row.h"

namespace fastsoftmax::python {

namespace {

using Ids = py::array_t<std::int64_t, py::array::c_style>;
using Numbers = py::array_t<double, py::array::c_style>;

std::span<const std::int64_t> span_of(const Ids& ids) {
  return {ids.data(), static_cast<std::size_t>(ids.size())};
}

std::int64_t read_count(const py::object& count, const char* name) {
  using Limits = std::numeric_limits<std::int64_t>;
  const std::int64_t value = read_int(count.ptr(), name);
  if (value == Limits::max() || value == Limits::min())  // or beyond
    throw py::value_error(std::string(name) + " must fit in 64 bits");
  return value;
}

std::unique_ptr<Sampler> uniform(const py::object& classes) {
  return std::make_unique<UniformSampler>(read_count(classes, "V"));
}

std::unique_ptr<Sampler> log_uniform(const py::object& classes) {
  return std::make_unique<LogUniformSampler>(read_count(classes, "V"));
}

std::unique_ptr<Sampler> unigram(const Ids& counts, const py::object& power, const Ids& reserved) {
  const double exponent = read_number(power.ptr(), "power");
  std::unique_ptr<Sampler> sampler;
  without_gil(counts.size(), [&] {
    sampler = std::make_unique<UnigramSampler>(span_of(counts), exponent, span_of(reserved));
  });
  return sampler;
}

py::tuple sample(const Sampler& sampler, const py::object& n, bool unique, const py::object& seed,
                 const py::object& position) {
  const std::int64_t count = read_count(n, "n");
  if (count < 0) throw py::value_error("n must not be negative, got " + std::to_string(count));
  DrawOptions options = read_draw_options(seed.ptr(), position.ptr());
  options.unique = unique;
  Ids ids(count);
  Numbers expected(count);
  const auto length = static_cast<std::size_t>(count);
  const std::span<std::int64_t> drawn(ids.mutable_data(), length);
  const std::span<double> logs(expected.mutable_data(), length);
  SampleTimes times;
  without_gil(count * 16, [&] { times = sampler.sample(drawn, logs, options); });
  return py::make_tuple(ids, expected,
                        py::make_tuple(times.size, times.unique, times.last, times.next));
}

Numbers log_prob(const Sampler& sampler, const Ids& ids) {
  Numbers logs(ids.size());
  sampler.log_prob(span_of(ids), {logs.mutable_data(), static_cast<std::size_t>(logs.size())});
  return logs;
}

// A kind, and V or all logarithms of probabilities.
py::tuple state_of(const Sampler& sampler) {
  if (dynamic_cast<const UniformSampler*>(&sampler) != nullptr)
    return py::make_tuple("uniform", sampler.classes());
  if (dynamic_cast<const LogUniformSampler*>(&sampler) != nullptr)
    return py::make_tuple("log_uniform", sampler.classes());
  Ids all(sampler.classes());
  std::iota(all.mutable_data(), all.mutable_data() + all.size(), std::int64_t{0});
  return py::make_tuple("unigram", log_prob(sampler, all));
}

std::unique_ptr<Sampler> sampler_of(const py::tuple& state) {
  const auto kind = state.empty() ? std::string() : py::str(state[0]).cast<std::string>();
  if (state.size() == 2 && kind == "uniform") return uniform(state[1]);
  if (state.size() == 2 && kind == "log_uniform") return log_uniform(state[1]);
  if (state.size() != 2 || kind != "unigram")
    throw py::value_error("this is not the state of a sampler");
  const auto logs = state[1].cast<Numbers>();
  return std::unique_ptr<Sampler>(new UnigramSampler(
      UnigramSampler::from_log_probs(std::vector(logs.data(), logs.data() + logs.size()))));
}

Numbers log_expected_count(const Sampler& sampler, const Ids& ids, const py::tuple& times,
                           bool drawn) {
  const SampleTimes of{times[0].cast<std::int64_t>(), times[1].cast<bool>(),
                       times[2].cast<double>(), times[3].cast<double>()};
  Numbers logs(ids.size());
  sampler.log_expected_count(span_of(ids), of, drawn,
                             {logs.mutable_data(), static_cast<std::size_t>(logs.size())});
  return logs;
}

}  // namespace

void register_samplers(py::module_& module) {
  // The plain metaclass is what the type stub can name.
  py::class_<Sampler>(module, "_Sampler", py::metaclass(reinterpret_cast<PyObject*>(&PyType_Type)),
                      "A distribution of classes, by their counts or otherwise; immutable.")
      .def(py::init(&unigram), py::arg("counts"), py::arg("power"), py::arg("reserved"))
      .def_static("uniform", uniform, py::arg("V"))
      .def_static("log_uniform", log_uniform, py::arg("V"))
      .def("classes", &Sampler::classes)
      .def("sample", sample, py::arg("n"), py::arg("unique"), py::arg("seed"), py::arg("position"))
      .def("log_prob", log_prob, py::arg("ids"))
      .def("log_expected_count", log_expected_count, py::arg("ids"), py::arg("times"),
           py::arg("drawn"))
      .def(py::pickle(&state_of, &sampler_of));
}

}  // namespace fastsoftmax::python
