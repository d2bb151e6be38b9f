// The one place where C++ exceptions become Python's.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace fastsoftmax::python {

namespace py = pybind11;

// Call inside a catch block: sets the Python error for the exception in flight. InvalidAxis becomes
// AxisError, InvalidType TypeError, InvalidArgument ValueError, UnsupportedIsa RuntimeError,
// std::bad_alloc MemoryError.
void set_python_error() noexcept;

// An argument in the memory of a GPU, where the function takes it from the CPU's alone: a
// TypeError, unless the function has another way for it.
class OnGpu : public py::type_error {
 public:
  OnGpu(std::string parameter, const std::string& message)
      : py::type_error(message), parameter_(std::move(parameter)) {}
  const std::string& parameter() const { return parameter_; }

 private:
  std::string parameter_;
};

// Throws numpy.exceptions.AxisError with NumPy's message.
[[noreturn]] void throw_axis_error(std::int64_t axis, int ndim);

// A shape as Python prints it: "()", "(3,)", "(2, 3)".
std::string shape_text(std::span<const std::int64_t> shape);

// "list", "torch.Tensor", ...: the qualified name of the object's type, without "builtins.".
std::string type_name(py::handle object);

}  // namespace fastsoftmax::python
