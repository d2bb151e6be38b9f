// The machine and the process-wide settings. The two C symbols let threadpoolctl find and steer the
// library in a process without importing the package.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.h"
#include "bind.h"
#include "fastsoftmax/runtime.hpp"

namespace fastsoftmax::python {

namespace py = pybind11;

namespace {

// What set_num_threads was last given from Python; 0 for the default. The core tells the number in
// effect only, from which the default could not be restored.
std::atomic<int> requested_threads{0};

int exchange_num_threads(int n) {
  set_num_threads(n);
  return requested_threads.exchange(n);
}

// Numbers that no int holds are refused as others out of range are.
int exchange_num_threads(const py::object& n) {
  constexpr std::int64_t most = std::numeric_limits<int>::max();
  return exchange_num_threads(static_cast<int>(std::clamp(read_int(n.ptr(), "n"), -most, most)));
}

std::vector<std::string_view> names(const std::vector<Isa>& isas) {
  std::vector<std::string_view> result;
  std::ranges::transform(isas, std::back_inserter(result), [](Isa isa) { return name(isa); });
  return result;
}

void use_isa_named(const py::object& object) {
  const std::string_view text = read_text(object.ptr(), "name", {});
  for (const Isa isa : {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512}) {
    if (text == name(isa)) return use_isa(isa);
  }
  throw UnsupportedIsa("unknown instruction set '" + std::string(text) +
                       "'; expected scalar, neon, avx2 or avx512");
}

py::dict caches_by_level() {
  const Caches& sizes = caches();
  py::dict result;
  result["l1"] = sizes.l1;
  result["l2"] = sizes.l2;
  result["last_level"] = sizes.last_level;
  return result;
}

}  // namespace

void register_runtime(py::module_& module) {
  module.def("version", &version, "Version of the compiled library, such as '0.1.0'.");
  module.def("compiler", &compiler, "Name and version of the compiler it was built with.");
  module.def(
      "isas_built", [] { return names(isas_built()); },
      "Names of the instruction sets compiled in, best first.");
  module.def(
      "isas_supported", [] { return names(isas_supported()); },
      "Names of the instruction sets compiled in that this CPU can run, best first.");
  module.def(
      "isa_in_use", [] { return name(isa_in_use()); },
      "Name of the instruction set in use: FASTSOFTMAX_ISA where set, else the best supported.\n\n"
      "Raises RuntimeError where FASTSOFTMAX_ISA names one that is unknown, not built or not\n"
      "supported by this CPU.");
  module.def(
      "use_isa", &use_isa_named, py::arg("name"),
      "Use the instruction set 'scalar', 'avx2', 'avx512' or 'neon' in the whole process.\n\n"
      "Results keep their bits. Raises RuntimeError where it is unknown, not built or not\n"
      "supported by this CPU, TypeError where the name is no string.");
  module.def("caches", &caches_by_level,
             "Data cache sizes in bytes: 'l1' and 'l2' of one core, 'last_level' as a whole.");
  module.def(
      "get_num_threads", [] { return num_threads(); },
      "Number of threads a call may use, the calling one included.");
  module.def(
      "set_num_threads", [](const py::object& n) { exchange_num_threads(n); }, py::arg("n"),
      "Let calls use up to n threads, in the whole process; 0 returns to the default.\n\n"
      "The default is FASTSOFTMAX_NUM_THREADS, then OMP_NUM_THREADS, then the CPUs that the "
      "process\n"
      "may use. Raises ValueError for an n outside 0 to 1024, TypeError for one that is no int.");
  module.def(
      "_exchange_num_threads", [](const py::object& n) { return exchange_num_threads(n); },
      py::arg("n"), "set_num_threads that returns what was set before (0 for the default).");
}

}  // namespace fastsoftmax::python

extern "C" {

PYBIND11_EXPORT int fastsoftmax_get_num_threads() { return fastsoftmax::num_threads(); }

// A number that set_num_threads refuses changes nothing, since no exception may leave through C.
PYBIND11_EXPORT void fastsoftmax_set_num_threads(int n) {
  try {
    fastsoftmax::python::exchange_num_threads(n);
  } catch (const fastsoftmax::InvalidArgument&) {
    return;
  }
}

}  // extern "C"
