// The constants of the plan as dictionaries; python/fastsoftmax/_tune.py gives them their public
// form.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "fastsoftmax/tune.hpp"

namespace fastsoftmax::python {

namespace py = pybind11;

namespace {

py::dict as_dict(const PlanConstants& constants) {
  py::dict result;
  result["reload_bytes"] = constants.reload_bytes;
  result["parallel_reload_bytes"] = constants.parallel_reload_bytes;
  result["recompute_bytes"] = constants.recompute_bytes;
  result["stream_bytes"] = constants.stream_bytes;
  result["elements_per_thread"] = constants.elements_per_thread;
  return result;
}

py::dict tuning_in_use() {
  const Tuning now = tuning();
  py::dict result;
  result["constants"] = as_dict(now.constants);
  result["origin"] = now.origin;
  result["path"] = now.path;
  return result;
}

// Ctrl-C ends a measurement.
void check_signals() {
  const py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

TuneResult run_tune(double seconds, bool save) {
  TuneOptions options;
  options.seconds = seconds;
  options.save = save;
  options.between = check_signals;
  const py::gil_scoped_release release;
  return tune(options);
}

py::dict tuned(double seconds, bool save) {
  const TuneResult found = run_tune(seconds, save);
  py::list comparisons;
  for (const Comparison& c : found.comparisons)
    comparisons.append(py::make_tuple(c.constant, c.size, c.ratio, c.rounds));
  py::dict result;
  result["before"] = as_dict(found.before);
  result["after"] = as_dict(found.after);
  result["path"] = found.path;
  result["comparisons"] = comparisons;
  return result;
}

}  // namespace

void register_tune(py::module_& module) {
  module.def("_tuning", &tuning_in_use, "Constants of the plan in use, their origin and file.");
  module.def(
      "_use_constants",
      [](std::int64_t reload_bytes, std::int64_t parallel_reload_bytes,
         std::int64_t recompute_bytes, std::int64_t stream_bytes,
         std::int64_t elements_per_thread) {
        use_constants({reload_bytes, parallel_reload_bytes, recompute_bytes, stream_bytes,
                       elements_per_thread});
      },
      py::kw_only(), py::arg("reload_bytes"), py::arg("parallel_reload_bytes"),
      py::arg("recompute_bytes"), py::arg("stream_bytes"), py::arg("elements_per_thread"),
      "Set the constants of the plan for this process.");
  module.def("_tune", &tuned, py::arg("seconds"), py::arg("save"),
             "Measure the constants of the plan, use and store them.");
  module.def("_reset_tuning", &reset_tuning,
             "Return to the default constants; whether there was a file to remove.");
}

}  // namespace fastsoftmax::python
