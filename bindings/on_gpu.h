// Functions that take arrays in the memory of a GPU as well.
#pragma once

#include "arguments.h"
#include "errors.h"
#include "fastcall.h"

namespace fastsoftmax::python {

// Whatever was passed, by name.
template <std::size_t Count>
py::dict passed(const Parameters<Count>& parameters, const Arguments<Count>& a) {
  py::dict arguments;
  for (std::size_t i = 0; i < Count; ++i) {
    if (a[i] != nullptr) arguments[parameters.names[i]] = py::handle(a[i]);
  }
  return arguments;
}

inline bool is_on_gpu(PyObject* object) {
  try {
    Operand operand;
    read_operand(object, "", operand);
    return false;
  } catch (const OnGpu&) {
    return true;
  }
}

// A PyTorch tensor says so at once; of all others it is learnt when their memory is asked for.
inline bool says_it_is_on_gpu(py::handle object) {
  return !py::isinstance<py::array>(object) &&
         py::getattr(object, "is_cuda", py::none()).ptr() == Py_True;
}

// compute(a); or, with the first argument on a GPU, what the function of the same name in
// fastsoftmax._cuda makes of the arguments. With that on the CPU the others must be there too.
template <std::size_t Count, class Compute>
py::object compute_where_it_is(const Parameters<Count>& parameters, const Arguments<Count>& a,
                               Compute compute) {
  if (!says_it_is_on_gpu(a[0])) {
    try {
      return compute(a);
    } catch (const OnGpu& error) {
      if (error.parameter() != parameters.names[0] && !is_on_gpu(a[0])) throw;
    }
  }
  return py::module_::import("fastsoftmax._cuda")
      .attr(py::str(parameters.function.data(), parameters.function.size()))(
          **passed(parameters, a));
}

}  // namespace fastsoftmax::python
