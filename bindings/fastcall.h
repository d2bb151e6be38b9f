// Python functions that a call on ten elements can afford: CPython's METH_FASTCALL convention,
// without pybind11's dispatcher, whose keyword handling alone costs 0.2 to 0.5 us.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "errors.h"

namespace fastsoftmax::python {

namespace py = pybind11;

// The arguments of one call by parameter; borrowed, nullptr where nothing was passed.
template <std::size_t Count>
using Arguments = std::array<PyObject*, Count>;

// The parameters of a function: the first `required` ones must be passed, the first `positional`
// ones may be passed by position, all of them by keyword.
template <std::size_t Count>
struct Parameters {
  std::string_view function;
  std::size_t positional;
  std::array<const char*, Count> names;
  std::size_t required = 1;

  // Throws py::type_error with CPython's wording.
  Arguments<Count> bind(PyObject* const* args, Py_ssize_t nargs, PyObject* keywords) const {
    Arguments<Count> bound{};
    const auto given = static_cast<std::size_t>(nargs);
    if (given > positional) {
      throw py::type_error(call() + "takes at most " + std::to_string(positional) +
                           " positional arguments (" + std::to_string(given) + " given)");
    }
    for (std::size_t i = 0; i < given; ++i) bound[i] = args[i];
    const Py_ssize_t count = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject* keyword = PyTuple_GET_ITEM(keywords, k);
      PyObject*& slot = bound[index(keyword)];
      if (slot != nullptr) {
        throw py::type_error(call() + "got multiple values for argument " + quoted(keyword));
      }
      slot = args[nargs + k];
    }
    for (std::size_t i = 0; i < required; ++i) {
      if (bound[i] == nullptr) {
        throw py::type_error(call() + "missing required argument '" + names[i] + "'");
      }
    }
    return bound;
  }

 private:
  std::size_t index(PyObject* keyword) const {
    for (std::size_t i = 0; i < Count; ++i) {
      if (PyUnicode_CompareWithASCIIString(keyword, names[i]) == 0) return i;
    }
    throw py::type_error(call() + "got an unexpected keyword argument " + quoted(keyword));
  }

  std::string call() const { return std::string(function) + "() "; }
  static std::string quoted(PyObject* keyword) {
    return "'" + py::reinterpret_borrow<py::str>(keyword).cast<std::string>() + "'";
  }
};

using Fastcall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

// Runs body(arguments), which returns a py::object, and turns what it throws into a Python error.
template <std::size_t Count, typename Body>
PyObject* call_guarded(const Parameters<Count>& parameters, PyObject* const* args, Py_ssize_t nargs,
                       PyObject* keywords, Body body) noexcept {
  try {
    py::object result = body(parameters.bind(args, nargs, keywords));
    return result.release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

// `doc` begins with the signature and "\n--\n\n", from which inspect.signature reads it.
inline PyMethodDef fastcall_method(const char* name, Fastcall function, const char* doc) noexcept {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

// `method` must live as long as the process. The function says it belongs to the package, which is
// where users find it and pickle looks for it.
inline void add_fastcall(py::module_& module, PyMethodDef& method) {
  const py::str package("fastsoftmax");
  auto function =
      py::reinterpret_steal<py::object>(PyCFunction_NewEx(&method, module.ptr(), package.ptr()));
  if (!function) throw py::error_already_set();
  module.add_object(method.ml_name, function);
}

}  // namespace fastsoftmax::python
