// Rows of a gradient as Python gets them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "fastsoftmax/sparse_rows.hpp"

namespace fastsoftmax::python {

namespace py = pybind11;

// A fastsoftmax.SparseRows of shape (num_rows, columns), whose arrays show the memory of `rows`.
py::object give_sparse_rows(SparseRows&& rows, std::int64_t num_rows);

}  // namespace fastsoftmax::python
