// The one place where C++ exceptions become Python's.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>

namespace fastsoftmax::python {

namespace py = pybind11;

// Call inside a catch block: sets the Python error for the exception in flight. InvalidAxis becomes
// AxisError, InvalidType TypeError, InvalidArgument ValueError, UnsupportedIsa RuntimeError,
// std::bad_alloc MemoryError.
void set_python_error() noexcept;

// Throws numpy.exceptions.AxisError with NumPy's message.
[[noreturn]] void throw_axis_error(std::int64_t axis, int ndim);

// A shape as Python prints it: "()", "(3,)", "(2, 3)".
std::string shape_text(std::span<const std::int64_t> shape);

// "list", "torch.Tensor", ...: the qualified name of the object's type, without "builtins.".
std::string type_name(py::handle object);

}  // namespace fastsoftmax::python
