// Arguments that are one value for all rows or an array with one for each, and where random numbers
// come from. Types are checked here, values by the core. An argument that was not passed leaves
// `result` as it is; `array` keeps alive what `result` shows.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "fastsoftmax/samplers.hpp"
#include "fastsoftmax/sampling.hpp"

namespace fastsoftmax::python {

// Likewise for None. Throws TypeError where the elements are not real numbers.
void read_per_row(PyObject* object, const char* name, Operand& array, PerRow<double>& result);

// Likewise for None. Throws TypeError where the elements are not integers; what no int64 holds
// becomes the nearest one.
void read_per_row(PyObject* object, const char* name, Operand& array, PerRow<std::int64_t>& result);

// Throws TypeError where the elements are not integers, None included, and ValueError for what no
// uint64 holds.
void read_per_row(PyObject* object, const char* name, Operand& array,
                  PerRow<std::uint64_t>& result);

// None or not passed: a fresh one from the operating system. A numpy.random.Generator is asked for
// 64 bits. Otherwise as above.
void read_seed(PyObject* object, Operand& array, PerRow<std::uint64_t>& seed);

// A seed, as above, and a position, both single ones. Throws TypeError for an array.
DrawOptions read_draw_options(PyObject* seed, PyObject* position);

// None or not passed: left as it is. Otherwise as above.
void read_row_ids(PyObject* object, Operand& array, std::optional<PerRow<std::uint64_t>>& row_ids);

}  // namespace fastsoftmax::python
