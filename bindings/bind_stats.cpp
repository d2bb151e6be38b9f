// softmax_stats.
#include <array>

#include "axis_result.h"
#include "bind.h"
#include "fastcall.h"
#include "fastsoftmax/stats.hpp"
#include "on_gpu.h"
#include "stats_docs.h"

namespace fastsoftmax::python {

namespace {

constexpr Parameters<4> softmax_stats_parameters{
    "softmax_stats", 2, {"x", "axis", "temperature", "where"}};

py::object softmax_stats_of(const Arguments<4>& a) {
  Operand x;
  read_operand(a[0], "x", x);
  const int axis = read_single_axis(a[1], x.view.ndim);
  StatsOptions options;
  Operand temperatures;
  Operand where;
  if (read_temperature(a[2], options.temperature, temperatures))
    options.temperatures = temperatures.view.as_input();
  if (read_where(a[3], where)) options.where = where.view.as_input();
  const DType dtype = result_dtype(x.view.dtype);
  const auto result = [&] { return AxisResult(x, axis, 1, dtype, true); };
  const std::array<AxisResult, 5> results{result(), result(), result(), result(), result()};
  without_gil(x.view.size(), [&] {
    const auto view = [&](std::size_t i) { return results[i].view.as_output(); };
    softmax_stats(x.view.as_input(), axis, {view(0), view(1), view(2), view(3), view(4)}, options);
  });
  const auto given = [&](std::size_t i) {
    return hand_back(x, results[i].array, dtype, x.view.ndim == 1);
  };
  return named("SoftmaxStats", py::make_tuple(given(0), given(1), given(2), given(3), given(4)));
}

PyObject* softmax_stats_entry(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                              PyObject* keywords) {
  return call_guarded(softmax_stats_parameters, args, nargs, keywords, [](const Arguments<4>& a) {
    return compute_where_it_is(softmax_stats_parameters, a, softmax_stats_of);
  });
}

}  // namespace

void register_stats(py::module_& module) {
  static PyMethodDef method =
      fastcall_method("softmax_stats", softmax_stats_entry, softmax_stats_doc);
  add_fastcall(module, method);
}

}  // namespace fastsoftmax::python
