#include "linear_arguments.h"

#include <string>

#include "errors.h"
#include "loss_arguments.h"

namespace fastsoftmax::python {

namespace {

// With a base, whatever it is, the memory stays where it is.
py::array as_array(const Matrix& m, py::handle base) {
  return {storage_dtype(m.dtype),
          {static_cast<py::ssize_t>(m.rows), static_cast<py::ssize_t>(m.columns)},
          {static_cast<py::ssize_t>(m.row_stride), static_cast<py::ssize_t>(m.column_stride)},
          m.data,
          base};
}

void read_matrix(PyObject* object, const char* name, Operand& operand) {
  read_operand(object, name, operand);
  if (operand.view.ndim != 2)
    throw py::value_error(std::string(name) + " must have 2 dimensions, not shape " +
                          shape_text(operand.view.dims()));
}

}  // namespace

void NumpyMatmul::run(void* self, const Matrix& a, const Matrix& b, const Matrix& out) {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  const py::object& function = static_cast<NumpyMatmul*>(self)->function_;
  const auto input = [&](const Matrix& m) {
    py::array array = as_array(m, function);
    array.attr("setflags")(py::arg("write") = false);
    return array;
  };
  function(input(a), input(b), as_array(out, function));
}

LinearArguments::LinearArguments(PyObject* x, PyObject* weights, PyObject* bias) {
  read_matrix(x, "x", x_);
  read_matrix(weights, "W", weights_);
  layer_.x = x_.view.as_input();
  layer_.w = weights_.view.as_input();
  if (!absent(bias)) {
    read_operand(bias, "bias", bias_);
    layer_.bias = bias_.view.as_input();
  }
  layer_.matmul = matmul_.matmul();
}

}  // namespace fastsoftmax::python
