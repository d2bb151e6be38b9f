#include "errors.h"

#include <cerrno>
#include <exception>
#include <filesystem>
#include <new>

#include "fastsoftmax/types.hpp"

namespace fastsoftmax::python {

namespace {

py::object axis_error_type() {
  py::object axis_error = py::module_::import("numpy.exceptions").attr("AxisError");
  return axis_error;
}

void set_axis_error(const char* message) noexcept {
  try {
    PyErr_SetString(axis_error_type().ptr(), message);
  } catch (...) {
    PyErr_SetString(PyExc_ValueError, message);
  }
}

// PermissionError and the like, with errno and the name of the file.
void set_os_error(const std::filesystem::filesystem_error& error) noexcept {
  try {
    errno = error.code().value();
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.path1().c_str());
  } catch (...) {
    PyErr_SetString(PyExc_OSError, error.what());
  }
}

}  // namespace

void set_python_error() noexcept {
  try {
    throw;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const InvalidAxis& error) {
    set_axis_error(error.what());
  } catch (const InvalidIndex& error) {
    PyErr_SetString(PyExc_IndexError, error.what());
  } catch (const InvalidType& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const InvalidArgument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::filesystem::filesystem_error& error) {
    set_os_error(error);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_RuntimeError, "fastsoftmax: unknown C++ exception");
  }
}

void throw_axis_error(std::int64_t axis, int ndim) {
  const py::object error = axis_error_type()(axis, ndim);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::string type_name(py::handle object) {
  const py::handle type = py::type::handle_of(object);
  const auto module = py::str(type.attr("__module__")).cast<std::string>();
  const auto name = type.attr("__qualname__").cast<std::string>();
  return module == "builtins" ? name : module + "." + name;
}

}  // namespace fastsoftmax::python
