// The layer that the linear_ functions are called with, and their results.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <initializer_list>

#include "arguments.h"
#include "fastsoftmax/linear.hpp"
#include "request.h"

namespace fastsoftmax::python {

// Products by numpy.matmul, which is BLAS: on arrays that show the memory of the matrices. Called
// without the GIL; what Python raises comes out as it is.
class NumpyMatmul {
 public:
  NumpyMatmul() : function_(py::module_::import("fastsoftmax._matmul").attr("matmul")) {}
  Matmul matmul() { return {run, this}; }

 private:
  static void run(void* self, const Matrix& a, const Matrix& b, const Matrix& out);

  py::object function_;
};

class LinearArguments {
 public:
  // Throws ValueError unless x and W are matrices.
  LinearArguments(PyObject* x, PyObject* weights, PyObject* bias);
  LinearArguments(const LinearArguments&) = delete;
  LinearArguments& operator=(const LinearArguments&) = delete;

  const LinearLayer& layer() const { return layer_; }
  DType dtype() const { return linear_dtype(layer_.x.dtype, layer_.w.dtype); }
  std::int64_t rows() const { return x_.view.shape[0]; }
  std::int64_t classes() const { return weights_.view.shape[0]; }
  std::int64_t depth() const { return x_.view.shape[1]; }

  py::object new_array(std::initializer_list<std::int64_t> shape, DType dtype,
                       ArrayView& view) const {
    return new_dense_result(x_, shape, dtype, view);
  }
  // As the caller gets it: of the kind of x.
  py::object give(const py::object& array, DType dtype, bool scalar = false) const {
    return hand_back(x_, array, dtype, scalar);
  }

 private:
  Operand x_;
  Operand weights_;
  Operand bias_;
  NumpyMatmul matmul_;
  LinearLayer layer_;
};

}  // namespace fastsoftmax::python
