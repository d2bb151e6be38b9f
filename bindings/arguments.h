// Python arguments in the core's terms, with errors that say what was passed and expected. In all
// of these a nullptr stands for an argument that was not passed.
#pragma once

#include <pybind11/numpy.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "array_view.h"
#include "fastsoftmax/types.hpp"

namespace fastsoftmax::python {

// What the caller passed, which decides what the result comes back as.
enum class Source : std::uint8_t {
  array,      // exactly numpy.ndarray
  subclass,   // of numpy.ndarray: the result passes through its __array_wrap__
  tensor,     // anything else with __dlpack__
  converted,  // anything else: numpy.asarray made an array of it
};

struct Operand {
  Source source;
  py::handle object;  // as passed
  py::object array;   // an ndarray that keeps alive what `view` shows (an empty py::array would
                      // cost an allocation)
  ArrayView view;
};

inline bool absent(PyObject* object) { return object == nullptr || object == Py_None; }

// Throws TypeError for a MaskedArray and for dtypes that the library does not support.
void read_operand(PyObject* object, const char* name, Operand& operand);
// The same for an output: arrays and tensors only, and writeable without a copy.
void read_output(PyObject* object, const char* name, Operand& operand);
// Replaces the operand's memory by a copy of it.
void copy_operand(const char* name, Operand& operand);

// Normalized to [0, ndim).
struct Axes {
  std::size_t count = 0;
  std::array<int, max_ndim> values;
  std::array<bool, max_ndim> reduced{};

  std::span<const int> span() const { return {values.data(), count}; }
};

// An int, a tuple of ints or None for all axes; -1 where not passed. Throws AxisError, ValueError
// for an axis given twice, TypeError.
Axes read_axes(PyObject* object, int ndim);

// An int, -1 where not passed. Throws AxisError, TypeError.
int read_single_axis(PyObject* object, int ndim);

// One of the four floating types; nullopt for None. Throws TypeError.
std::optional<DType> read_dtype(PyObject* object);

// Throws TypeError for anything but a string.
std::string_view read_text(PyObject* object, const char* name, std::string_view otherwise);
EmptyRow read_empty(PyObject* object);
Algorithm read_algorithm(PyObject* object);
bool read_flag(PyObject* object);
// Throws TypeError for anything but an int; what no int64 holds becomes the nearest one.
std::int64_t read_int(PyObject* object, const char* name);

// A number goes to `number`; an array of one or more dimensions to `array`, as float64, and the
// function returns true. Throws TypeError where the elements are not real numbers.
bool read_real(PyObject* object, const char* name, double& number, Operand& array);
bool read_temperature(PyObject* object, double& number, Operand& array);

// Returns false for None. Throws TypeError unless the elements are booleans.
bool read_where(PyObject* object, Operand& where);

}  // namespace fastsoftmax::python
