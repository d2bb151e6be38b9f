// Results of functions that reduce one axis to several dense arrays.
#pragma once

#include <pybind11/numpy.h>

#include <array>
#include <cstdint>

#include "arguments.h"
#include "fastsoftmax/topk.hpp"
#include "request.h"

namespace fastsoftmax::python {

// A result, dense in C order, of the shape of x with `length` along the axis.
struct AxisResult {
  ArrayView view;
  py::object array;  // an ndarray (an empty py::array would cost an allocation)

  AxisResult(const Operand& x, int axis, std::int64_t length, DType dtype, bool drop_axis = false) {
    view.dtype = dtype;
    view.byteswapped = false;
    view.writeable = true;
    view.ndim = x.view.ndim;
    view.shape = x.view.shape;
    const auto at = static_cast<std::size_t>(axis);
    view.shape[at] = length;
    std::int64_t step = itemsize(dtype);
    for (auto d = static_cast<std::size_t>(view.ndim); d-- > 0;) {
      view.strides[d] = step;
      step *= view.shape[d];
    }
    std::array<bool, max_ndim> dropped{};
    dropped[at] = drop_axis;
    const bool for_tensor = x.source == Source::tensor;
    array = for_tensor ? new_aligned_array(storage_dtype(dtype), view, dropped)
                       : new_array(numpy_dtype(dtype), view, dropped);
  }
};

// Throws as topk does, before results of that size are allocated.
inline void check_k(const Operand& x, std::int64_t k, int axis) {
  if (k < 0 || k > x.view.dims()[static_cast<std::size_t>(axis)])
    topk(x.view.as_input(), k, axis, {}, {});
}

// Runs work on so many elements, without the GIL where that pays.
template <typename Run>
void without_gil(std::int64_t elements, Run run) {
  if (elements < gil_threshold) return run();
  const py::gil_scoped_release release;
  run();
}

// A named tuple of fastsoftmax._results. The module is there already, and asking for it again by an
// import statement, or the constructor of the class, which is written in Python, would take longer
// than a small call.
inline py::object named(const char* name, const py::tuple& fields) {
  constexpr const char* results = "fastsoftmax._results";
  auto module = py::reinterpret_steal<py::object>(PyImport_GetModule(py::str(results).ptr()));
  if (!module) {
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    module = py::module_::import(results);
  }
  const py::object kind = module.attr(name);
  const py::tuple arguments = py::make_tuple(fields);
  auto result = py::reinterpret_steal<py::object>(
      PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(kind.ptr()), arguments.ptr(), nullptr));
  if (!result) throw py::error_already_set();
  return result;
}

}  // namespace fastsoftmax::python
