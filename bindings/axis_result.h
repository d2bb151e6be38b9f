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
  py::array array;

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

// A named tuple of fastsoftmax._results.
inline py::object named(const char* name, const py::tuple& fields) {
  return py::module_::import("fastsoftmax._results").attr(name)(*fields);
}

}  // namespace fastsoftmax::python
